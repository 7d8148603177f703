"""What of a log is shown, and what is followed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from changeover.serving.engine_log import EngineLog, Scribe, last_lines, lines_since


def test_the_newest_lines_are_shown_from_what_was_put_aside_too(tmp_path: Path) -> None:
    file = tmp_path / "a.b.log"
    assert last_lines(file, 5) == []
    file.write_text("four\nfive\n")
    (tmp_path / "a.b.log.1").write_text("one\ntwo\nthree\n")
    assert last_lines(file, 1) == ["five"]
    assert last_lines(file, 3) == ["three", "four", "five"]
    assert last_lines(file, 99) == ["one", "two", "three", "four", "five"]
    assert last_lines(file, 0) == []


def test_what_is_written_from_now_on_is_followed_by_whole_lines_and_over_a_rotation(tmp_path: Path) -> None:
    file = tmp_path / "d.log"
    log = EngineLog(file)
    log.write(b"old\n")
    newer = lines_since(file)
    assert next(newer) == []
    log.write(b"one\ntw")
    assert next(newer) == ["one"]
    log.write(b"o\n")
    assert next(newer) == ["two"]
    log.write(b"three\n")
    file.replace(tmp_path / "d.log.1")
    log.write(b"four\n")
    assert next(newer) == ["three", "four"]
    newer.close()  # pyright: ignore[reportAttributeAccessIssue] - a generator


def test_a_log_that_is_not_there_yet_is_followed_from_its_beginning(tmp_path: Path) -> None:
    newer = lines_since(tmp_path / "d.log")
    assert next(newer) == []
    EngineLog(tmp_path / "d.log").write(b"first\n")
    assert next(newer) == ["first"]


SECRET = "engine-0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("said", "written"),
    [
        (["a line with ", SECRET, " in it\n"], "a line with [secret] in it\n"),
        (["killed within " + SECRET[:20]], "killed within [secret]"),
        (["x" * 20_000 + SECRET[:20], SECRET[20:] + " on\n"], "x" * 20_000 + "[secret] on\n"),
        (["x" * 20_000 + SECRET + "yz", "\n"], "x" * 20_000 + "[secret]yz\n"),
    ],
    ids=["in pieces", "cut off", "across the end of a long line", "in a long line"],
)
async def test_an_engines_secret_is_masked_wherever_it_is_cut(tmp_path: Path, said: list[str], written: str) -> None:
    scribe = Scribe(EngineLog(tmp_path / "d.log"), SECRET)
    pipe = await scribe.reads()
    for piece in said:
        os.write(pipe, piece.encode())
        await asyncio.sleep(0.02)  # so that it is read by itself
    os.close(pipe)
    await scribe.last_words(20)
    assert (tmp_path / "d.log").read_text() == written
