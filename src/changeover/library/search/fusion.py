"""One order of several that have no common scale, by rank (reciprocal rank fusion)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final, TypeVar

RANK_OFFSET: Final = 10
"""How much less the first rank counts than it could (k of reciprocal rank fusion; Cormack, Clarke and Büttcher, SIGIR 2009,
use 60 for thousands of documents)."""

Key = TypeVar("Key", bound=Hashable)


def ranks(scores: Mapping[Key, float]) -> dict[Key, int]:
    """The rank of each, from 1; those with one score share the first rank among them."""
    found: dict[Key, int] = {}
    ordered = sorted(scores.items(), key=lambda each: -each[1])
    for place, (key, score) in enumerate(ordered, start=1):
        before = ordered[place - 2] if place > 1 else None
        found[key] = found[before[0]] if before is not None and round(before[1], 6) == round(score, 6) else place
    return found


def fused(key: Key, orders: list[dict[Key, int]]) -> float:
    """What one is worth by its ranks in all orders; 1 for who is first in each."""
    best = len(orders) / (RANK_OFFSET + 1)
    return sum(1 / (RANK_OFFSET + order[key]) for order in orders if key in order) / best
