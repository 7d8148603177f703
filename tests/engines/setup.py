"""Set the lane up: an environment for each engine, by the code of `changeover engines install`, and weights in their forms.

An engine that cannot be had stops no other: its tests are skipped. An environment that is somebody's own, a link, is taken
as it is. Run as `python -m tests.engines.setup [ENGINE…]`; without a name it is for all of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from tests.engines.places import BETTER, ENGINES, NEEDS, SMALL

from changeover.app.fetching import Terms
from changeover.cli.weights import fetch_for
from changeover.core.errors import ChangeoverError
from changeover.core.settings import EngineSettings, cache_directory
from changeover.library.catalogue import Catalogue
from changeover.serving.deployments import plan_for_card
from changeover.serving.environments import environment, has_nvidia, install
from changeover.serving.homes import Homes
from changeover.serving.options import BackendName

ORDER = ("openvino", "ray", "transformers", "convert", "vllm")
"""Quick ones first, so that what is wrong with an index is seen soon."""
WEIGHTS: Sequence[tuple[str, BackendName]] = (
    (SMALL, "local"),
    (SMALL, "openvino"),
    (SMALL, "transformers"),
    (SMALL, "vllm"),
    (BETTER, "local"),
    (BETTER, "openvino"),
)


def main() -> None:
    """Environments first: some of them make the weights of others."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("engines", nargs="*", choices=[*NEEDS, []], metavar="ENGINE")
    asked: Sequence[str] = parser.parse_args().engines or [*NEEDS]
    wanted = {name for engine in asked for name in NEEDS[engine]}
    for name in ORDER:
        if name in wanted:
            _set_up(name)
    for model, backend in WEIGHTS:
        if backend == "local" or backend in asked:
            _fetch(model, backend)


def _set_up(name: str) -> None:
    started, needed = time.monotonic(), environment(name, nvidia=has_nvidia())
    if (ENGINES / name).is_symlink():
        _say(name, "is there: somebody's own")
        return
    _say(name, f"takes about {needed.megabytes} MB, and {needed.seconds} s on two quiet cores")
    try:
        fresh = install(name, needed, ENGINES, lambda _: None)
    except ChangeoverError as exc:
        _say(name, f"not installed, and its tests are skipped: {exc}")
        return
    _say(name, f"{_megabytes(ENGINES / name)} MB, in {time.monotonic() - started:.0f} s" if fresh else "is there")


def _fetch(model: str, backend: BackendName) -> None:
    started, card, cache = time.monotonic(), Catalogue.load().card(model), cache_directory()
    try:
        plan = plan_for_card(card, cache, EngineSettings(), backend=backend)
        fetch_for(plan, card, cache, Terms(), Homes(managed=ENGINES))
        said = f"{plan.artifact and _megabytes(plan.artifact)} MB, in {time.monotonic() - started:.0f} s"
    except ChangeoverError as exc:
        said = f"not here, and tests with it are skipped: {exc}"
    _say(f"{model} for {backend}", said)


def _megabytes(path: Path) -> int:
    """On disk; what several names share counts once."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file() and not each.is_symlink()]
    sizes = {(found.st_dev, found.st_ino): found.st_blocks * 512 for found in (each.stat() for each in files)}
    return round(sum(sizes.values()) / 1e6)


def _say(what: str, said: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {what:44}{said}", flush=True)


if __name__ == "__main__":
    main()
