"""Who is right: what a card states and what sources say of the same fact, by grade and then by date. Pure; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, cast

from changeover.library.cards import Card
from changeover.library.facts import GRADES, FactSource, Grade
from changeover.library.lineage import plain_name
from changeover.library.observations import SIGNALS, Observation
from changeover.library.running import EngineSupport
from changeover.library.sources.reading import host_name

CARD: Final = "card"
"""Who states what stands on the card."""
ROUNDED: Final = 0.05
"""Vendors round the number of parameters; this much apart it is one number."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A value, by somebody."""

    value: Any
    by: str
    """`card`, or the name of a source."""
    at: str
    """Where it was read."""
    grade: Grade
    on: date
    """When it was so; where that is not known, when it was read."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """One fact, with what speaks against it."""

    fact: str
    winner: Statement
    agreeing: tuple[Statement, ...]
    conflicts: tuple[Statement, ...]

    @property
    def because(self) -> str:
        """Why the winner wins over the best of the others: `grade`, `date`, or nothing where all agree."""
        if not self.conflicts:
            return ""
        return "date" if self.fact in SIGNALS or self.conflicts[0].grade == self.winner.grade else "grade"


def resolved(card: Card, observations: Iterable[Observation]) -> dict[str, Resolved]:
    """Every fact that a source speaks about, by its name: what counts, who agrees, who does not.

    The card's own value is among the statements. Of signals the newest counts, and older ones are no conflict.
    """
    said: dict[str, list[Statement]] = {}
    for each in observations:
        said.setdefault(each.fact, []).append(statement_of(each))
    found: dict[str, Resolved] = {}
    for fact, statements in sorted(said.items()):
        own = stated(card, fact)
        if own is not None:
            statements.append(own)
        winner, *others = _ranked(fact, statements)
        agreeing = tuple(each for each in others if same(fact, winner.value, each.value))
        against = () if fact in SIGNALS else tuple(each for each in others if each not in agreeing)
        found[fact] = Resolved(fact=fact, winner=winner, agreeing=agreeing, conflicts=against)
    return found


def statement_of(observation: Observation) -> Statement:
    """What a source says."""
    return Statement(
        value=observation.value,
        by=observation.source,
        at=observation.locator,
        grade=observation.grade,
        on=observation.as_of or observation.seen_at.date(),
    )


def stated(card: Card, fact: str) -> Statement | None:
    """What the card says of a fact; None: it leaves it open."""
    value = _value(card, fact)
    if value in (None, [], ""):
        return None
    head = fact.split(".")[0]
    told = [source for source in card.sources if source.says(fact) or source.says(head)]
    if not told:
        # Facts that bring their sources with them, such as memory.
        told = list(card.sources)
    best = min(told, key=_source_rank)
    return Statement(value=value, by=CARD, at=best.at, grade=best.grade, on=best.checked)


def same(fact: str, one: Any, other: Any) -> bool:
    """Whether two values of a fact are one, however they are written."""
    match fact.split("."):
        case ["parameters_b" | "active_parameters_b"]:
            return abs(float(one) - float(other)) <= ROUNDED * max(float(one), float(other))
        case ["released"]:
            return one.startswith(other) or other.startswith(one)
        case ["languages"]:
            return _set(one) <= _set(other) or _set(other) <= _set(one)
        case ["repositories" | "modelscope"]:
            return bool(_set(one) & _set(other))
        case ["modalities_in" | "modalities_out"] | ["recipes", _, "verified_hardware"]:
            return _set(one) == _set(other)
        case ["hosted", *_, "price"]:
            keys = ("input_usd_per_million_tokens", "output_usd_per_million_tokens")
            return all(abs(one[key] - other[key]) < 1e-6 for key in keys)
        case ["recipes", _, "command"]:
            return True  # another way to start it is no contradiction
        case ["licence", "text_sha256"]:
            return one.startswith(other) or other.startswith(one)
        case ["lineage", _]:
            return plain_name(one) == plain_name(other)
        case ["engines", _, "since"]:
            return one.removesuffix(".0") == other.removesuffix(".0")
        case ["chat_format" | "reasoning_format" | "tool_call_format"]:
            return one.casefold() in other.casefold() or other.casefold() in one.casefold()
        case _:
            return (
                one.casefold() == other.casefold() if isinstance(one, str) and isinstance(other, str) else one == other
            )


def _ranked(fact: str, statements: list[Statement]) -> list[Statement]:
    """Better first. Of one grade and day the card's own."""

    def rank(statement: Statement) -> tuple[int, int, int]:
        grade = 0 if fact in SIGNALS else GRADES.index(statement.grade)
        return grade, -statement.on.toordinal(), 0 if statement.by == CARD else 1

    return sorted(statements, key=rank)


def _source_rank(source: FactSource) -> tuple[int, int]:
    return GRADES.index(source.grade), -source.checked.toordinal()


def _value(card: Card, fact: str) -> Any:
    """The card's value, as JSON."""
    match fact.split("."):
        case ["released"]:
            return card.released_on
        case ["engines", name, *key]:
            return _of_engine(next((each for each in card.engines if each.engine == name), None), key)
        case ["recipes", name, key]:
            recipe = next((each for each in card.recipes if each.engine == name), None)
            return None if recipe is None else _plain(getattr(recipe, key, None))
        case ["memory", *quantisation, "minimum_gb"]:
            wanted = ".".join(quantisation)
            return next((each.minimum_gb for each in card.memory if each.quantisation == wanted), None)
        case ["hosted", *host, "price"]:
            return _price(card, ".".join(host))
        case [*keys]:
            value: Any = card
            for key in keys:
                value = getattr(value, key, None)
            return _plain(value)


def _of_engine(engine: EngineSupport | None, key: list[str]) -> Any:
    """Whether the card names the engine, or what it says of it."""
    if engine is None:
        return None
    return getattr(engine, key[0], None) if key else True


def _price(card: Card, host: str) -> dict[str, Any] | None:
    """The newest price that the card has of a host."""
    for hosted in card.hosted:
        if host_name(hosted.host) == host and hosted.prices:
            newest = hosted.prices[-1].model_dump(mode="json")
            return {"id": hosted.id, **newest}
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(cast("tuple[Any, ...]", value))
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool) else None


def _set(values: Iterable[str]) -> set[str]:
    return {value.casefold() for value in values}
