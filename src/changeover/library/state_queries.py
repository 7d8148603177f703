"""Every query on what was verified here."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, insert, select

from changeover.library.states import STATES, Reached, State
from changeover.store.schema import card_states


def states_of(connection: Connection, card: str) -> list[Reached]:
    """What one card has reached, in the order of `STATES`."""
    rows = connection.execute(select(card_states).where(card_states.c.card == card))
    found = [Reached(card=row.card, state=row.state, at=row.at, evidence=row.evidence) for row in rows]
    return sorted(found, key=lambda each: STATES.index(each.state))


def reached_states(connection: Connection) -> set[tuple[str, State]]:
    """Card and state of everything that was reached: at most four for each card."""
    rows = connection.execute(select(card_states.c.card, card_states.c.state))
    return {(row.card, row.state) for row in rows}


def keep_states(connection: Connection, new: Iterable[Reached]) -> list[Reached]:
    """Write down what was reached, unless it was before; gives what is new. In a transaction that takes its turn."""
    known = reached_states(connection)
    kept: list[Reached] = []
    for each in new:
        if (each.card, each.state) in known:
            continue
        known.add((each.card, each.state))
        kept.append(each)
        row = {"card": each.card, "state": each.state, "at": each.at, "evidence": dict(each.evidence)}
        connection.execute(insert(card_states).values(row))
    return kept
