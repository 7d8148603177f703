"""What is printed of texts that others wrote."""

from __future__ import annotations

import pytest

from changeover.cli.terminal import note


@pytest.mark.parametrize("order", ["\x1b[2J", "\x9b2J", "\x08", "\r", "\u202e", "\u2066"])
def test_a_text_of_others_gives_a_terminal_no_orders(order: str, capsys: pytest.CaptureFixture[str]) -> None:
    note(f"config.json: auto_map → {order}modeling.X")
    shown = capsys.readouterr().err
    assert order not in shown
    assert "modeling.X" in shown


def test_lines_and_letters_of_any_language_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    note("first\nsecond: naïve 模型 🙂")
    assert "first\nsecond: naïve 模型 🙂" in capsys.readouterr().err
