"""Documented limits on splitting models over cards, read in `known.toml`."""

from __future__ import annotations

from datetime import date
from functools import cache
from importlib import resources
from typing import Annotated

from pydantic import Field

from changeover.core import toml
from changeover.core.toml import Declared
from changeover.library.cards import Card, CardId
from changeover.library.facts import Grade, Name
from changeover.library.running import Positive


class Limit(Declared):
    """How a model may be split over cards, as somebody documented it."""

    cards: Annotated[tuple[CardId, ...], Field(min_length=1)]
    quantisation: Name | None = None
    """Only in this one; None: in all."""
    max_tensor_parallel: Positive | None = None
    """Without expert parallelism."""
    expert_parallel_beyond: bool = False
    """Whether expert parallelism allows more."""
    tensor_parallel_across_nodes: bool = False
    """Its recipe splits tensors over nodes too, where others make a pipeline of nodes."""
    note: Name
    source: Name
    grade: Grade
    checked: date


class _File(Declared):
    limits: tuple[Limit, ...] = ()


def limit_for(card: Card, quantisation: str) -> Limit | None:
    """The documented limit on splitting a model in a quantisation."""
    wanted = quantisation.casefold()
    for limit in _known().limits:
        if card.id in limit.cards and limit.quantisation in (None, wanted):
            return limit
    return None


def known_cards() -> frozenset[str]:
    """Ids that the file names; each must be a card's."""
    return frozenset(card for limit in _known().limits for card in limit.cards)


@cache
def _known() -> _File:
    with resources.as_file(resources.files("changeover.library.fit") / "known.toml") as path:
        return toml.load(_File, path)
