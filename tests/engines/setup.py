"""Set the lane up: an environment for each engine, by the code of `changeover engines install`, and weights in their forms.

An engine that cannot be had stops no other: its tests are skipped. Run as `python -m tests.engines.setup [NAME…]`.
"""

from __future__ import annotations

import sys
import time

from tests.engines.places import ENGINES

from changeover.cli.weights import Terms, fetch_for
from changeover.core.errors import ChangeoverError
from changeover.core.settings import EngineSettings, cache_directory
from changeover.library.catalogue import Catalogue
from changeover.serving.deployments import plan_for_card
from changeover.serving.environments import environment, has_nvidia, install
from changeover.serving.homes import Homes
from changeover.serving.options import BackendName

NAMES = ("openvino", "transformers", "convert", "ray", "vllm")
WEIGHTS: tuple[tuple[str, BackendName], ...] = (
    ("smollm2-135m-instruct", "local"),
    ("smollm2-135m-instruct", "vllm"),
    ("qwen2.5-coder-0.5b-instruct", "local"),
    ("qwen2.5-coder-0.5b-instruct", "openvino"),
    ("qwen2.5-coder-0.5b-instruct", "vllm"),
)


def main(*names: str) -> None:
    """Environments first: some of them make the weights of others."""
    for name in names or NAMES:
        _set_up(name)
    catalogue, cache, homes = Catalogue.load(), cache_directory(), Homes(managed=ENGINES)
    for model, backend in WEIGHTS:
        card = catalogue.card(model)
        try:
            plan = plan_for_card(card, cache, EngineSettings(), backend=backend)
            said = str(fetch_for(plan, card, cache, Terms(), homes))
        except ChangeoverError as exc:
            said = f"not here: {exc}"
        print(f"{model:30}{backend:14}{said}", flush=True)


def _set_up(name: str) -> None:
    started = time.monotonic()
    if (ENGINES / name).is_symlink():
        print(f"{name:14}somebody's own", flush=True)
        return
    try:
        fresh = install(name, environment(name, nvidia=has_nvidia()), ENGINES, lambda _: None)
        said = f"installed in {time.monotonic() - started:.0f} s" if fresh else "is there already"
    except ChangeoverError as exc:
        said = f"not installed: {exc}"
    print(f"{name:14}{said}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
