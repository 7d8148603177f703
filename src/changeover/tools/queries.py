"""Every query on jobs: runs of tools that nobody waits at.

A job belongs to the gateway that has its lease. Whatever a gateway writes of it is written only while that is so, in one
statement, so that two of them never both bring a job to its end.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, Connection, and_, case, delete, exists, func, insert, literal, or_, select, update

from changeover.core.errors import CapacityError
from changeover.store.schema import tool_job_files, tool_job_parts, tool_jobs

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]
UNDER_WAY: tuple[JobState, ...] = ("waiting", "running")
MOST_LISTED = 100
MOST_DELETED = 200
"""At once."""
_SHOWN = [column for column in tool_jobs.c if column.name not in ("inputs", "outcome")]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it stands."""

    id: str
    tool: str
    tool_digest: str
    key: str
    team: str | None
    state: JobState
    progress: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    attempts: int
    owner: str | None
    lease_until: datetime | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime
    inputs: Mapping[str, Any] | None = None
    """Only of one that was claimed."""
    outcome: Mapping[str, Any] | None = None
    """None in a list."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How many jobs there are, over all gateways."""

    waiting: int
    running: int
    lapsed: int
    """Of those that run: their gateway has not been heard of."""


def add_job(
    connection: Connection,
    job: Job,
    inputs: Mapping[str, Any],
    files: Sequence[tuple[str, bytes]],
    most: int,
    most_bytes: int,
) -> None:
    """Write a job that waits, unless too many do. In a transaction of `write`.

    While less than half of all places, and of the room for files, are taken a key may have any number; then each gets its
    even share.

    Args:
        connection: The transaction.
        job: What waits.
        inputs: What it is given, without files.
        files: Name and content of each.
        most: Jobs that wait.
        most_bytes: Of files of jobs that wait or run. One job may have any number where there are no others.

    Raises:
        CapacityError: Too many wait, or too many of this key; or their files are too large together.
    """
    held = select(tool_jobs.c.key, func.count()).where(tool_jobs.c.state == "waiting").group_by(tool_jobs.c.key)
    by_key = {row[0]: int(row[1]) for row in connection.execute(held)}
    total, own = sum(by_key.values()), by_key.get(job.key, 0)
    if total >= most:
        raise CapacityError(f"{total} jobs are waiting already. Try again later.", retry_after_s=10)
    if 2 * total >= most and own >= _share(most, by_key, job.key):
        raise CapacityError(
            f"{own} jobs of this key are waiting already, its share while others wait too. Try again later.",
            retry_after_s=10,
        )
    if files:
        _check_room(connection, job.key, sum(len(data) for _, data in files), most_bytes)
    values = {column.name: getattr(job, column.name) for column in _SHOWN}
    connection.execute(insert(tool_jobs).values(**values, inputs=dict(inputs)))
    for place, (name, data) in enumerate(files):
        connection.execute(insert(tool_job_files).values(job=job.id, place=place, name=name, data=data))


def _share(most: int, held: Mapping[str, int], key: str) -> int:
    return max(most // len(held.keys() | {key}), 1)


def _check_room(connection: Connection, key: str, size: int, most: int) -> None:
    """See that files find room beside those that are held; only their lengths are looked at.

    Raises:
        CapacityError: They do not.
    """
    length = func.sum(func.length(tool_job_files.c.data))
    held = select(tool_jobs.c.key, length).join_from(tool_job_files, tool_jobs).group_by(tool_jobs.c.key)
    by_key = {row[0]: int(row[1]) for row in connection.execute(held)}
    total, own = sum(by_key.values()), by_key.get(key, 0)
    mine = 2 * total >= most and own and own + size > _share(most, by_key, key)
    if total and (total + size > most or mine):
        who = "of this key's jobs" if mine else "of jobs"
        taken = (own if mine else total) / (1 << 20)
        raise CapacityError(
            f"The files {who} under way take {taken:,.1f} MiB already. Try again later.", retry_after_s=10
        )


def find_job(connection: Connection, id: str, key: str | None) -> Job | None:
    """A job with its result; None where there is none of that id, or it is not the key's. Without a key: anybody's."""
    if "\0" in id:
        return None  # PostgreSQL would refuse to look for it
    query = select(*_SHOWN, tool_jobs.c.outcome).where(tool_jobs.c.id == id)
    row = connection.execute(query if key is None else query.where(tool_jobs.c.key == key)).first()
    return None if row is None else Job(**row._mapping)  # pyright: ignore[reportPrivateUsage]


def list_jobs(connection: Connection, key: str | None) -> list[Job]:
    """The newest jobs of a key, or of all; without results."""
    query = select(*_SHOWN).order_by(tool_jobs.c.created_at.desc(), tool_jobs.c.id.desc()).limit(MOST_LISTED)
    rows = connection.execute(query if key is None else query.where(tool_jobs.c.key == key))
    return [Job(**row._mapping) for row in rows]  # pyright: ignore[reportPrivateUsage]


def any_job(connection: Connection) -> bool:
    """Whether there is a job at all, ended ones included."""
    return connection.execute(select(tool_jobs.c.id).limit(1)).first() is not None


def standing(connection: Connection, now: datetime) -> Standing:
    """How many wait, and how many run."""
    lapsed = func.sum(case((tool_jobs.c.lease_until < now, 1), else_=0))
    query = select(tool_jobs.c.state, func.count(), lapsed).where(tool_jobs.c.state.in_(UNDER_WAY))
    rows = {row[0]: row for row in connection.execute(query.group_by(tool_jobs.c.state))}
    running = rows.get("running")
    return Standing(
        waiting=int(rows["waiting"][1]) if "waiting" in rows else 0,
        running=0 if running is None else int(running[1]),
        lapsed=0 if running is None else int(running[2] or 0),
    )


def claim(
    connection: Connection,
    owner: str,
    now: datetime,
    lease_until: datetime,
    tools: Collection[str],
    *,
    stale_before: datetime,
    at_work: Collection[str] = (),
) -> Job | None:
    """Take the next job, in one statement; None where there is none.

    Whose key has the fewest under way comes first, then who has waited longest.

    Args:
        connection: In a transaction of `write`.
        owner: Who takes it.
        now: Jobs whose lease is over at this moment are taken over.
        lease_until: End of the new lease.
        tools: Tools that are known to whoever takes it.
        stale_before: A job from before this is taken whether its tool is known or not: nobody else knows it either.
        at_work: Jobs that whoever takes one still works on, though their leases may be over.
    """
    held = (
        select(tool_jobs.c.key, func.count().label("held"))
        .where(tool_jobs.c.state == "running", tool_jobs.c.lease_until >= now)
        .group_by(tool_jobs.c.key)
        .subquery()
    )
    other = tool_jobs.alias()
    free = or_(other.c.state == "waiting", and_(other.c.state == "running", other.c.lease_until < now))
    following = (
        select(other.c.id)
        .outerjoin(held, held.c.key == other.c.key)
        .where(free, or_(other.c.tool.in_(tools), other.c.created_at < stale_before), other.c.id.not_in(at_work))
        .order_by(func.coalesce(held.c.held, 0), other.c.created_at, other.c.id)
        .limit(1)
        .scalar_subquery()
    )
    still = or_(tool_jobs.c.state == "waiting", and_(tool_jobs.c.state == "running", tool_jobs.c.lease_until < now))
    row = connection.execute(
        update(tool_jobs)
        .where(tool_jobs.c.id == following, still)
        .values(
            state="running",
            owner=owner,
            lease_until=lease_until,
            attempts=tool_jobs.c.attempts + 1,
            started_at=func.coalesce(tool_jobs.c.started_at, literal(now, tool_jobs.c.started_at.type)),
        )
        .returning(tool_jobs)
    ).first()
    return None if row is None else Job(**row._mapping)  # pyright: ignore[reportPrivateUsage]


def begin_as(connection: Connection, id: str, owner: str, digest: str) -> bool:
    """Say by which tool a job is run; what steps of another one gave is forgotten. False: it is not the owner's."""
    ours = update(tool_jobs).where(*_owned(id, owner), tool_jobs.c.tool_digest != digest).values(tool_digest=digest)
    if connection.execute(ours).rowcount:
        connection.execute(delete(tool_job_parts).where(tool_job_parts.c.job == id))
    return is_owned(connection, id, owner)


def files_of(connection: Connection, id: str) -> list[tuple[str, bytes]]:
    """Name and content of a job's files, in their order."""
    query = select(tool_job_files.c.name, tool_job_files.c.data).where(tool_job_files.c.job == id)
    return [(row[0], bytes(row[1])) for row in connection.execute(query.order_by(tool_job_files.c.place))]


def parts_of(connection: Connection, id: str) -> dict[str, Any]:
    """What steps of a job have given, by place."""
    query = select(tool_job_parts.c.place, tool_job_parts.c.value).where(tool_job_parts.c.job == id)
    return {row[0]: row[1] for row in connection.execute(query)}


def keep_part(connection: Connection, id: str, owner: str, place: str, value: Any) -> None:
    """Keep what a step gave, while the job is the owner's."""
    here = and_(tool_job_parts.c.job == id, tool_job_parts.c.place == place)
    connection.execute(
        insert(tool_job_parts).from_select(
            ["job", "place", "value"],
            select(literal(id), literal(place), literal(value, JSON)).where(
                exists().where(*_owned(id, owner)), ~exists().where(here)
            ),
        )
    )


def is_owned(connection: Connection, id: str, owner: str) -> bool:
    """Whether a job runs, and is the owner's."""
    return connection.execute(select(tool_jobs.c.id).where(*_owned(id, owner))).first() is not None


def heartbeat(
    connection: Connection, id: str, owner: str, lease_until: datetime, progress: Mapping[str, Any] | None
) -> bool:
    """Renew a lease, and say how far the job is. False: it is not the owner's any more."""
    values: dict[str, Any] = {"lease_until": lease_until}
    if progress is not None:
        values["progress"] = dict(progress)
    return connection.execute(update(tool_jobs).where(*_owned(id, owner)).values(**values)).rowcount > 0


def end_job(
    connection: Connection,
    id: str,
    owner: str,
    state: JobState,
    now: datetime,
    expires_at: datetime,
    *,
    outcome: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
    progress: Mapping[str, Any] | None = None,
) -> bool:
    """Bring a job to its end: its inputs, files and parts go. False: it was not the owner's, and nothing is changed."""
    result = {"outcome": outcome, "error": error, "progress": progress}
    return _end(connection, _owned(id, owner), id, state, now, expires_at, result)


def cancel_job(connection: Connection, id: str, now: datetime, expires_at: datetime) -> bool:
    """End a job that waits or runs, whoever has it. False: it had ended."""
    under_way = (tool_jobs.c.id == id, tool_jobs.c.state.in_(UNDER_WAY))
    return _end(connection, under_way, id, "cancelled", now, expires_at, {})


def delete_ended(connection: Connection, id: str) -> bool:
    """Delete a job that has ended, result and all. False: there is none."""
    ended = delete(tool_jobs).where(tool_jobs.c.id == id, tool_jobs.c.state.not_in(UNDER_WAY))
    return connection.execute(ended).rowcount > 0


def release(connection: Connection, id: str, owner: str) -> None:
    """Let another go on with a job at once; this was no failed attempt."""
    values = {"state": "waiting", "owner": None, "lease_until": None, "attempts": tool_jobs.c.attempts - 1}
    connection.execute(update(tool_jobs).where(*_owned(id, owner)).values(**values))


def fail_given_up(
    connection: Connection,
    now: datetime,
    most_attempts: int,
    expires_at: datetime,
    error: Mapping[str, Any],
    *,
    at_work: Collection[str] = (),
) -> int:
    """End jobs whose gateways ended every time, but not those that are worked on here; says how many."""
    lapsed = and_(tool_jobs.c.state == "running", tool_jobs.c.lease_until < now, tool_jobs.c.id.not_in(at_work))
    return _fail(connection, and_(lapsed, tool_jobs.c.attempts >= most_attempts), now, expires_at, error)


def fail_overdue(connection: Connection, now: datetime, expires_at: datetime, error: Mapping[str, Any]) -> int:
    """End jobs that have waited until they expired; says how many."""
    overdue = and_(tool_jobs.c.state == "waiting", tool_jobs.c.expires_at < now)
    return _fail(connection, overdue, now, expires_at, error)


def delete_expired(connection: Connection, now: datetime) -> int:
    """Delete ended jobs whose time is over, a few at a time; says how many."""
    old = select(tool_jobs.c.id).where(tool_jobs.c.expires_at < now, tool_jobs.c.state.not_in(UNDER_WAY))
    return connection.execute(delete(tool_jobs).where(tool_jobs.c.id.in_(old.limit(MOST_DELETED)))).rowcount


def _owned(id: str, owner: str) -> tuple[Any, ...]:
    return tool_jobs.c.id == id, tool_jobs.c.owner == owner, tool_jobs.c.state == "running"


def _fail(connection: Connection, which: Any, now: datetime, expires_at: datetime, error: Mapping[str, Any]) -> int:
    ids = list(connection.execute(select(tool_jobs.c.id).where(which).limit(MOST_DELETED)).scalars())
    result = {"error": error}
    return sum(_end(connection, (tool_jobs.c.id == id, which), id, "failed", now, expires_at, result) for id in ids)


def _end(
    connection: Connection,
    which: Sequence[Any],
    id: str,
    state: JobState,
    now: datetime,
    expires_at: datetime,
    result: Mapping[str, Mapping[str, Any] | None],
) -> bool:
    held = {name: dict(value) for name, value in result.items() if value is not None}
    ended = update(tool_jobs).where(*which)
    over: dict[str, Any] = {
        "state": state,
        "ended_at": now,
        "expires_at": expires_at,
        "owner": None,
        "lease_until": None,
        "inputs": {},
    }
    if not connection.execute(ended.values(**over, **held)).rowcount:
        return False
    connection.execute(delete(tool_job_files).where(tool_job_files.c.job == id))
    connection.execute(delete(tool_job_parts).where(tool_job_parts.c.job == id))
    return True
