"""What a rollout waits for is shown below what was printed, and takes nothing of it away."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from changeover.cli import follow

UP = "\x1b[1A"
"""Moves the cursor up a line, on its way to wipe it out."""


def test_lines_that_begin_anew_leave_what_was_printed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(follow, "err", Console(file=terminal, force_terminal=True, width=80))
    with follow._Waiting() as waiting:
        waiting.show("one\ntwo\nthree")
        waiting.hide()
        terminal.write("an event\n")
        before = len(terminal.getvalue())
        waiting.show("four\nfive\nsix")
    drawn = terminal.getvalue()[before:]
    assert "four" in drawn
    assert UP not in drawn[: drawn.index("four")]


def test_what_is_waited_for_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(follow, "err", Console(file=terminal, force_terminal=True, width=80))
    with follow._Waiting() as waiting:
        waiting.show("one\ntwo")
    assert UP in terminal.getvalue()[terminal.getvalue().index("two") :]
