"""Who answers how much: shares of the tasks and of the recorded traffic, by what would be left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from changeover.library.cards import Card

UNKNOWN: Final = "unknown"
DIMENSIONS: Final = ("vendor", "country", "family", "engine", "weights", "hosted name")


@dataclass(frozen=True, kw_only=True)
class Answering:
    """One model that answers one task, or did within the time that is looked at."""

    task: str
    deployment: str
    card: Card | None
    engine: str | None
    """None: its deployment is gone, so nobody knows."""
    hosted: str | None
    """What its name stands for where others run it: `alias`, `snapshot`, `digest`, or unknown; None: it runs here."""
    now: bool
    """Whether it answers the task now."""
    requests: int


@dataclass(frozen=True, kw_only=True)
class Share:
    """How much hangs on one thing."""

    of: str
    tasks: int
    tasks_share: float
    """Of the tasks that have a route, 0 to 1."""
    requests: int
    requests_share: float | None
    """Of the recorded requests; None: there were none."""


def shares(answering: Iterable[Answering]) -> dict[str, tuple[Share, ...]]:
    """By dimension, the largest share first."""
    every = list(answering)
    return {dimension: _shares(every, dimension) for dimension in DIMENSIONS}


def _shares(every: list[Answering], dimension: str) -> tuple[Share, ...]:
    tasks = sum(each.now for each in every)
    requests = sum(each.requests for each in every)
    named: dict[str, list[Answering]] = {}
    for each in every:
        named.setdefault(_value(each, dimension), []).append(each)
    found = [
        Share(
            of=name,
            tasks=(mine := sum(each.now for each in group)),
            tasks_share=mine / tasks if tasks else 0.0,
            requests=(asked := sum(each.requests for each in group)),
            requests_share=asked / requests if requests else None,
        )
        for name, group in named.items()
    ]
    return tuple(sorted(found, key=lambda share: (-share.tasks, -share.requests, share.of)))


def _value(each: Answering, dimension: str) -> str:
    if dimension == "engine":
        return each.engine or UNKNOWN
    if dimension == "hosted name":
        return each.hosted or "runs here"
    if each.card is None:
        return UNKNOWN
    found = {
        "vendor": each.card.vendor,
        "country": each.card.country,
        "family": each.card.family,
        "weights": each.card.weights,
    }[dimension]
    return found or UNKNOWN
