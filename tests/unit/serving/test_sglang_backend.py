"""SGLang's command, environment and part of a bundle; nothing is started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.engine_homes import NO_CARDS, cards, homes, model

from changeover.core.errors import EngineError
from changeover.library.catalogue import Catalogue
from changeover.library.fit.detect import Detected
from changeover.serving.backends import SglangBackend
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan

H100 = Catalogue.load().accelerator("h100-80")


def plan(directory: Path, name: str = "qwen3-8b", **options: Json) -> EnginePlan:
    return EnginePlan(deployment="d", backend="sglang", model=name, artifact=directory, options=options)


def backend(tmp_path: Path, detected: Detected = NO_CARDS) -> SglangBackend:
    return SglangBackend(homes(tmp_path / "homes", "sglang", "sglang==0.5.23"), lambda: detected)


def after(argv: Sequence[str], flag: str) -> str:
    return argv[list(argv).index(flag) + 1]


def test_its_command_is_that_of_its_documentation(tmp_path: Path) -> None:
    launch = backend(tmp_path).launch(
        plan(
            model(tmp_path / "m"), tensor_parallel=2, context_tokens=8192, slots=16, flags=["--schedule-policy", "lpm"]
        )
    )
    argv = launch.config["argv"]

    assert argv[0] == str(tmp_path / "homes/sglang/bin/python")
    assert (after(argv, "--model-path"), after(argv, "--served-model-name")) == (str(tmp_path / "m"), "qwen3-8b")
    assert (after(argv, "--host"), after(argv, "--port")) == ("127.0.0.1", "{port}")
    assert (after(argv, "--context-length"), after(argv, "--max-running-requests")) == ("8192", "16")
    assert (after(argv, "--tp-size"), after(argv, "--mem-fraction-static")) == ("2", "0.9")
    assert (after(argv, "--tool-call-parser"), after(argv, "--reasoning-parser")) == ("qwen", "qwen3")
    assert "--constrained-json-disable-any-whitespace" in argv
    assert argv[-2:] == ["--schedule-policy", "lpm"], "the operator's flags come last, so they win"
    assert launch.config["ready_path"] == "/health"


def test_its_key_stands_neither_on_its_command_line_nor_in_its_log(tmp_path: Path) -> None:
    launch = backend(tmp_path).launch(plan(model(tmp_path / "m")))
    argv, environment = launch.config["argv"], launch.config["environment"]

    assert environment["SGLANG_API_KEY"] == "{secret}"
    assert "{secret}" not in " ".join(argv)
    assert after(argv, "--log-level") == "warning", "at `info` it logs its arguments, the key among them"
    assert environment["HF_HUB_OFFLINE"] == "1"


def test_without_a_parser_calls_stay_in_the_text_and_the_gateway_reads_them(tmp_path: Path) -> None:
    engine, directory = backend(tmp_path), model(tmp_path / "m")
    assert engine.describe(plan(directory, tool_parser="none")).profile["tool_calls"] == "hermes"
    assert engine.describe(plan(directory, "smollm2")).profile["tool_calls"] == "none", "nobody knows its words"


def test_a_bundle_knows_what_can_change_an_answer(tmp_path: Path) -> None:
    engine, directory = backend(tmp_path), model(tmp_path / "m")
    one = engine.describe(plan(directory))
    assert (one.engine, one.engine_version, one.flags["tool_parser"]) == ("SGLang", "0.5.23", "qwen")
    assert engine.describe(plan(directory, tensor_parallel=2)) != one
    assert engine.describe(plan(directory, memory_share=0.5)) == one


def test_a_processor_is_not_enough_and_that_is_said(tmp_path: Path) -> None:
    asked = plan(model(tmp_path / "m"), tensor_parallel=2)
    (lacking,) = backend(tmp_path).missing(asked)
    assert "an accelerator that `sglang` runs on" in lacking.what
    (few,) = backend(tmp_path / "b", cards(H100, 1)).missing(asked)
    assert few.what.startswith("2 accelerators: here is 1")
    assert list(backend(tmp_path / "c", cards(H100, 2)).missing(asked)) == []


def test_without_its_package_it_says_how_to_get_it(tmp_path: Path) -> None:
    bare = SglangBackend(homes(tmp_path / "homes", "sglang"), lambda: NO_CARDS)
    assert "changeover engines install sglang" in bare.missing(None)[0].remedy
    with pytest.raises(EngineError, match="`sglang`"):
        bare.describe(plan(model(tmp_path / "m")))
