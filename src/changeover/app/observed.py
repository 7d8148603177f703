"""What others say of the models on the shelf: where they contradict a card, and when somebody last worked on a model."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from changeover.app.shelf import Shelf
from changeover.library.cards import Card
from changeover.library.observations import Observation
from changeover.library.queries import newest_signals, observations_of
from changeover.library.sources.resolve import Resolved, resolved
from changeover.library.sources.snapshot import shipped_signals

LAST_COMMIT = "signals.last_commit"


def contradicted(shelf: Shelf, card: Card) -> tuple[Resolved, ...]:
    """Facts of a card that some source states otherwise; which one counts stands with each."""
    if shelf.store is None:
        return ()
    with shelf.store.read() as connection:
        observed = observations_of(connection, card.id)
    return tuple(each for each in resolved(card, observed).values() if each.conflicts)


def last_commits(shelf: Shelf) -> dict[str, date]:
    """When somebody last committed to a model's repository, by id of its card, as far as it was observed."""
    if shelf.store is None:
        return _dates(each for each in shipped_signals() if each.fact == LAST_COMMIT)
    with shelf.store.read() as connection:
        signals = newest_signals(connection)
    return _dates(said[LAST_COMMIT] for said in signals.values() if LAST_COMMIT in said)


def _dates(observed: Iterable[Observation]) -> dict[str, date]:
    return {each.card: date.fromisoformat(str(each.value)[:10]) for each in observed}
