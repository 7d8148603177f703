"""What is said of models, whoever shows it: words for outcomes, and tones that a terminal and a page colour each in their way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from changeover.library.licences.judgement import Outcome

Tone = Literal["", "soft", "good", "warm", "bad", "command"]

OUTCOME_SAID: Final[Mapping[Outcome, tuple[str, Tone]]] = {
    "allow": ("allowed", "good"),
    "duties": ("with duties", "good"),
    "person": ("needs a person", "warm"),
    "deny": ("not allowed", "bad"),
}
"""What an outcome is called, and its tone."""
REASON_SAID: Final[Mapping[Outcome, tuple[str, Tone]]] = {
    "allow": ("note", "soft"),
    "duties": ("must", "good"),
    "person": ("asks", "warm"),
    "deny": ("denies", "bad"),
}
"""What one reason of an outcome does."""


def billions(parameters_b: float | None) -> str | None:
    """A size as vendors write it."""
    return None if parameters_b is None else f"{parameters_b:g} B"


def short_tokens(tokens: int) -> str:
    """Tokens as people say them: 131,072 is 128 k, 262,144 is 256 k, 1,000,000 is 977 k and said to be 1 M."""
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:.3g} M"
    return f"{tokens / 1024:.0f} k" if tokens % 1024 == 0 else f"{tokens:,}"
