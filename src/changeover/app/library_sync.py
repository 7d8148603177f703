"""Syncing the library: a source is read, compared with what cards and it said before, and kept, in one transaction.

Cards stay as they are. A fact is adopted by whoever writes it, with its source, into a card.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection

from changeover.app.installation import Installation
from changeover.app.licence_checks import licensing_of
from changeover.library.cards import Card, Terms
from changeover.library.catalogue import Catalogue
from changeover.library.licences.judgement import Judgement
from changeover.library.licences.queries import note_text, review_needed
from changeover.library.observations import Observation
from changeover.library.queries import (
    Sync,
    add_observations,
    add_sync,
    confirm,
    last_syncs,
    observations_of,
    observed_names,
    said_last,
)
from changeover.library.sources.compare import Comparison, Conflict, compare, conflicts_of
from changeover.library.sources.matching import Names
from changeover.library.sources.reading import LicenceText, Reading, observations

LICENCE = "licence.id"


@dataclass(frozen=True, kw_only=True)
class TextSeen:
    """A licence's text that was not seen before."""

    text: LicenceText
    review: bool
    """Whether somebody has to read it: until then the model is promoted nowhere."""


@dataclass(frozen=True, kw_only=True)
class OtherTerms:
    """What licence and policy say of a model whose terms a source shows in another light."""

    by_card: Judgement
    by_source: Judgement | None = None
    """If it were under the licence that the source names; None: it names the card's, and its text is another."""
    licence: str | None = None
    """The one that the source names."""


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What reading a source brought."""

    reading: Reading
    comparison: Comparison
    texts: tuple[TextSeen, ...]
    positions: tuple[OtherTerms, ...]
    """Of the cards whose terms changed, or are other ones at the source."""
    written: bool
    """False: it was only looked at."""

    @property
    def nothing_new(self) -> bool:
        """Whether the source says what it said before, and nothing else."""
        return not self.comparison.fresh and not self.texts


def sync_reading(
    installation: Installation, reading: Reading, actor: str, *, as_of: date | None = None, dry_run: bool = False
) -> Synced:
    """Compare what was read with what is known, and keep what is new; the whole of it or nothing.

    `as_of` is the day that the source is of, where it does not say so itself. With `dry_run` nothing is kept.
    """
    now = installation.clock.now()
    found = observations(reading, Names(installation.catalogue), now)
    if as_of is not None:
        found = tuple(replace(each, as_of=as_of) if each.as_of is None else each for each in found)
    # What is written in a reading connection is thrown away: a dry run goes the same way.
    with installation.store.read() if dry_run else installation.store.write() as connection:
        compared = compare(installation.catalogue, found, said_last(connection, reading.source))
        seen = _note_texts(connection, installation.catalogue, reading.texts, now)
        if not dry_run:
            _keep(connection, reading, compared, _counts(found, compared, seen), actor, now)
    positions = tuple(_positions(installation, compared, seen))
    return Synced(reading=reading, comparison=compared, texts=seen, positions=positions, written=not dry_run)


def standing_conflicts(installation: Installation, card: str | None = None) -> list[Conflict]:
    """Every fact about which a card and its sources, or two sources, do not agree; of one card or of all."""
    with installation.store.read() as connection:
        names = [card] if card is not None else observed_names(connection)
        known = {each.id for each in installation.catalogue.cards()}
        said = {name: observations_of(connection, name) for name in names if name in known}
    return conflicts_of(installation.catalogue, said)


def _positions(installation: Installation, compared: Comparison, seen: Sequence[TextSeen]) -> Iterator[OtherTerms]:
    """Of each card once: the licence that the source names, where that is another one; else that its text is another."""
    catalogue, licensing = installation.catalogue, licensing_of(installation)
    cards = {card.id: card for card in catalogue.cards()}
    fresh = {each.card: str(each.value) for each in compared.fresh if each.fact == LICENCE and each.card in cards}
    other = {id: licence for id, licence in fresh.items() if not _is_of(catalogue, cards[id], licence)}
    reread = {text.text.card for text in seen if text.review}
    for id in sorted(other.keys() | reread):
        judged, licence = licensing.card(cards[id]), other.get(id)
        if licence is None:
            yield OtherTerms(by_card=judged)
            continue
        there = licensing.card(cards[id].model_copy(update={"licence": Terms(id=licence)}))
        yield OtherTerms(by_card=judged, by_source=there, licence=licence)


def _is_of(catalogue: Catalogue, card: Card, licence: str) -> bool:
    """Whether a card is under a licence, by whichever of its names."""
    own, named = catalogue.licence(card.licence_id or ""), catalogue.licence(licence)
    if own is None or named is None:
        return (card.licence_id or "").casefold() == licence.casefold()
    return own.id == named.id


def _note_texts(
    connection: Connection, catalogue: Catalogue, read: Sequence[LicenceText], now: datetime
) -> tuple[TextSeen, ...]:
    seen: list[TextSeen] = []
    for text in read:
        if note_text(connection, text.card, text.sha256, text.source, now) is not None:
            review = review_needed(connection, catalogue.card(text.card)) is not None
            seen.append(TextSeen(text=text, review=review))
    return tuple(seen)


def _keep(
    connection: Connection, reading: Reading, compared: Comparison, summary: dict[str, Any], actor: str, now: datetime
) -> None:
    add_observations(connection, compared.fresh)
    before = last_syncs(connection).get(reading.source)
    if before is None or before.input_digest != reading.digest:
        confirm(connection, compared.confirmed, now)
    made = Sync(source=reading.source, input_digest=reading.digest, actor=actor, summary=summary, at=now)
    add_sync(connection, made)


def _counts(found: Sequence[Observation], compared: Comparison, seen: Sequence[TextSeen]) -> dict[str, Any]:
    return {
        "read": len(found),
        "cards": compared.cards,
        "new": len(compared.fresh),
        "confirmed": len(compared.confirmed),
        "changed": len(compared.changes),
        "conflicts": compared.standing_conflicts,
        "new_models": len(compared.new_models),
        "licence_texts": len(seen),
    }
