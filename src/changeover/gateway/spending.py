"""What was spent of limits, and what is promised to gateways: every query on `spending` and `leases`, and their sums.

For each holder, unit and period the store has two numbers: `spent`, and `leased`, the sum of the leases that gateways
hold. A gateway is given a lease only while spent + leased stays within the limit, under a lock of that row, so that the
sum of what all gateways let through never exceeds it. `settled` is the arithmetic of one row, without a store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from changeover.gateway.limits import Per, Unit
from changeover.store.schema import leases, spending

SHARE = 8
"""Besides what is asked for, a gateway holds at most one part in so many of what is left."""
KEPT = {"minute": timedelta(hours=1), "hour": timedelta(days=2), "day": timedelta(days=60)}
"""How long rows of short periods stay after their start; the others are few."""


class Row(NamedTuple):
    """Which row of `spending`."""

    holder: str
    unit: Unit
    per: Per
    period: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a gateway tells of one of its leases, and asks for."""

    id: str
    row: Row
    limit: int
    amount: int
    """Of the lease, as this gateway knows it; 0 before the first."""
    known: bool
    """The store has had this lease: if it is gone, it ran out and was counted as spent."""
    used: int = 0
    """Since the last report. Always 0 for `concurrent`."""
    reserved: int = 0
    """Promised to requests under way."""
    back: int = 0
    """Units that this gateway does without from now on. At most amount - used - reserved."""
    wants: tuple[int, ...] = ()
    """Of requests that wait for an answer, in order."""
    target: int = 0
    """Free units to hold afterwards, where that leaves enough for others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """What the store has after a claim."""

    amount: int
    """Of the lease."""
    spent: int
    leased: int
    """By all gateways, this one included."""


def settled(claim: Claim, spent: int, leased: int, lease: int | None) -> Holding:
    """What one claim makes of its row. Never raises spent + leased above the limit but by what was really used.

    Args:
        claim: What the gateway says.
        spent: Of the row as it is.
        leased: Of the row as it is.
        lease: The gateway's own part of `leased`; None: there is none, or it ran out.
    """
    others = leased - (lease or 0)
    concurrent = claim.row.unit == "concurrent"
    if lease is None and claim.known:
        # It ran out: places were freed, other units counted as spent. What requests under way were promised becomes a
        # lease again, so that they are not counted a second time at their end; what was used beyond the lease comes on top.
        held = claim.reserved if concurrent else min(claim.reserved, max(0, claim.amount - claim.used))
        spent += 0 if concurrent else max(0, claim.used - claim.amount) - held
    else:
        spent += claim.used
        held = max(0, claim.amount - claim.used - claim.back)
    left = max(0, claim.limit - spent - others - held)
    free = held - claim.reserved
    need = min(left, max(0, _served(claim.wants, free + left) - free)) if claim.wants or free < 0 else 0
    held, left = held + need, left - need
    free += need - _served(claim.wants, free + need)
    held += max(0, min(claim.target, (left + max(0, free)) // SHARE) - max(0, free))
    return Holding(amount=held, spent=spent, leased=others + held)


def _served(wants: Iterable[int], free: int) -> int:
    """Sum of the requests that can be served, in order, leaving out those that are too large."""
    served = 0
    for want in wants:
        if served + want <= free:
            served += want
    return served


def exchange(
    connection: Connection, writer: str, claims: Sequence[Claim], now: datetime, lease_s: float, *, sweep: bool
) -> list[Holding]:
    """Report and renew leases, in one transaction; gives what each claim holds now, in their order.

    Args:
        connection: In a transaction.
        writer: This gateway.
        claims: At most one for each row of `spending`.
        now: Of this gateway's clock.
        lease_s: A lease that is not renewed for so long has run out.
        sweep: Also settle the leases of others that have run out.
    """
    out = _ran_out(connection, now) if sweep else {}
    rows = _locked(connection, {claim.row for claim in claims} | set(out.values()))
    found = _leases(connection, [claim.id for claim in claims], out, now)
    after = dict(rows)
    for id, amount in found.expired.items():
        row = out[id]
        spent, leased = after[row]
        after[row] = (spent if row.unit == "concurrent" else spent + amount, leased - amount)
    holdings: list[Holding] = []
    for claim in claims:
        spent, leased = after[claim.row]
        holding = settled(claim, spent, leased, found.live.get(claim.id))
        after[claim.row] = (holding.spent, holding.leased)
        holdings.append(holding)
    _write_rows(connection, rows, after)
    _drop_leases(connection, found.expired)
    held = [(claim, holding.amount) for claim, holding in zip(claims, holdings, strict=True)]
    _write_leases(connection, writer, held, found.live.keys(), now + timedelta(seconds=lease_s))
    return holdings


def forget_periods(connection: Connection, now: datetime) -> None:
    """Delete rows of periods that are long over."""
    for per, kept in KEPT.items():
        connection.execute(
            delete(spending).where(spending.c.per == per, spending.c.period < now - kept, spending.c.leased <= 0)
        )


@dataclass(frozen=True)
class _Found:
    live: Mapping[str, int]
    expired: Mapping[str, int]


_PLACE = tuple_(spending.c.holder, spending.c.unit, spending.c.per, spending.c.period)
_ADD = (
    update(spending)
    .where(
        spending.c.holder == bindparam("b_holder"),
        spending.c.unit == bindparam("b_unit"),
        spending.c.per == bindparam("b_per"),
        spending.c.period == bindparam("b_period"),
    )
    .values(
        spent=spending.c.spent + bindparam("more_spent"),
        leased=spending.c.leased + bindparam("more_leased"),
    )
)
_RENEW = (
    update(leases)
    .where(leases.c.id == bindparam("b_id"))
    .values(amount=bindparam("b_amount"), expires_at=bindparam("b_until"))
)


def _ran_out(connection: Connection, now: datetime) -> dict[str, Row]:
    rows = connection.execute(select(leases).where(leases.c.expires_at < now))
    return {row.id: Row(row.holder, row.unit, row.per, row.period) for row in rows}


def _locked(connection: Connection, rows: Iterable[Row]) -> dict[Row, tuple[int, int]]:
    """The rows, made where they are missing and locked until the end of the transaction, always in the same order."""
    wanted = sorted(rows)
    found = _read(connection, wanted)
    missing = [row for row in wanted if row not in found]
    if missing:
        _make(connection, missing)
        found |= _read(connection, missing)
    return found


def _read(connection: Connection, rows: Sequence[Row]) -> dict[Row, tuple[int, int]]:
    if not rows:
        return {}
    # PostgreSQL locks the rows; SQLite has no such words, and its one writer has begun already.
    order = spending.c.holder, spending.c.unit, spending.c.per, spending.c.period
    found = connection.execute(select(spending).where(_PLACE.in_(rows)).order_by(*order).with_for_update())
    return {Row(row.holder, row.unit, row.per, row.period): (row.spent, row.leased) for row in found}


def _make(connection: Connection, rows: Sequence[Row]) -> None:
    values = [{**row._asdict(), "spent": 0, "leased": 0} for row in rows]
    if connection.dialect.name == "postgresql":
        connection.execute(postgresql.insert(spending).on_conflict_do_nothing(), values)
    else:
        connection.execute(sqlite.insert(spending).on_conflict_do_nothing(), values)


def _leases(connection: Connection, own: Sequence[str], out: Mapping[str, Row], now: datetime) -> _Found:
    """Leases by their id, read again now that their rows are locked: nobody else changes them any more."""
    ids = list({*own, *out})
    if not ids:
        return _Found({}, {})
    rows = connection.execute(select(leases.c.id, leases.c.amount, leases.c.expires_at).where(leases.c.id.in_(ids)))
    live: dict[str, int] = {}
    expired: dict[str, int] = {}
    for row in rows:
        if row.id in out and row.expires_at < now and row.id not in own:
            expired[row.id] = row.amount
        else:
            live[row.id] = row.amount
    return _Found(live, expired)


def _write_rows(
    connection: Connection, before: Mapping[Row, tuple[int, int]], after: Mapping[Row, tuple[int, int]]
) -> None:
    changed = [
        {**_bound(row), "more_spent": new[0] - before[row][0], "more_leased": new[1] - before[row][1]}
        for row, new in after.items()
        if new != before[row]
    ]
    if changed:
        connection.execute(_ADD, changed)


def _drop_leases(connection: Connection, ids: Iterable[str]) -> None:
    gone = list(ids)
    if gone:
        connection.execute(delete(leases).where(leases.c.id.in_(gone)))


def _write_leases(
    connection: Connection,
    writer: str,
    held: Sequence[tuple[Claim, int]],
    there: Collection[str],
    until: datetime,
) -> None:
    kept = [{"b_id": claim.id, "b_amount": amount} for claim, amount in held if claim.id in there and amount > 0]
    if kept:
        connection.execute(_RENEW, [{**value, "b_until": until} for value in kept])
    _drop_leases(connection, [claim.id for claim, amount in held if claim.id in there and amount <= 0])
    new = [
        {**claim.row._asdict(), "id": claim.id, "amount": amount, "writer": writer, "expires_at": until}
        for claim, amount in held
        if claim.id not in there and amount > 0
    ]
    if new:
        connection.execute(insert(leases), new)


def _bound(row: Row) -> dict[str, Any]:
    return {"b_holder": row.holder, "b_unit": row.unit, "b_per": row.per, "b_period": row.period}
