"""What the pages about models call things, and in which colour."""

from __future__ import annotations

from changeover.library.licences.judgement import Outcome

OUTCOME_WORDS: dict[Outcome, tuple[str, str]] = {
    "allow": ("allowed", "green"),
    "duties": ("allowed with duties", "green"),
    "person": ("needs a person", "yellow"),
    "deny": ("denied", "red"),
}
"""What an outcome is called, and its colour."""


def billions(parameters_b: float | None) -> str | None:
    """A size as vendors write it."""
    return None if parameters_b is None else f"{parameters_b:g} B"
