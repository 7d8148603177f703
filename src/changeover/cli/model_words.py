"""What commands about models call things, and in which colour."""

from __future__ import annotations

from changeover.library.licences.judgement import Outcome

OUTCOME_WORDS: dict[Outcome, tuple[str, str]] = {
    "allow": ("allowed", "green"),
    "duties": ("with duties", "green"),
    "person": ("needs a person", "yellow"),
    "deny": ("not allowed", "red"),
}
"""What an outcome is called, and its colour."""
OUTCOME_BRIEF: dict[Outcome, str] = {"allow": "ok", "duties": "ok, duties", "person": "a person", "deny": "denied"}
"""Where a column is one of many."""
REASON_WORDS: dict[Outcome, tuple[str, str]] = {
    "allow": ("note", "dim"),
    "duties": ("must", "green"),
    "person": ("asks", "yellow"),
    "deny": ("denies", "red"),
}
"""What one reason of an outcome does."""


def billions(parameters_b: float | None) -> str | None:
    """A size as vendors write it."""
    return None if parameters_b is None else f"{parameters_b:g} B"
