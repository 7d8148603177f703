"""What a probe found out, and how it says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Result = Literal["passed", "failed", "missing", "not applicable"]
"""Seen to work; there and wrong; refused or ignored; nothing that could be asked here."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One probe's outcome."""

    probe: str
    capability: str
    result: Result
    seen: str
    """What was seen, or why nothing was; one line."""
    sent: str
    """The last thing that was asked, in short."""
    declared: bool | None
    """Whether the capability is said to be there; None: nobody knows."""

    @property
    def is_lie(self) -> bool:
        """The capability is declared, and is not there."""
        return self.declared is True and self.result in ("failed", "missing")


class Wrong(Exception):
    """Something is there, and it is not right."""


class Absent(Exception):
    """It is not there: refused, or ignored without a word."""


class Beside(Exception):
    """It cannot be asked of this model, or not be seen here."""
