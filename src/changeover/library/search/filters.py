"""Filters over the facts of cards. What is not known is neither yes nor no: such cards are left out, and counted."""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, get_args

from changeover.core.errors import ConfigError, nearest
from changeover.library.cards import Card, Scenario
from changeover.library.licences.judgement import OUTCOMES, Outcome

ACCEPTABLE: Final = ("allow", "duties")
"""Outcomes with which a model may be used now."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What is asked of a card; None asks nothing."""

    modality: str | None = None
    """What it reads or writes; `in:image` or `out:image` for one of them."""
    min_size_b: float | None = None
    max_size_b: float | None = None
    """Billions of parameters, all of them."""
    licence: str | None = None
    """A licence's id, or an outcome under the policy; `allow` takes those with duties too."""
    country: str | None = None
    language: str | None = None
    """BCP 47; `de` takes `de-AT` too."""
    context_tokens: int | None = None
    """At least."""
    engine: str | None = None
    """One that runs it today."""
    released_after: date | None = None
    released_before: date | None = None
    """Both days included."""
    open_weights: bool = False
    vendor: str | None = None
    """A part of its name."""
    family: str | None = None
    scenario: str | None = None
    """What it is for, in the words of cards."""


Answer = bool | None
"""Of one filter about one card; None: the fact is unknown."""


@dataclass(frozen=True, kw_only=True)
class Filtered:
    """What passed."""

    cards: tuple[Card, ...]
    unknown: Mapping[str, int]
    """By fact: cards that nothing speaks against but that this fact is not known of."""


def filtered(
    cards: Iterable[Card],
    filters: Filters,
    *,
    outcome: Callable[[Card], Outcome],
    fits: Callable[[Card], Answer] | None = None,
) -> Filtered:
    """Cards that every filter says yes to.

    Raises:
        ConfigError: A filter names what no card has; the nearest known is named.
    """
    cards = list(cards)
    _check(cards, filters)
    kept: list[Card] = []
    unknown: Counter[str] = Counter()
    for card in cards:
        answers = dict(_answers(card, filters, outcome))
        if fits is not None and False not in answers.values():
            answers["fit"] = fits(card)
        if False in answers.values():
            continue
        missing = [fact for fact, answer in answers.items() if answer is None]
        if missing:
            unknown.update(missing[:1])
        else:
            kept.append(card)
    return Filtered(cards=tuple(kept), unknown=dict(unknown))


def _answers(card: Card, filters: Filters, outcome: Callable[[Card], Outcome]) -> Iterator[tuple[str, Answer]]:
    if filters.modality is not None:
        yield "modality", _has_modality(card, filters.modality)
    if filters.min_size_b is not None or filters.max_size_b is not None:
        yield "size", _between(card.parameters_b, filters.min_size_b, filters.max_size_b)
    if filters.licence is not None:
        yield "licence", _licensed(card, filters.licence, outcome)
    if filters.country is not None:
        yield "country", _equal(card.country, filters.country)
    if filters.language is not None:
        yield "languages", _speaks(card, filters.language)
    if filters.context_tokens is not None:
        yield "context", _between(card.context_tokens, filters.context_tokens, None)
    if filters.engine is not None:
        yield "engines", _runs_on(card, filters.engine)
    if filters.released_after is not None or filters.released_before is not None:
        yield "release", _released(card, filters.released_after, filters.released_before)
    if filters.open_weights:
        yield "weights", None if card.weights is None else card.weights == "open"
    if filters.vendor is not None:
        yield "vendor", filters.vendor.casefold() in card.vendor.casefold()
    if filters.family is not None:
        yield "family", _equal(card.family, filters.family)
    if filters.scenario is not None:
        yield "scenario", filters.scenario.casefold() in card.scenarios if card.scenarios else None


def _between(value: float | None, least: float | None, most: float | None) -> Answer:
    return None if value is None else (least is None or value >= least) and (most is None or value <= most)


def _released(card: Card, first: date | None, last: date | None) -> Answer:
    """Of a card that names only the month, a day within that month is neither before nor after it."""
    if card.released is None:
        return None
    latest = card.released if card.released_to == "day" else _end_of_month(card.released)
    if (first is not None and latest < first) or (last is not None and card.released > last):
        return False
    sure = (first is None or card.released >= first) and (last is None or latest <= last)
    return True if sure else None


def _end_of_month(first: date) -> date:
    return first.replace(day=monthrange(first.year, first.month)[1])


def _equal(value: str | None, wanted: str) -> Answer:
    return None if value is None else value.casefold() == wanted.casefold()


def _has_modality(card: Card, wanted: str) -> Answer:
    side, name = _modality(wanted)
    known = {"in": card.modalities_in, "out": card.modalities_out}
    sides = [known[side]] if side else list(known.values())
    if any(name in each for each in sides):
        return True
    return None if not any(sides) else False


def _modality(wanted: str) -> tuple[str | None, str]:
    side, colon, name = wanted.casefold().partition(":")
    return (side, name) if colon and side in ("in", "out") else (None, wanted.casefold())


def _licensed(card: Card, wanted: str, outcome: Callable[[Card], Outcome]) -> Answer:
    if wanted == "allow":
        return outcome(card) in ACCEPTABLE
    if wanted in OUTCOMES:
        return outcome(card) == wanted
    return _equal(card.licence_id, wanted)


def _speaks(card: Card, wanted: str) -> Answer:
    if not card.languages:
        return None
    return any(_covers(wanted, language) for language in card.languages)


def _covers(wanted: str, language: str) -> bool:
    wanted, language = wanted.casefold(), language.casefold()
    return language == wanted or language.startswith(f"{wanted}-")


def _runs_on(card: Card, wanted: str) -> Answer:
    if not card.engines:
        return None
    return any(each.engine.casefold() == wanted.casefold() and each.until is None for each in card.engines)


def _check(cards: Iterable[Card], filters: Filters) -> None:
    """Refuse what no card could ever say yes to, for it is mistyped."""
    cards = list(cards)
    if filters.modality is not None:
        known = {name for card in cards for name in (*card.modalities_in, *card.modalities_out)}
        _known("--modality", filters.modality, _modality(filters.modality)[1], known)
    if filters.licence is not None:
        ids = {card.licence_id for card in cards if card.licence_id is not None}
        _known("--licence", filters.licence, filters.licence, {*OUTCOMES, *ids})
    if filters.country is not None:
        _known("--country", filters.country, filters.country, {card.country for card in cards if card.country})
    if filters.language is not None:
        languages = {language for card in cards for language in card.languages}
        if not any(_covers(filters.language, language) for language in languages):
            _known("--language", filters.language, filters.language, languages)
    if filters.engine is not None:
        _known("--engine", filters.engine, filters.engine, {each.engine for card in cards for each in card.engines})
    if filters.vendor is not None:
        vendors = {card.vendor for card in cards}
        if not any(filters.vendor.casefold() in vendor.casefold() for vendor in vendors):
            _known("--vendor", filters.vendor, filters.vendor, vendors)
    if filters.family is not None:
        _known("--family", filters.family, filters.family, {card.family for card in cards})
    if filters.scenario is not None:
        _known("--scenario", filters.scenario, filters.scenario, get_args(Scenario))


def _known(option: str, written: str, wanted: str, known: Iterable[str]) -> None:
    known = set(known)
    if wanted.casefold() not in {each.casefold() for each in known}:
        raise ConfigError(f"`{option} {written}`: no card has that. {nearest(wanted, known)}")
