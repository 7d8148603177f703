"""Jobs as rows, on both kinds of store: who may take one, and what becomes of it whoever ends."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import delete, func, select
from tests.support import stores

from changeover.core.errors import CapacityError
from changeover.core.ids import new_id
from changeover.store.engine import Store
from changeover.store.schema import tool_job_files, tool_job_parts, tool_jobs
from changeover.tools import queries
from changeover.tools.queries import Job

NOW = datetime(2026, 12, 1, tzinfo=UTC)
LEASE = timedelta(seconds=10)
DAY = NOW + timedelta(days=1)
one_after_another = count()
"""Jobs are taken in the order in which they came; two of one moment would have none."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of each kind; made once, because that takes longer than all that is tried with it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('jobs') / 'test.db'}"
    else:
        url = request.getfixturevalue("postgres_server").fresh()
    store = stores.made(url)
    yield store
    store.close()


@pytest.fixture
def store(migrated: Store) -> Store:
    with migrated.append() as connection:
        connection.execute(delete(tool_jobs))
    return migrated


FILE = ("a.md", b"secret file")


def add(
    store: Store,
    *,
    key: str = "key_1",
    tool: str = "say",
    at: datetime | None = None,
    most: int = 100,
    most_bytes: int = 1 << 20,
) -> str:
    job = Job(
        id=new_id("job"),
        tool=tool,
        tool_digest="d1",
        key=key,
        team=None,
        state="waiting",
        progress=None,
        error=None,
        attempts=0,
        owner=None,
        lease_until=None,
        created_at=at or NOW + timedelta(microseconds=next(one_after_another)),
        started_at=None,
        ended_at=None,
        expires_at=DAY,
    )
    with store.write() as connection:
        queries.add_job(connection, job, {"values": {"text": "secret words"}}, [FILE], most, most_bytes)
    return job.id


def take(store: Store, owner: str, now: datetime = NOW, tools: tuple[str, ...] = ("say",)) -> Job | None:
    with store.write() as connection:
        return queries.claim(connection, owner, now, now + LEASE, tools, stale_before=NOW - timedelta(minutes=1))


def taken(store: Store, owner: str, now: datetime = NOW) -> str:
    job = take(store, owner, now)
    assert job is not None
    return job.id


def end(store: Store, id: str, owner: str, **more: Any) -> bool:
    with store.append() as connection:
        return queries.end_job(connection, id, owner, "done", NOW, DAY, outcome={"text": "said"}, **more)


def look(store: Store, id: str) -> Job | None:
    with store.read() as connection:
        return queries.find_job(connection, id, None)


def rows(store: Store, table: Any) -> int:
    with store.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_many_gateways_take_each_job_once(store: Store) -> None:
    ids = {add(store) for _ in range(12)}
    with ThreadPoolExecutor(6) as gateways:
        got = list(gateways.map(lambda number: take(store, f"own_{number}"), range(18)))
    found = [job.id for job in got if job is not None]
    assert len(found) == 12
    assert set(found) == ids
    assert take(store, "own_late") is None


def test_who_has_waited_longest_comes_first_and_a_key_with_nothing_under_way_before_that(store: Store) -> None:
    first, second = (add(store, key="key_1", at=NOW + timedelta(seconds=n)) for n in range(2))
    other = add(store, key="key_2", at=NOW + timedelta(seconds=9))
    assert [taken(store, "own") for _ in range(3)] == [first, other, second]


def test_a_job_whose_gateway_is_not_heard_of_goes_to_another_with_what_was_asked_already(store: Store) -> None:
    id = add(store)
    assert taken(store, "own_dead") == id
    with store.append() as connection:
        queries.keep_part(connection, id, "own_dead", "said/0", {"text": "one"})
        queries.keep_part(connection, id, "own_dead", "said/1", ["two"])
    assert take(store, "own_new", NOW + LEASE / 2) is None
    job = take(store, "own_new", NOW + LEASE + timedelta(seconds=1))
    assert job is not None
    assert (job.id, job.attempts, job.inputs) == (id, 2, {"values": {"text": "secret words"}})
    with store.read() as connection:
        assert queries.parts_of(connection, id) == {"said/0": {"text": "one"}, "said/1": ["two"]}
        assert queries.files_of(connection, id) == [("a.md", b"secret file")]


def test_who_was_taken_for_dead_changes_nothing_any_more(store: Store) -> None:
    id, late = add(store), NOW + LEASE + timedelta(seconds=1)
    taken(store, "own_old")
    taken(store, "own_new", late)
    with store.append() as connection:
        assert not queries.heartbeat(connection, id, "own_old", late + LEASE, {"step": "x"})
        assert not queries.is_owned(connection, id, "own_old")
        queries.keep_part(connection, id, "own_old", "said/0", "stale")
        queries.release(connection, id, "own_old")
    assert not end(store, id, "own_old")
    job = look(store, id)
    assert job is not None
    assert (job.state, job.owner, job.progress, job.attempts) == ("running", "own_new", None, 2)
    assert rows(store, tool_job_parts) == 0
    assert end(store, id, "own_new")


def test_a_part_that_is_kept_twice_stays_as_it_was_first(store: Store) -> None:
    id = add(store)
    taken(store, "own")
    with store.append() as connection:
        for value in ("first", "second"):
            queries.keep_part(connection, id, "own", "said/0", value)
        assert queries.parts_of(connection, id) == {"said/0": "first"}


def test_the_end_of_a_job_takes_its_inputs_files_and_parts_and_keeps_the_result(store: Store) -> None:
    id = add(store)
    taken(store, "own")
    with store.append() as connection:
        queries.keep_part(connection, id, "own", "said/0", "one")
    assert end(store, id, "own")
    assert (rows(store, tool_job_files), rows(store, tool_job_parts)) == (0, 0)
    with store.read() as connection:
        assert connection.execute(select(tool_jobs.c.inputs)).scalar_one() == {}
    job = look(store, id)
    assert job is not None
    assert (job.state, job.outcome, job.owner, job.ended_at) == ("done", {"text": "said"}, None, NOW)


def test_a_job_that_was_cancelled_is_nobodys(store: Store) -> None:
    waiting, running = add(store), add(store)
    assert taken(store, "own") == waiting  # the older one
    with store.append() as connection:
        assert queries.cancel_job(connection, waiting, NOW, DAY)
        assert queries.cancel_job(connection, running, NOW, DAY)
        assert not queries.cancel_job(connection, running, NOW, DAY)
        assert not queries.heartbeat(connection, waiting, "own", DAY, None)
    assert not end(store, waiting, "own")
    assert rows(store, tool_job_files) == 0
    assert take(store, "own") is None


def test_a_job_that_is_released_begins_again_as_if_nobody_had_had_it(store: Store) -> None:
    id = add(store)
    taken(store, "own_1")
    with store.append() as connection:
        queries.release(connection, id, "own_1")
    job = take(store, "own_2")
    assert job is not None
    assert job.attempts == 1


def test_after_so_many_gateways_that_ended_a_job_fails_and_says_so(store: Store) -> None:
    id, now = add(store), NOW
    for number in range(3):
        assert taken(store, f"own_{number}", now) == id
        now += LEASE + timedelta(seconds=1)
    with store.write() as connection:
        assert queries.fail_given_up(connection, now, 4, DAY, {"message": "no"}) == 0
        assert queries.fail_given_up(connection, now, 3, DAY, {"message": "begun 3 times"}) == 1
    job = look(store, id)
    assert job is not None
    assert (job.state, job.error) == ("failed", {"message": "begun 3 times"})
    assert rows(store, tool_job_files) == 0


def test_what_has_ended_is_deleted_when_its_time_is_over_and_what_waited_too_long_fails(store: Store) -> None:
    ended, waits = add(store), add(store)
    assert taken(store, "own") == ended
    end(store, ended, "own")
    with store.append() as connection:
        assert queries.delete_expired(connection, DAY) == 0
        later = DAY + timedelta(seconds=1)
        assert queries.delete_expired(connection, later) == 1
        assert queries.fail_overdue(connection, later, later + LEASE, {"message": "late"}) == 1
    assert look(store, ended) is None
    job = look(store, waits)
    assert job is not None
    assert job.state == "failed"


def test_a_job_of_an_unknown_tool_is_left_to_others_for_a_minute(store: Store) -> None:
    fresh = add(store, tool="new")
    assert take(store, "own") is None
    old = add(store, tool="gone", at=NOW - timedelta(minutes=2))
    assert taken(store, "own") == old
    job = take(store, "own", tools=("new",))
    assert job is not None
    assert job.id == fresh


def test_what_another_version_of_the_tool_gave_is_forgotten(store: Store) -> None:
    id = add(store)
    taken(store, "own")
    with store.append() as connection:
        queries.keep_part(connection, id, "own", "said/0", "one")
        assert queries.begin_as(connection, id, "own", "d1")
        assert queries.parts_of(connection, id) == {"said/0": "one"}
        assert queries.begin_as(connection, id, "own", "d2")
        assert queries.parts_of(connection, id) == {}
        assert not queries.begin_as(connection, id, "another", "d2")


def test_so_many_wait_and_while_many_do_each_key_has_its_share(store: Store) -> None:
    for _ in range(3):
        add(store, key="flood", most=4)
    add(store, key="other", most=4)
    with pytest.raises(CapacityError, match="4 jobs are waiting already"):
        add(store, key="third", most=4)
    taken(store, "own")  # one of the flood
    with pytest.raises(CapacityError, match="2 jobs of this key"):
        add(store, key="flood", most=4)
    add(store, key="other", most=4)


def test_files_find_room_or_are_refused_and_while_there_is_little_each_key_has_its_share(store: Store) -> None:
    room = 6 * len(FILE[1])
    add(store, key="large", most_bytes=1)  # it is alone
    for _ in range(3):
        add(store, key="flood", most_bytes=room)
    with pytest.raises(CapacityError, match="The files of this key's jobs under way take"):
        add(store, key="flood", most_bytes=room)
    add(store, key="other", most_bytes=room)
    add(store, key="other", most_bytes=room)
    with pytest.raises(CapacityError, match="The files of jobs under way take"):
        add(store, key="third", most_bytes=room)
    while (job := take(store, "own")) is not None:
        assert end(store, job.id, "own")
    add(store, key="flood", most_bytes=room)


def test_how_many_wait_and_run_and_are_not_heard_of(store: Store) -> None:
    for _ in range(3):
        add(store)
    taken(store, "own_1")
    taken(store, "own_2", NOW + LEASE)
    with store.read() as connection:
        seen = queries.standing(connection, NOW + LEASE + timedelta(seconds=1))
        assert (seen.waiting, seen.running, seen.lapsed) == (1, 2, 1)
        assert [job.outcome for job in queries.list_jobs(connection, "key_1")] == [None] * 3
        assert queries.list_jobs(connection, "key_2") == []


def test_zero_bytes_find_nothing_and_are_kept_where_they_are_given(store: Store) -> None:
    assert look(store, "job_\0") is None
    id = add(store)
    taken(store, "own")
    with store.append() as connection:
        queries.keep_part(connection, id, "own", "said/0", {"text": "a\0b"})
        assert queries.parts_of(connection, id) == {"said/0": {"text": "a\0b"}}
    assert end(store, id, "own", error={"message": "a\0b"})
