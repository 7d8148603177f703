"""The recording that the README shows: whole, of no machine, drawn from what was recorded, and true of the code as it is."""

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from docs.record import session
from docs.record.cast import Cast, CastError, Output, digest, foreign_words, read_cast

from changeover.cli.follow import MARKS
from changeover.cli.main import COMMANDS
from changeover.core import toml
from changeover.rollouts.actions import plan_of
from changeover.rollouts.duration import ChangeoverTime, changeover_line
from changeover.tasks.declarations import TaskDeclaration

RECORD = Path(__file__).parents[2] / "docs" / "record"
CAST, PICTURE = RECORD / "switch.cast", RECORD / "switch.svg"
MOST_BYTES = 400_000
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
SPAN = re.compile(r"(\d+ m )?\d+ s\b")
needs_pyte = pytest.mark.skipif(
    importlib.util.find_spec("pyte") is None, reason="the extra `recording` is not installed"
)


@pytest.fixture(scope="module")
def cast() -> Cast:
    return read_cast(CAST.read_text())


@pytest.fixture(scope="module")
def said(cast: Cast) -> str:
    """All that the terminal was sent, without what moves the cursor."""
    return CONTROL.sub("", "".join(output.text for output in cast.outputs))


def test_the_recording_is_a_terminals_and_its_times_go_forward(cast: Cast) -> None:
    times = [output.at for output in cast.outputs]
    assert times == sorted(times)
    assert times[0] >= 0
    assert cast.to_text() == CAST.read_text(), "written as it is read"
    header = json.loads(CAST.read_text().splitlines()[0])
    assert (header["version"], header["width"], header["height"]) == (2, cast.columns, cast.rows)


def test_a_recording_of_another_version_is_refused() -> None:
    with pytest.raises(CastError, match="version 3"):
        read_cast('{"version": 3}\n')


@pytest.mark.parametrize("file", [CAST, PICTURE], ids=["cast", "picture"])
def test_the_recording_names_no_machine(file: Path) -> None:
    assert list(foreign_words(file.read_text())) == []


@pytest.mark.parametrize("word", ["in /tmp/recording-1", "C:\\Users", str(Path.home())])
def test_a_recording_that_names_a_machine_is_refused(word: str) -> None:
    with pytest.raises(CastError, match="names this machine"):
        session.checked(Cast([Output(0.0, f"report  {word}")], "x"))


def test_the_picture_is_drawn_from_the_recording() -> None:
    assert f"SHA-256 {digest(CAST.read_text())}," in PICTURE.read_text(), "run `python -m docs.record --draw`"


@needs_pyte
def test_drawn_again_the_picture_is_the_same(cast: Cast) -> None:
    picture = importlib.import_module("docs.record.picture")
    assert picture.svg(cast) == PICTURE.read_text(), "run `python -m docs.record --draw`"


@needs_pyte
def test_nothing_stands_still_for_long_but_the_end(cast: Cast) -> None:
    screens = importlib.import_module("docs.record.screens")
    *frames, end = screens.frames(cast)
    assert max(frame.seconds for frame in frames) <= screens.LONGEST_S
    assert end.seconds == screens.END_S
    assert sum(frame.seconds for frame in (*frames, end)) <= 60
    waits = Cast([Output(0.0, "a"), Output(9.0, "b"), Output(9.01, "c"), Output(20.0, "\r1"), Output(30.0, "\r2")], "x")
    assert [frame.seconds for frame in screens.frames(waits)] == [1.5, 1.5, 0.4, 4.0]


@needs_pyte
def test_faint_and_bold_text_is_drawn_as_such() -> None:
    screens = importlib.import_module("docs.record.screens")
    sent = Output(0.0, "\x1b[2mfaint\x1b[0m \x1b[1;32mbold\x1b[22m green\x1b[0m \x1b[38;2;1;2;3mrest")
    (frame,) = screens.frames(Cast([sent], "x"))
    styles = [(run.text, run.style.dim, run.style.bold, run.style.colour) for run in frame.screen.lines[0]]
    assert styles == [
        ("faint", True, False, "default"),
        ("bold", False, True, "green"),
        ("green", False, False, "green"),
        ("rest", False, False, "010203"),
    ]


@needs_pyte
def test_what_was_waited_for_leaves_no_line_behind(cast: Cast) -> None:
    screens = importlib.import_module("docs.record.screens")
    *_, end = screens.frames(Cast(cast.outputs, cast.title, cast.columns, rows=60))
    shown = " ".join(run.text for line in end.screen.lines for run in line)
    assert "requests since the start" in shown
    assert "⠿" not in shown


def test_without_what_draws_it_the_recorder_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "pyte.py").write_text("raise ModuleNotFoundError(name='pyte')\n")
    ended = subprocess.run(
        (sys.executable, "-m", "docs.record"),
        cwd=RECORD.parents[1],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("`pyte` is not installed")
    assert "pip install -e '.[recording]'" in ended.stderr


def test_the_picture_needs_nothing_but_itself() -> None:
    text = PICTURE.read_text()
    assert len(text.encode()) < MOST_BYTES
    names = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(text).iter()}
    assert names <= {"svg", "title", "style", "defs", "g", "text", "use", "rect", "path", "circle"}
    assert not re.search(r"url\(|@import|@font-face|<script|https?://(?!www\.w3\.org/2000/svg)", text)


def test_the_commands_of_the_recording_are_there_today(said: str) -> None:
    for command in session.COMMANDS:
        assert command[0] in COMMANDS
        assert f"$ changeover {' '.join(command[:2])}" in said


def test_the_recording_says_what_a_switch_says_today(said: str, tmp_path: Path) -> None:
    for name, text in session.FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    plan = plan_of(toml.load(TaskDeclaration, tmp_path / "tasks" / f"{session.TASK}.toml"))
    for mark, name in [*((MARKS["advance"], step.name) for step in plan.steps), (MARKS["promote"], "promote")]:
        assert re.search(rf"^  {mark} {name} ", said, re.MULTILINE), f"no line for {name}"
    began = datetime(2026, 1, 1, tzinfo=UTC)
    took = ChangeoverTime(
        started_at=began, promoted_at=began + timedelta(seconds=6), measuring_s=1, waiting_s=2, steps_s=3
    )
    assert SPAN.sub("?", changeover_line(took)) in SPAN.sub("?", said)


def test_no_request_of_the_recorded_load_failed(said: str) -> None:
    counted = re.search(r"requests since the start (\d+) · failed (\d+) · truncated (\d+)", said)
    assert counted is not None
    requests, failed, truncated = map(int, counted.groups())
    assert requests > 20
    assert failed == truncated == 0
