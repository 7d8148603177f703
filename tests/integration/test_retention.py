"""Exchanges whose time is over are deleted, on both databases, and nothing else is."""

import asyncio
import logging
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import func, insert, select
from tests.support import stores
from tests.support.exchanges import exchange

from changeover.app import retention as retention_module
from changeover.app.retention import Retention
from changeover.core.settings import RecordSettings
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.store.schema import exchanges, feedback, usage
from changeover.tasks.declarations import ScorerDeclaration, Task, TaskDeclaration
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import add_exchanges
from changeover.tasks.retention import LARGEST_BATCH, delete_exchanges_before, recorded_tasks

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Held:
    """A clock that stands still for rows and costs nothing."""

    def __init__(self, step_s: float = 0.0) -> None:
        self._monotonic = 0.0
        self._step_s = step_s

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        self._monotonic += self._step_s
        return self._monotonic


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = stores.made(store_url)
    yield store
    store.close()


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "PAUSE_S", 0.0)


def recorded(task: str, days: float, content: str | None = None) -> Exchange:
    """One that began so many days ago."""
    return exchange(
        task=task,
        started_at=NOW - timedelta(days=days),
        request=content,
        response=content,
        content="none" if content is None else "full",
    )


def declared(**retention_days: float | None) -> Mapping[str, Task]:
    def task(name: str, days: float | None) -> Task:
        declaration = TaskDeclaration(
            description="",
            prompt="p",
            dataset="d",
            first_incumbent="echo",
            retention_days=days,
            scorer=ScorerDeclaration(name="exact"),
        )
        return Task(name=name, file=Path("t"), declared=declaration, prompt="", prompt_name="p", dataset=Path("d"))

    return {name: task(name, days) for name, days in retention_days.items()}


def retention(store: Store, tasks: Mapping[str, Task], days: float = 30, clock: Held | None = None) -> Retention:
    return Retention(store, clock or Held(), RecordSettings(retention_days=days), lambda: tasks)


def left(store: Store) -> dict[str, int]:
    with store.read() as connection:
        query = select(exchanges.c.task, func.count()).group_by(exchanges.c.task)
        return {task: count for task, count in connection.execute(query)}


def write(store: Store, *batch: Exchange) -> None:
    with store.write() as connection:
        add_exchanges(connection, batch)


async def test_each_task_keeps_its_exchanges_as_long_as_it_says(store: Store) -> None:
    ages = (0, 0.4, 6.9, 7.1, 29.9, 30.1, 89, 400)
    write(store, *(recorded(task, days) for task in ("short", "default", "long", "gone") for days in ages))
    loop = retention(store, declared(short=0.5, default=None, long=90))
    assert await loop.sweep() == 6 + 3 + 1 + 3
    # A task that is declared no more falls under the installation's own limit.
    assert left(store) == {"short": 2, "default": 5, "long": 7, "gone": 5}
    assert await loop.sweep() == 0
    assert loop.deleted == 13


async def test_what_is_exactly_as_old_as_allowed_stays(store: Store) -> None:
    write(store, recorded("t", 30), replace(recorded("t", 30), started_at=NOW - timedelta(days=30, milliseconds=1)))
    assert await retention(store, {}).sweep() == 1
    assert left(store) == {"t": 1}


async def test_many_are_deleted_in_small_transactions_and_others_write_meanwhile(store: Store) -> None:
    old = [recorded("t", 40 + number / 1000) for number in range(2 * LARGEST_BATCH + 7)]
    write(store, *old)
    loop = retention(store, {})
    sweeping = asyncio.create_task(loop.sweep())
    written = 0
    while not sweeping.done():
        await asyncio.to_thread(write, store, recorded("t", 1))
        written += 1
    assert await sweeping == len(old)
    assert written > 0
    assert left(store) == {"t": written}


async def test_slow_transactions_get_smaller(store: Store) -> None:
    write(store, *(recorded("t", 40) for _ in range(1000)))
    asked: list[int] = []

    class Watched(Retention):
        def _delete(self, task: str, days: float, most: int) -> int:
            asked.append(most)
            return super()._delete(task, days, most)

    slow = Watched(store, Held(step_s=1.0), RecordSettings(), dict)
    assert await slow.sweep() == 1000
    assert asked[:3] == [500, 250, 125]


def test_no_transaction_takes_more_than_its_bound(store: Store) -> None:
    write(store, *(recorded("t", 40) for _ in range(LARGEST_BATCH + 5)))
    with store.append() as connection:
        assert delete_exchanges_before(connection, "t", NOW, 10_000) == LARGEST_BATCH
    assert left(store) == {"t": 5}


def test_the_oldest_go_first(store: Store) -> None:
    batch = [recorded("t", days) for days in (31, 33, 32)]
    write(store, *batch)
    with store.append() as connection:
        assert delete_exchanges_before(connection, "t", NOW, 2) == 2
    with store.read() as connection:
        assert connection.execute(select(exchanges.c.id)).scalars().all() == [batch[0].id]


def test_tasks_are_those_that_have_exchanges(store: Store) -> None:
    write(store, *(recorded(task, 1) for task in ("b", "a", "a", "c.d", "a")))
    with store.read() as connection:
        assert recorded_tasks(connection) == ["a", "b", "c.d"]


async def test_usage_counters_stay(store: Store) -> None:
    write(store, recorded("t", 400))
    row = {
        **dict.fromkeys(("requests", "failed", "prompt_tokens", "completion_tokens", "estimated", "cost_microusd"), 1),
        **{"writer": "w", "hour": NOW - timedelta(days=400), "team": "", "key": "k", "task": "t", "deployment": "d"},
        **{"internal": False, "unpriced": 0},
    }
    with store.write() as connection:
        connection.execute(insert(usage).values(**row))
    assert await retention(store, {}).sweep() == 1
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(usage)).scalar_one() == 1


async def test_what_is_deleted_is_counted_and_said(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    write(store, recorded("t", 40), recorded("t", 41), recorded("u", 1))
    with caplog.at_level(logging.INFO, "changeover.app.retention"):
        await retention(store, {}).sweep()
    assert caplog.messages == ["retention: deleted 2 exchanges of t older than 30 days"]


async def test_the_loop_outlives_a_store_that_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "EVERY_S", 0.01)
    database = tmp_path / "c.db"
    store = Store.connect(f"sqlite:///{database}")
    database.mkdir()
    running = asyncio.create_task(retention(store, {}).run())
    try:
        async with asyncio.timeout(20):
            while not caplog.messages:
                await asyncio.sleep(0.01)
        store.close()
        database.rmdir()
        migrate(store)
        write(store, recorded("t", 40))
        async with asyncio.timeout(20):
            while await asyncio.to_thread(left, store):
                await asyncio.sleep(0.02)
        assert not running.done()
        assert len([message for message in caplog.messages if "stay for now" in message]) == 1
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        store.close()


async def test_nothing_of_a_deleted_text_is_left_in_the_file(tmp_path: Path) -> None:
    """Free pages of SQLite keep what was in them, unless it is overwritten."""
    store = stores.made(f"sqlite:///{tmp_path / 'c.db'}")
    write(store, recorded("t", 40, "a private matter " * 1000), recorded("t", 1, "of today " * 1000))
    assert await retention(store, {}).sweep() == 1
    store.close()  # the last connection brings the write-ahead log home
    everything = b"".join(file.read_bytes() for file in tmp_path.glob("c.db*"))
    assert b"private matter" not in everything
    assert b"of today" in everything


async def test_a_file_that_was_made_for_it_shrinks(tmp_path: Path) -> None:
    database = tmp_path / "c.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("VACUUM")
    connection.close()
    store = stores.made(f"sqlite:///{database}")
    write(store, *(recorded("t", 40, "x" * 20_000) for _ in range(300)))
    store.close()
    before = database.stat().st_size
    assert await retention(store, {}).sweep() == 300
    store.close()
    assert database.stat().st_size < before / 4


async def test_feedback_is_kept_as_long_as_exchanges_are(store: Store) -> None:
    ages = {"echo": (1, 8), "short": (1, 8), "gone": (8, 31)}
    with store.write() as connection:
        for task, days in ages.items():
            for age in days:
                at = NOW - timedelta(days=age)
                values = {"task": task, "variant": "v", "good": False, "comment": "x", "key": "k", "at": at}
                connection.execute(insert(feedback).values(exchange=f"req_{task}{age}", **values))
    await Retention(store, Held(), RecordSettings(), lambda: declared(echo=None, short=7)).sweep()
    with store.read() as connection:
        left = connection.execute(select(feedback.c.exchange).order_by(feedback.c.id)).scalars().all()
    assert left == ["req_echo1", "req_echo8", "req_short1", "req_gone8"]
