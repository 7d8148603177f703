"""The counters of one process: every request once, in the hour in which it began."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from tests.support import stores
from tests.support.exchanges import exchange

from changeover.core.errors import StoreError
from changeover.gateway.usage import Usage
from changeover.gateway.usage_queries import total_of, usage_lines
from changeover.store.engine import Store

NOW = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)
EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))

ONE = exchange(
    task="summarise",
    deployment="small",
    key="key_1",
    started_at=NOW,
    prompt_tokens=100,
    completion_tokens=20,
    team="desk",
    cost_microusd=7,
)


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return stores.made(f"sqlite:///{tmp_path / 'usage.db'}")


def flush(usage: Usage, store: Store) -> int:
    with store.append() as connection:
        rows = usage.write(connection)
    usage.written(rows)
    return len(rows)


def requests(store: Store) -> int:
    with store.read() as connection:
        return total_of(usage_lines(connection, ("team", "hour"), *EVER, internal=False)).requests


def test_a_request_is_counted_with_all_that_it_used(store: Store) -> None:
    usage = Usage("gw_1", Hand())
    usage.count(ONE)
    usage.count(replace(ONE, status=502, prompt_tokens=None, completion_tokens=None, cost_microusd=None))
    usage.count(replace(ONE, truncated=True, usage_estimated=True, cost_microusd=None))
    flush(usage, store)
    with store.read() as connection:
        [line] = usage_lines(connection, ("team", "task", "deployment", "key", "day", "hour"), *EVER, internal=False)
    assert line.of == ("desk", "summarise", "small", "key_1", "2026-11-25", "2026-11-25 12:00")
    assert (line.requests, line.failed, line.estimated) == (3, 2, 1)
    assert (line.prompt_tokens, line.completion_tokens) == (200, 40)
    assert (line.cost_microusd, line.unpriced) == (7, 1)


def test_only_what_has_changed_is_written_and_a_write_tried_twice_counts_once(store: Store) -> None:
    usage = Usage("gw_1", Hand())
    usage.count(ONE)
    usage.count(replace(ONE, team=None))
    with store.append() as connection:
        rows = usage.write(connection)  # committed, and nobody heard of it
    assert len(rows) == usage.waiting == 2
    assert flush(usage, store) == 2
    assert requests(store) == 2
    assert (flush(usage, store), usage.waiting) == (0, 0)
    usage.count(ONE)
    assert flush(usage, store) == 1
    assert requests(store) == 3


def test_a_write_that_failed_is_made_up_for(store: Store) -> None:
    usage = Usage("gw_1", Hand())
    usage.count(ONE)
    with pytest.raises(StoreError):
        _fail_after_writing(usage, store)
    usage.count(ONE)
    flush(usage, store)
    assert requests(store) == 2


def _fail_after_writing(usage: Usage, store: Store) -> None:
    with store.append() as connection:
        usage.write(connection)
        connection.execute(text("INSERT INTO nowhere VALUES (1)"))


def test_what_is_counted_while_a_write_is_under_way_goes_out_with_the_next(store: Store) -> None:
    usage = Usage("gw_1", Hand())
    usage.count(ONE)
    with store.append() as connection:
        rows = usage.write(connection)
        usage.count(ONE)
        usage.count(replace(ONE, task="other"))
    usage.written(rows)
    assert usage.waiting == 2
    flush(usage, store)
    assert requests(store) == 3


def test_processes_add_up_and_internal_traffic_stands_apart(store: Store) -> None:
    for writer in ("gw_1", "gw_2"):
        usage = Usage(writer, Hand())
        usage.count(ONE)
        usage.count(replace(ONE, internal=True))
        flush(usage, store)
    assert requests(store) == 2
    with store.read() as connection:
        assert total_of(usage_lines(connection, ("task",), *EVER, internal=True)).requests == 2


def test_hours_that_are_over_leave_memory_and_late_requests_are_still_counted_once(store: Store) -> None:
    clock = Hand()
    usage = Usage("gw_1", clock)
    usage.count(ONE)
    flush(usage, store)
    for hours in range(1, 8):
        clock.at = NOW + timedelta(hours=hours)
        usage.count(replace(ONE, started_at=clock.at))
        flush(usage, store)
    assert len(usage._totals) <= 4
    usage.count(ONE)  # a stream that began seven hours ago
    usage.count(replace(ONE, started_at=clock.at - timedelta(hours=1)))
    clock.at += timedelta(days=2)
    usage.count(replace(ONE, started_at=clock.at))
    usage.count(ONE)
    flush(usage, store)
    assert requests(store) == 12


def test_hours_that_were_not_written_stay_in_memory(store: Store) -> None:
    clock = Hand()
    usage = Usage("gw_1", clock)
    for hours in range(10):
        clock.at = NOW + timedelta(hours=hours)
        usage.count(replace(ONE, started_at=clock.at))
    flush(usage, store)
    assert requests(store) == 10


def test_what_could_not_be_written_at_the_end_is_written_by_the_next_start(store: Store, tmp_path: Path) -> None:
    usage = Usage("gw_1", Hand(), spool=tmp_path)
    usage.count(replace(ONE, task="x'; DROP TABLE usage; --"))
    flush(usage, store)
    usage.count(replace(ONE, task="x'; DROP TABLE usage; --"))
    usage.count(ONE)
    usage.keep()
    [kept] = tmp_path.glob("usage-*")
    assert kept.stat().st_mode & 0o077 == 0
    after = Usage("gw_2", Hand(), spool=tmp_path)
    other = Usage("gw_3", Hand(), spool=tmp_path)
    after.restore()
    other.restore()  # which another process is reading
    assert (after.waiting, other.waiting) == (2, 0)
    after.count(ONE)
    flush(after, store)
    assert requests(store) == 4
    assert list(tmp_path.glob("usage-*")) == []


def test_a_next_start_that_cannot_write_either_leaves_it_to_the_one_after(store: Store, tmp_path: Path) -> None:
    usage = Usage("gw_1", Hand(), spool=tmp_path)
    usage.count(ONE)
    usage.keep()
    second = Usage("gw_2", Hand(), spool=tmp_path)
    second.restore()
    second.count(ONE)
    second.keep()
    third = Usage("gw_3", Hand(), spool=tmp_path)
    third.restore()
    flush(third, store)
    assert requests(store) == 2


def test_a_damaged_file_stops_nobody(tmp_path: Path, store: Store) -> None:
    (tmp_path / "usage-gw_0.jsonl").write_text('["gw_0", 5')
    usage = Usage("gw_1", Hand(), spool=tmp_path)
    usage.restore()
    usage.count(ONE)
    assert flush(usage, store) == 1
    assert (tmp_path / "usage-gw_0.jsonl").exists()
