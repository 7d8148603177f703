"""The Kunlun P800 by vLLM's plugin: what is seen of a machine, command, environment, part of a bundle. Nothing is started.

The listing is recorded (Project-HAMi/HAMi issue 1548). That a whole node lists eight such cards, and has their device files,
is assumed from it and from the plugin's documentation.
"""

from __future__ import annotations

import json
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.engine_homes import NO_CARDS, homes, model

from changeover.core.errors import EngineError
from changeover.core.sizes import GIB
from changeover.library.catalogue import Catalogue
from changeover.library.fit.detect import Detected, detect
from changeover.serving.backends import KunlunBackend, Launch
from changeover.serving.backends.kunlun import ENVIRONMENT
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan

CATALOGUE = Catalogue.load()
P800 = CATALOGUE.accelerator("kunlun-p800")
ONE_CARD = """\
|   {number}  P800 OAM           N/A   | 00000000:{bus:02x}:00.0 N/A |                    0 |
| N/A   38C  N/A     85W / 400W |      0MiB / 98304MiB |      0%      Default |
|                               |      0MiB /    96MiB |             Disabled |
+-------------------------------+----------------------+----------------------+
"""


@pytest.fixture
def root() -> Iterator[Path]:
    """Where tools and device files are; others may read it, since tools run as nobody."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path


def listed(root: Path, count: int) -> Detected:
    """A machine whose `xpu-smi` lists so many cards."""
    (root / "xpu-smi.txt").write_text("".join(ONE_CARD.format(number=each, bus=each + 3) for each in range(count)))
    tool = root / "xpu-smi"
    tool.write_text(f'#!/bin/sh\nexec /bin/cat "{root}/xpu-smi.txt"\n')
    for each in (tool, root / "xpu-smi.txt"):
        each.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    return detect(CATALOGUE.accelerators(), path=str(root), root=root / "none", timeout_s=10)


def plan(directory: Path, **options: Json) -> EnginePlan:
    return EnginePlan(deployment="d", backend="kunlun", model="qwen3-8b", artifact=directory, options=options)


def backend(tmp_path: Path, detected: Detected = NO_CARDS) -> KunlunBackend:
    installed = homes(tmp_path / "homes", "kunlun", "vllm-kunlun==0.11.1", "vllm==0.11.0")
    return KunlunBackend(installed, lambda: detected)


def after(argv: Sequence[str], flag: str) -> str:
    return argv[list(argv).index(flag) + 1]


def parts(launch: Launch) -> tuple[list[str], dict[str, str]]:
    return launch.config["argv"], launch.config["environment"]


def test_a_node_of_eight_cards_lacks_nothing(tmp_path: Path, root: Path) -> None:
    engine = backend(tmp_path, listed(root, 8))
    assert list(engine.missing(plan(model(tmp_path / "m"), tensor_parallel=8))) == []


def test_without_its_tool_the_cards_are_known_by_their_device_files(tmp_path: Path, root: Path) -> None:
    (root / "dev").mkdir()
    for name in ("xpu0", "xpu1", "xpuctrl"):
        (root / "dev" / name).touch()
    engine = backend(tmp_path, detect(CATALOGUE.accelerators(), path="", root=root))
    asked = plan(model(tmp_path / "m"), tensor_parallel=4)
    assert list(engine.missing(plan(tmp_path / "m", tensor_parallel=2))) == []
    assert engine.missing(asked)[0].what.startswith("4 accelerators: here are ")


def test_what_this_machine_lacks_is_all_said_at_once(tmp_path: Path) -> None:
    bare = KunlunBackend(homes(tmp_path / "homes", "kunlun"), lambda: NO_CARDS)
    asked = plan(model(tmp_path / "m"), tensor_parallel=2, devices=[0])
    assert [each.what.split(" for ")[0] for each in bare.missing(asked)] == [
        "the package `vllm-kunlun`",
        "the package `vllm`",
        "an accelerator that `vllm-kunlun` runs on: none was found here",
        "2 cards in `devices`",
    ]
    with pytest.raises(EngineError, match="vllm-kunlun"):
        bare.describe(asked)


def test_a_card_that_is_not_there_and_too_little_memory_are_said(tmp_path: Path, root: Path) -> None:
    engine, directory = backend(tmp_path, listed(root, 2)), model(tmp_path / "m")
    (absent,) = engine.missing(plan(directory, devices=[1, 2]))
    assert absent.what == "card 2 of `devices`: here are 2, counted from 0"
    with (directory / "model.safetensors").open("wb") as file:
        file.truncate(200 * GIB)
    (small,) = engine.missing(plan(directory, tensor_parallel=2))
    assert small.what.startswith("100.0 GiB on each of 2 × Kunlun")


def test_its_environment_is_what_the_plugins_documentation_recommends(tmp_path: Path) -> None:
    _, environment = parts(backend(tmp_path).launch(plan(model(tmp_path / "m"))))
    recommended = dict(each.split("=") for each in P800.environment if "=" in each)
    assert recommended.items() <= environment.items()
    assert ENVIRONMENT.keys() <= {each.split("=")[0] for each in P800.environment}
    assert "XPU_DUMMY_EVENT" not in environment
    assert environment["VLLM_API_KEY"] == "{secret}"


@pytest.mark.parametrize(
    ("options", "devices"),
    [({}, "0"), ({"tensor_parallel": 4}, "0,1,2,3"), ({"devices": [4, 6], "tensor_parallel": 2}, "4,6")],
)
def test_it_uses_the_cards_that_it_is_given_or_as_many_as_it_needs(
    tmp_path: Path, options: dict[str, Any], devices: str
) -> None:
    _, environment = parts(backend(tmp_path).launch(plan(model(tmp_path / "m"), **options)))
    assert environment["XPU_VISIBLE_DEVICES"] == environment["CUDA_VISIBLE_DEVICES"] == devices


def test_its_command_is_that_of_the_plugins_examples_without_code_of_a_models(tmp_path: Path) -> None:
    argv, _ = parts(backend(tmp_path).launch(plan(model(tmp_path / "m"), context_tokens=8192, flags=["--seed", "1"])))

    assert argv[0] == str(tmp_path / "homes/kunlun/bin/python"), "a process, and a home, of its own"
    assert argv[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert (after(argv, "--dtype"), after(argv, "--block-size")) == ("float16", "128")
    assert after(argv, "--max-model-len") == after(argv, "--max-num-batched-tokens") == "8192"
    assert {"--no-enable-prefix-caching", "--no-enable-chunked-prefill"} <= set(argv)
    assert (
        "vllm.unified_attention_with_output_kunlun" in json.loads(after(argv, "--compilation-config"))["splitting_ops"]
    )
    assert {"--trust-remote-code", "--tool-strict-level", "--enforce-eager"}.isdisjoint(argv)
    assert argv[-2:] == ["--seed", "1"]


def test_the_bundle_holds_both_versions_and_what_the_cards_compute_with(tmp_path: Path) -> None:
    engine, directory = backend(tmp_path), model(tmp_path / "m")
    part = engine.describe(plan(directory))
    assert (part.engine, part.engine_version) == ("vLLM (vllm-kunlun 0.11.1)", "0.11.0")
    assert part.flags["on"] == "kunlun"
    assert engine.describe(plan(directory, devices=[3])) == part, "another card of the same kind is no other engine"
