from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from changeover.serving.backends import EchoBackend, Launch
from changeover.serving.engine_log import MAX_LOG_BYTES, EngineLog
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ready_deadline_s, ready_within_s

LLAMA = """\
0.00.041.053 E llama_model_load: error loading model: tensor 'blk.16' is not within the file bounds
0.00.041.069 E llama_model_load_from_file_impl: failed to load model
0.00.041.719 E srv          init: exiting due to model loading error
"""
PYTHON = "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'xllamacpp'\n\n"


def written(log: EngineLog, text: str) -> None:
    log.begin()
    log.write(text.encode())


@pytest.mark.parametrize(
    ("text", "starting", "reason"),
    [
        (LLAMA, True, "llama_model_load: error loading model: tensor 'blk.16' is not within the file bounds"),
        (
            "0.5 E srv: a request was too long\nggml.c:1: GGML_ASSERT(x) failed\n",
            False,
            "ggml.c:1: GGML_ASSERT(x) failed",
        ),
        (PYTHON, True, "ModuleNotFoundError: No module named 'xllamacpp'"),
        ("word " * 100_000 + "\nthe end\n", False, "the end"),
        ("x" * 1000, True, "x" * 300),
        ("\n\n", True, None),
        ("", True, None),
    ],
)
def test_the_telling_line_of_a_log_is_found(tmp_path: Path, text: str, starting: bool, reason: str | None) -> None:
    log = EngineLog(tmp_path / "logs" / "d.log")
    written(log, text)

    assert log.reason(starting=starting) == reason


def test_what_an_earlier_life_wrote_explains_nothing(tmp_path: Path) -> None:
    log = EngineLog(tmp_path / "d.log")
    written(log, "an old failure\n")
    log.begin()

    assert log.reason(starting=True) is None
    assert log.reason(starting=False) is None
    assert (tmp_path / "d.log").read_text() == "an old failure\n"


def test_a_log_that_was_never_written_has_no_reason(tmp_path: Path) -> None:
    assert EngineLog(tmp_path / "d.log").reason(starting=True) is None


def test_a_log_is_private_and_put_aside_when_it_has_grown(tmp_path: Path) -> None:
    log = EngineLog(tmp_path / "a.b.log")
    written(log, "x" * MAX_LOG_BYTES)
    written(log, "new\n")

    assert (tmp_path / "a.b.log").read_text() == "new\n"
    assert (tmp_path / "a.b.log.1").stat().st_size == MAX_LOG_BYTES
    assert stat.S_IMODE((tmp_path / "a.b.log").stat().st_mode) == 0o600


def test_an_engine_gets_time_in_proportion_to_what_it_reads(tmp_path: Path) -> None:
    weights = tmp_path / "model.gguf"
    with weights.open("wb") as file:
        file.truncate(3 << 30)

    assert ready_deadline_s(weights) == 30.0 + 3 * 20.0
    assert ready_deadline_s(None) == 30.0
    assert ready_deadline_s(tmp_path / "missing.gguf") == 30.0


def test_an_engine_that_has_much_to_do_before_it_reads_gets_the_time_for_it() -> None:
    class Slow(EchoBackend):
        def launch(self, plan: EnginePlan) -> Launch:
            return replace(super().launch(plan), start_s=240.0)

    plan = EnginePlan(deployment="d", backend="echo", model="m")

    assert ready_within_s(plan, {"echo": EchoBackend()}, 30.0) == 30.0
    assert ready_within_s(plan, {"echo": Slow()}, 30.0) == 270.0
    assert ready_within_s(plan, {}, 30.0) == 30.0
