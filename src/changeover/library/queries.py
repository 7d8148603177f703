"""Every query on observations and on the syncs that brought them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, bindparam, func, insert, or_, select, update

from changeover.library.facts import GRADES
from changeover.library.observations import SIGNALS, Observation
from changeover.library.sources.snapshot import shipped_signals
from changeover.store.schema import library_syncs, observations

_FIELDS: Final = tuple(field.name for field in fields(Observation))


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An observation with its number."""

    id: int
    observation: Observation


@dataclass(frozen=True, kw_only=True)
class Sync:
    """One time that a source was read."""

    source: str
    input_digest: str
    actor: str
    summary: Mapping[str, Any]
    """Counts: read, new, confirmed, changed, conflicts."""
    at: datetime


def observations_of(connection: Connection, card: str) -> list[Observation]:
    """What each source said last of a card, by fact. `card` may be the name of a model that has none."""
    rows = connection.execute(_in_order().where(observations.c.card == card))
    newest = {(row.fact, row.source): _observation(row) for row in rows}
    return [newest[key] for key in sorted(newest)]


def observation_history(connection: Connection, card: str, fact: str) -> list[Observation]:
    """Everything that sources ever said of one fact, oldest first: prices, say."""
    rows = connection.execute(_in_order().where(observations.c.card == card, observations.c.fact == fact))
    return [_observation(row) for row in rows]


def newest_signals(connection: Connection) -> dict[str, dict[str, Observation]]:
    """The newest value of each signal, by card and signal; those that come with the package are among them.

    `as_of`, or where it is None `seen_at`, says how old it is: after 90 days it counts half.
    """
    # A signal has a row for each day: all of them would be hundreds of thousands after a year. Few rows have no day.
    each, of_signals = observations.c, observations.c.fact.in_(SIGNALS)
    days = select(each.card, each.fact, func.max(each.as_of).label("day")).where(of_signals)
    newest = days.group_by(each.card, each.fact).subquery()
    joined = _in_order().join(newest, and_(each.card == newest.c.card, each.fact == newest.c.fact))
    rows = connection.execute(joined.where(of_signals, or_(each.as_of.is_(None), each.as_of == newest.c.day)))
    found: dict[str, dict[str, Observation]] = {}
    for one in (*shipped_signals(), *map(_observation, rows)):
        known = found.setdefault(one.card, {})
        if one.fact not in known or _freshness(one) >= _freshness(known[one.fact]):
            known[one.fact] = one
    return found


def said_last(connection: Connection, source: str) -> dict[tuple[str, str], Stored]:
    """What a source said last, by card and fact."""
    of_source = observations.c.source == source
    last = select(func.max(observations.c.id)).where(of_source).group_by(observations.c.card, observations.c.fact)
    rows = connection.execute(_in_order().where(of_source, observations.c.id.in_(last)))
    return {(row.card, row.fact): Stored(id=row.id, observation=_observation(row)) for row in rows}


def observed_names(connection: Connection) -> list[str]:
    """Everything that somebody said something of: ids of cards, and names of models without one."""
    rows = connection.execute(select(observations.c.card).distinct().order_by(observations.c.card))
    return [row.card for row in rows]


def add_observations(connection: Connection, new: Sequence[Observation]) -> None:
    """Write what a source says now and did not say before."""
    if new:
        connection.execute(insert(observations), [_values(each) for each in new])


def confirm(connection: Connection, ids: Iterable[int], at: datetime) -> None:
    """Write down that a source still says what it said."""
    again = [{"row": id, "at": at} for id in ids]
    if again:
        by_id = update(observations).where(observations.c.id == bindparam("row"))
        connection.execute(by_id.values(confirmed_at=bindparam("at")), again)


def add_sync(connection: Connection, sync: Sync) -> None:
    """Write down that a source was read."""
    connection.execute(insert(library_syncs).values(**asdict(sync)))


def last_syncs(connection: Connection) -> dict[str, Sync]:
    """The last time that each source was read."""
    rows = connection.execute(select(library_syncs).order_by(library_syncs.c.id))
    names = [field.name for field in fields(Sync)]
    return {row.source: Sync(**{name: getattr(row, name) for name in names}) for row in rows}


def _in_order() -> Select[Any]:
    return select(observations).order_by(observations.c.id)


def _observation(row: Row[Any]) -> Observation:
    values = {name: getattr(row, name) for name in _FIELDS}
    values["as_of"] = None if row.as_of is None else date.fromisoformat(row.as_of)
    return Observation(**values)


def _values(observation: Observation) -> dict[str, Any]:
    # Not `asdict`, which copies every value: a list of models has ten thousand of them.
    values = {name: getattr(observation, name) for name in _FIELDS}
    as_of = None if observation.as_of is None else observation.as_of.isoformat()
    return {**values, "as_of": as_of, "confirmed_at": observation.seen_at}


def _freshness(observation: Observation) -> tuple[date, int]:
    """Later is greater; of one day the better grade."""
    return observation.as_of or observation.seen_at.date(), -GRADES.index(observation.grade)
