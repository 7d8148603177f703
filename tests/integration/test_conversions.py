"""Weights that are made of others, by a real process that does what a script tells it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.library.gguf_builder import METADATA, STRING, build

from changeover.core.errors import ArtifactError, EngineError
from changeover.library.pull import Silent
from changeover.serving.conversions import Conversion, Making, convert, is_made
from changeover.serving.homes import Homes

COPIES = """
import json, pathlib, sys, time
source, target = map(pathlib.Path, sys.argv[1:])
print("a library greets")
print(json.dumps({"step": "copy", "total": 100}), flush=True)
with (source.parent / "runs").open("a") as runs:
    runs.write("run\\n")
target.write_bytes(source.read_bytes())
print(json.dumps({"done": 100}), json.dumps({"versions": {"copies": "1"}}), sep="\\n", flush=True)
"""


class Watching:
    """What a person would have been shown."""

    def __init__(self) -> None:
        self.said: list[object] = []

    def start(self, what: str, total_bytes: int | None, done_bytes: int = 0) -> None:
        self.said.append((what, total_bytes))

    def advance(self, done_bytes: int) -> None:
        self.said.append(done_bytes)

    def finish(self) -> None:
        self.said.append("end")


def making(directory: Path, script: str = COPIES, *, packages: tuple[str, ...] = ("pip",)) -> Making:
    (directory / "script.py").write_text(script)
    source = directory / "model.gguf"
    source.write_bytes(build())
    conversion = Conversion(
        name="copy",
        makes="gguf",
        quantisation="Q8_0",
        homes=("beside", "openvino"),
        packages=packages,
        script=str(directory / "script.py"),
        bits=8.5,
        seconds_per_gib=60,
    )
    return Making(
        conversion=conversion,
        source=source,
        source_bytes=source.stat().st_size,
        source_digest="a" * 64,
        source_quantisation="Q4_K_M",
        cache=directory / "cache",
    )


def runs(directory: Path) -> int:
    return len((directory / "runs").read_text().splitlines())


def left(made: Making) -> list[str]:
    return sorted(path.name for path in made.target.parent.iterdir() if path.name != "make.lock")


def test_weights_are_made_once_and_what_is_done_meanwhile_is_told(tmp_path: Path) -> None:
    wanted, watching = making(tmp_path), Watching()

    first, second = (convert(wanted, Homes(), watching) for _ in range(2))

    assert first == second == wanted.target
    assert is_made(wanted)
    assert runs(tmp_path) == 1
    assert watching.said == [("copy", 100), 100, "end"]
    assert left(wanted) == ["made.json", "make.log", "model.gguf"]
    assert json.loads((wanted.target.parent / "made.json").read_text())["by"] == {"copies": "1"}


def test_two_that_want_the_same_weights_make_them_once(tmp_path: Path) -> None:
    wanted = making(tmp_path)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: convert(wanted, Homes(), Silent()), range(2)))

    assert results == [wanted.target, wanted.target]
    assert runs(tmp_path) == 1


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        ("raise ValueError('GGUF model with architecture nonsense is not supported yet')", "nonsense is not supported"),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9"),
        ("sys.exit(3)", "it ended with 3"),
        ("target.unlink()", "it ended with 0"),
        ("target.write_bytes(b'GGUF but cut off')", "not a usable GGUF file"),
    ],
)
def test_what_fails_says_why_and_leaves_nothing_half(tmp_path: Path, ending: str, says: str) -> None:
    wanted = making(tmp_path, f"{COPIES}\n{ending}\n")

    with pytest.raises(ArtifactError, match=says):
        convert(wanted, Homes(), Silent())

    assert not is_made(wanted)
    assert left(wanted) == ["make.log"]


def test_weights_that_lost_their_template_are_not_kept(tmp_path: Path) -> None:
    wanted = making(tmp_path, f"{COPIES}\ntarget.write_bytes((source.parent / 'other').read_bytes())\n")
    (tmp_path / "other").write_bytes(build({**METADATA, "tokenizer.chat_template": (STRING, "another")}))

    with pytest.raises(ArtifactError, match="lost its tokenizer"):
        convert(wanted, Homes(), Silent())

    assert left(wanted) == ["make.log"]


def test_weights_that_were_touched_or_that_a_newer_script_makes_otherwise_are_made_anew(tmp_path: Path) -> None:
    wanted = making(tmp_path)
    convert(wanted, Homes(), Silent())
    wanted.target.write_bytes(b"touched")
    newer = replace(wanted, conversion=replace(wanted.conversion, revision=2))

    assert not is_made(wanted)
    convert(wanted, Homes(), Silent())
    assert is_made(wanted)
    assert not is_made(newer)
    convert(newer, Homes(), Silent())

    assert is_made(newer)
    assert runs(tmp_path) == 3


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    wanted = making(tmp_path)
    half = wanted.target.parent / "part-killed"
    half.mkdir(parents=True)
    (half / "model.gguf").write_bytes(b"GGUF")

    convert(wanted, Homes(), Silent())

    assert not half.exists()


def test_without_an_environment_that_can_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="`changeover engines install beside`"):
        convert(making(tmp_path, packages=("no-such-package",)), Homes(), Silent())


def test_without_what_it_is_made_of_the_pull_is_named(tmp_path: Path) -> None:
    wanted = making(tmp_path)
    wanted.source.unlink()

    with pytest.raises(ArtifactError, match="Pull the model first"):
        convert(wanted, Homes(), Silent())
