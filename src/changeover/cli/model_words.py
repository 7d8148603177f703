"""What commands about models call things, and in which colour."""

from __future__ import annotations

from changeover.app.model_words import OUTCOME_SAID, Tone
from changeover.library.licences.judgement import Outcome

STYLES: dict[Tone, str] = {
    "": "",
    "soft": "dim",
    "good": "green",
    "warm": "yellow",
    "bad": "red",
    "command": "cyan",
}
"""Tones on a terminal."""
OUTCOME_WORDS: dict[Outcome, tuple[str, str]] = {
    outcome: (words, STYLES[tone]) for outcome, (words, tone) in OUTCOME_SAID.items()
}
"""What an outcome is called, and its colour."""
OUTCOME_BRIEF: dict[Outcome, str] = {"allow": "ok", "duties": "ok, duties", "person": "a person", "deny": "denied"}
"""Where a column is one of many."""
