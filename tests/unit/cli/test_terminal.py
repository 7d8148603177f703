"""What is printed of texts that others wrote."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from changeover.cli.terminal import note, one_line


@pytest.mark.parametrize("order", ["\x1b[2J", "\x9b2J", "\x08", "\r", "\u202e", "\u2066"])
def test_a_text_of_others_gives_a_terminal_no_orders(order: str, capsys: pytest.CaptureFixture[str]) -> None:
    note(f"config.json: auto_map → {order}modeling.X")
    shown = capsys.readouterr().err
    assert order not in shown
    assert "modeling.X" in shown


def test_lines_and_letters_of_any_language_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    note("first\nsecond: naïve 模型 🙂")
    assert "first\nsecond: naïve 模型 🙂" in capsys.readouterr().err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_standard_stream_that_is_closed_is_an_empty_one_and_no_other_file(closed: str, tmp_path: Path) -> None:
    command = shlex.join([sys.executable, "-m", "changeover", "tools"])
    ended = subprocess.run(
        ["sh", "-c", f"exec {command} {closed}"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ("document-summary" in ended.stdout) == (">&-" not in closed.replace("2>&-", ""))
    assert ended.stderr == ""


def test_a_name_of_a_file_is_one_line_of_letters() -> None:
    assert one_line("a\nb\tc\udcff[bold].txt") == "a?b?c?\\[bold].txt"
