"""The newest of each of many tasks, by one statement, on either database."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from benchmarks.console.statements import reads_whole
from sqlalchemy import event, insert, text
from tests.support.exchanges import exchange

from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.store.schema import bundles, feedback, routes, variants
from changeover.tasks.feedback import MOST_RATED, goods_of
from changeover.tasks.queries import add_exchanges
from changeover.tasks.traffic_queries import MOST_TIMED, newest_durations

BEGAN = datetime(2026, 5, 4, tzinfo=UTC)
TASKS = ("busy", "quiet", "silent")


def after(seconds: int) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


@pytest.fixture
def store(store_url: str) -> Generator[Store]:
    made = Store.connect(store_url)
    assert migrate(made)
    with made.write() as connection:
        connection.execute(insert(bundles).values(digest="d", document={}, created_at=BEGAN))
        variant = {"id": "var_1", "task": "any", "deployment": "echo", "bundle": "d", "created_at": BEGAN}
        connection.execute(insert(variants).values(variant))
        said = {"action": "first", "actor": "test", "reason": "test", "created_at": BEGAN}
        route = {"incumbent": "var_1", "candidate_weight": 0, "salt": "s", **said}
        connection.execute(insert(routes), [{**route, "task": task} for task in TASKS])
    yield made
    made.close()


def test_durations_are_of_the_newest_of_each_task_and_only_of_whole_answers_to_applications(store: Store) -> None:
    busy = [exchange(task="busy", started_at=after(n), duration_ms=float(n)) for n in range(2 * MOST_TIMED)]
    quiet = [exchange(task="quiet", started_at=after(n), duration_ms=float(n)) for n in range(3)]
    other = [
        exchange(task="quiet", started_at=after(9), internal=True),
        exchange(task="quiet", started_at=after(9), truncated=True),
        exchange(task="quiet", started_at=after(9), abandoned=True),
        exchange(task="quiet", started_at=after(9), status=502),
        exchange(task="unknown", started_at=after(9)),
    ]
    with store.write() as connection:
        add_exchanges(connection, [*busy, *quiet, *other])
    with store.read() as connection:
        found = newest_durations(connection, [*TASKS, "unknown"])
        assert newest_durations(connection, []) == {}
    assert {task: sorted(times) for task, times in found.items()} == {
        "busy": [float(n) for n in range(MOST_TIMED, 2 * MOST_TIMED)],
        "quiet": [0.0, 1.0, 2.0],
    }


def test_ratings_are_counted_since_a_moment_and_no_more_than_the_newest_so_many(store: Store) -> None:
    given = {"exchange": "req_1", "variant": "var_1", "key": "key_1"}
    busy = [{**given, "task": "busy", "at": after(n), "good": n >= MOST_RATED // 2} for n in range(2 * MOST_RATED)]
    quiet = [{**given, "task": "quiet", "at": after(n), "good": n != 7} for n in range(10)]
    with store.write() as connection:
        connection.execute(insert(feedback), [*busy, *quiet])
    with store.read() as connection:
        assert goods_of(connection, TASKS, after(6)) == {"busy": (MOST_RATED, MOST_RATED), "quiet": (4, 3)}
        assert goods_of(connection, ["silent"], BEGAN) == {}


def test_however_many_rows_there_are_no_statement_reads_them_all(store: Store) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        asked.append((statement, parameters))

    with store.write() as connection:
        add_exchanges(connection, [exchange(task=TASKS[n % 2], started_at=after(n)) for n in range(4_000)])
        connection.execute(text("ANALYZE"))
    event.listen(store.engine, "before_cursor_execute", note)
    with store.read() as connection:
        newest_durations(connection, TASKS)
        about = [each for each in asked if "exchanges" in each[0]]
        assert len(about) == 1
        assert not reads_whole(connection, *about[0])
