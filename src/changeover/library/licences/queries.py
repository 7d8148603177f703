"""Every query on texts of licences: which were seen beside the weights, and who accepted them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from changeover.core.errors import UnknownModelError, nearest
from changeover.library.cards import Card
from changeover.store.schema import licence_texts


@dataclass(frozen=True, kw_only=True)
class LicenceText:
    """One text of a model's licence, as it was seen at its source. Its words are not kept, only their digest."""

    id: int
    card: str
    sha256: str
    source: str
    """Repository and revision, or a file."""
    seen_at: datetime
    accepted_by: str | None
    """None: nobody accepted this text."""
    accepted_at: datetime | None
    reason: str | None


_FIELDS = [field.name for field in fields(LicenceText)]


def note_text(connection: Connection, card: str, sha256: str, source: str, now: datetime) -> LicenceText | None:
    """Keep the digest of a licence's text that was seen at its source. Returns the row; None where it is as it was."""
    newest = _newest(connection, card)
    if newest is not None and newest.sha256 == sha256:
        return None
    connection.execute(insert(licence_texts).values(card=card, sha256=sha256, source=source, seen_at=now))
    return _newest(connection, card)


def texts(connection: Connection, card: str | None = None) -> list[LicenceText]:
    """Every text that was seen, of one card or of all; oldest first."""
    query = select(licence_texts).order_by(licence_texts.c.id)
    rows = connection.execute(query if card is None else query.where(licence_texts.c.card == card))
    return [LicenceText(**{name: getattr(row, name) for name in _FIELDS}) for row in rows]


def review_needed(connection: Connection, card: Card) -> LicenceText | None:
    """The newest text of a card's licence, where somebody has to read it before the model takes over anything.

    It differs from the text that was accepted last; or, where none was, from the one that the card has the digest of;
    or, where the card has none, from the one that was seen first.
    """
    seen = texts(connection, card.id)
    if not seen or seen[-1].accepted_by is not None:
        return None
    accepted = [text.sha256 for text in seen if text.accepted_by is not None]
    declared = None if card.licence is None else card.licence.text_sha256
    known = accepted[-1] if accepted else declared or seen[0].sha256
    return None if seen[-1].sha256.startswith(known) else seen[-1]


def open_reviews(connection: Connection, cards: Iterable[Card]) -> dict[str, LicenceText]:
    """The texts that somebody has to read, by the id of the card."""
    found = ((card.id, review_needed(connection, card)) for card in cards)
    return {card: text for card, text in found if text is not None}


def accept(connection: Connection, card: str, actor: str, reason: str, now: datetime) -> LicenceText:
    """Accept the newest text of a card's licence, by name and with a reason.

    Raises:
        UnknownModelError: No text of that card's licence was ever seen.
    """
    newest = _newest(connection, card)
    if newest is None:
        known = sorted({text.card for text in texts(connection)})
        hint = nearest(card, known) if known else "`changeover library sync hub --online` reads them at their source."
        raise UnknownModelError(f"No text of the licence of `{card}` was seen yet. {hint}")
    if newest.accepted_by is None:
        connection.execute(
            update(licence_texts)
            .where(licence_texts.c.id == newest.id)
            .values(accepted_by=actor, accepted_at=now, reason=reason)
        )
    return texts(connection, card)[-1]


def _newest(connection: Connection, card: str) -> LicenceText | None:
    seen = texts(connection, card)
    return seen[-1] if seen else None
