"""How much a key or a team may use: limits as they are stored and declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["requests", "tokens", "usd", "concurrent"]
"""What is counted. `usd` in millionths; `concurrent` is given back when a request ends."""
Per = Literal["minute", "hour", "day", "week", "month", "total", "now"]
"""Over which period, in UTC, weeks from Monday. `now` belongs to `concurrent` only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """At most `amount` of a unit in a period."""

    unit: Unit
    per: Per
    amount: int
    """Requests, tokens, millionths of a US dollar, or requests at once."""

    def document(self) -> dict[str, Any]:
        """The JSON value that is stored."""
        return {"unit": self.unit, "per": self.per, "amount": self.amount}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Limit:
        return cls(unit=document["unit"], per=document["per"], amount=document["amount"])
