"""What happened to the models on the shelf and when, who keeps them up, and who led each version of an index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from changeover.app.observed import last_commits
from changeover.app.shelf import Shelf
from changeover.core.errors import ConfigError, nearest
from changeover.library.cards import Card
from changeover.library.lineage import Model
from changeover.library.successors import successors
from changeover.library.timeline import (
    Continuity,
    Event,
    IndexVersion,
    Reversal,
    State,
    continuity,
    events,
    leaders,
    reversals,
    vendor_continuity,
)

NEEDS_A_LOOK: tuple[State, ...] = ("orphaned", "retired", "superseded")
"""States that somebody who uses the model has to know of, the worst first."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Of some cards."""

    happened: Sequence[Event]
    """Oldest first; what has no date comes last."""
    models: Sequence[Continuity]
    vendors: Sequence[Continuity]
    led: Sequence[IndexVersion]
    turned: Sequence[Reversal]


@dataclass(frozen=True, kw_only=True)
class Told:
    """An event as a list tells it: one claim about several models is said once."""

    event: Event
    models: tuple[str, ...]


def timeline(
    shelf: Shelf, *, family: str | None = None, vendor: str | None = None, task: str | None = None
) -> Timeline:
    """The timeline of cards that are named, or of all.

    Args:
        shelf: The library, as it is seen here.
        family: Only this one.
        vendor: Only vendors with this in their name.
        task: Only what answers this task, and what could follow it.

    Raises:
        ConfigError: No card has that.
    """
    cards = _chosen(shelf, family, vendor, task)
    commits = last_commits(shelf)
    names = sorted({card.vendor for card in cards})
    return Timeline(
        happened=events(shelf.catalogue, cards),
        models=[continuity(shelf.catalogue, card, commits.get(card.id), shelf.today) for card in cards],
        vendors=[vendor_continuity(name, shelf.catalogue.cards(), commits, shelf.today) for name in names],
        led=leaders(cards),
        turned=reversals(cards),
    )


def told(happened: Iterable[Event]) -> list[Told]:
    """Events in their order, what was said of several models together in one."""
    together: dict[tuple[str | None, str, str], list[Event]] = {}
    for event in happened:
        about = event.says if event.kind == "claim" else event.model
        together.setdefault((event.when, event.kind, about), []).append(event)
    return [Told(event=each[-1], models=tuple(event.model for event in each)) for each in together.values()]


def why(each: Continuity) -> str:
    """Why somebody is in a state, and what to try where nobody keeps a model up."""
    proposed = f"; try {', '.join(each.followed_by[:2])}" if each.state == "orphaned" and each.followed_by else ""
    return "; ".join(each.reasons) + proposed


def _chosen(shelf: Shelf, family: str | None, vendor: str | None, task: str | None) -> list[Card]:
    """Cards that are named.

    Raises:
        ConfigError: There is none.
    """
    cards = list(shelf.catalogue.cards())
    if family is not None:
        families = {card.family for card in cards}
        cards = [card for card in cards if card.family.casefold() == family.casefold()]
        if not cards:
            raise ConfigError(f"No family named `{family}`. {nearest(family, families)}")
    if vendor is not None:
        vendors = {card.vendor for card in cards}
        cards = [card for card in cards if vendor.casefold() in card.vendor.casefold()]
        if not cards:
            raise ConfigError(f"No vendor named `{vendor}`. {nearest(vendor, vendors)}")
    if task is not None:
        answering = [card for card in shelf.catalogue.cards() if task in shelf.presence(card).tasks]
        if not answering:
            tasks = {name for card in shelf.catalogue.cards() for name in shelf.presence(card).tasks}
            raise ConfigError(f"No card answers a task `{task}`. {nearest(task, tasks)}")
        following = {each.card.id for card in answering for each in successors(shelf.catalogue, Model(name=card.id))}
        cards = [card for card in cards if card in answering or card.id in following]
    return cards
