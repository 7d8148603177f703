"""What a source brings: new models, facts that cards leave open, contradictions, changes of mind. Pure; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from changeover.core.digest import canonical_json
from changeover.core.errors import UnknownModelError
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.observations import SIGNALS, Observation
from changeover.library.queries import Stored
from changeover.library.sources.resolve import Resolved, resolved, same, stated


@dataclass(frozen=True, kw_only=True)
class NewModel:
    """A model that a source lists and no card describes."""

    name: str
    facts: Mapping[str, object]
    """What the source says of it."""

    @property
    def open(self) -> bool:
        """Whether the source says that its weights can be had."""
        return self.facts.get("weights") == "open"

    @property
    def released(self) -> str:
        """When, as the source says it; empty: it does not."""
        return str(self.facts.get("released") or "")


@dataclass(frozen=True, kw_only=True)
class Change:
    """A source says something else than before."""

    before: Observation
    now: Observation


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """A source contradicts a card."""

    card: str
    resolved: Resolved


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What of one reading is news."""

    cards: int
    """Cards that the source knows."""
    fresh: tuple[Observation, ...]
    """What it did not say before."""
    confirmed: tuple[int, ...]
    """Numbers of the observations that it makes again."""
    new_models: tuple[NewModel, ...]
    """Open weights first, the newest first. Only such as were not known before."""
    new_facts: tuple[Observation, ...]
    """About cards that say nothing of it."""
    signals: tuple[Observation, ...]
    changes: tuple[Change, ...]
    conflicts: tuple[Conflict, ...]
    """Those that are new."""
    standing_conflicts: int
    """All that this source has with cards, new or not."""


def compare(
    catalogue: Catalogue, read: Sequence[Observation], said_before: Mapping[tuple[str, str], Stored]
) -> Comparison:
    """Tell what is news from what the source said before and what cards say already."""
    known = {card.id: card for card in catalogue.cards()}
    fresh: list[Observation] = []
    confirmed: list[int] = []
    changes: list[Change] = []
    for each in read:
        before = said_before.get((each.card, each.fact))
        if before is not None and _again(before.observation, each):
            confirmed.append(before.id)
            continue
        fresh.append(each)
        if before is not None and each.fact not in SIGNALS:
            changes.append(Change(before=before.observation, now=each))
    strangers = {name for name, _ in said_before}
    facts = [each for each in fresh if each.card in known and each.fact not in SIGNALS]
    disputed = [each for each in read if each.card in known and _contradicts(known[each.card], each)]
    news = {(each.card, each.fact) for each in fresh}
    return Comparison(
        cards=len({each.card for each in read} & known.keys()),
        fresh=tuple(fresh),
        confirmed=tuple(confirmed),
        new_models=_new_models([each for each in fresh if each.card not in known and each.card not in strangers]),
        new_facts=tuple(each for each in facts if stated(known[each.card], each.fact) is None),
        signals=tuple(each for each in fresh if each.card in known and each.fact in SIGNALS),
        changes=tuple(changes),
        conflicts=tuple(
            Conflict(card=each.card, resolved=resolved(known[each.card], [each])[each.fact])
            for each in disputed
            if (each.card, each.fact) in news
        ),
        standing_conflicts=len(disputed),
    )


def conflicts_of(catalogue: Catalogue, said: Mapping[str, Sequence[Observation]]) -> list[Conflict]:
    """Every fact of the cards about which sources disagree with it or with each other."""
    found: list[Conflict] = []
    for name, each in sorted(said.items()):
        try:
            facts = resolved(catalogue.card(name), each)
        except UnknownModelError:
            continue
        found += [Conflict(card=name, resolved=fact) for fact in facts.values() if fact.conflicts]
    return found


def _again(before: Observation, now: Observation) -> bool:
    """Whether it is the same once more. A signal of another day is another one, though its value be the same."""
    if canonical_json(before.value) != canonical_json(now.value):
        return False
    return now.fact not in SIGNALS or before.as_of == now.as_of


def _contradicts(card: Card, observation: Observation) -> bool:
    own = None if observation.fact in SIGNALS else stated(card, observation.fact)
    return own is not None and not same(observation.fact, own.value, observation.value)


def _new_models(said: Sequence[Observation]) -> tuple[NewModel, ...]:
    facts: dict[str, dict[str, object]] = {}
    for each in said:
        facts.setdefault(each.card, {})[each.fact] = each.value
    models = [NewModel(name=name, facts=each) for name, each in sorted(facts.items())]
    newest_first = sorted(models, key=lambda model: model.released, reverse=True)
    return tuple(sorted(newest_first, key=lambda model: not model.open))
