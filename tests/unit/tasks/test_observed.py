"""Exchanges and feedback as those who watch rollouts read them, on both databases."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta

import pytest
from tests.support import stores
from tests.support.exchanges import exchange

from changeover.store.engine import Store
from changeover.tasks.feedback import Feedback, add_feedback, feedback_since, rated_exchange
from changeover.tasks.observed import newest_seq, observed_of, observed_since
from changeover.tasks.queries import add_exchanges
from changeover.tasks.retention import delete_exchanges_before

NOW = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)


@pytest.fixture
def store(store_url: str) -> Generator[Store]:
    made = stores.made(store_url)
    yield made
    made.close()


def written(store: Store, *ids: str, **fields: object) -> None:
    with store.append() as connection:
        add_exchanges(connection, [exchange(id, started_at=NOW, **fields) for id in ids])


def test_exchanges_are_read_in_the_order_of_arrival_and_each_once(store: Store) -> None:
    with store.read() as connection:
        assert newest_seq(connection) == 0
        assert observed_since(connection, 0) == []
    written(store, "req_z", "req_a")
    with store.read() as connection:
        first = observed_since(connection, 0)
        newest = newest_seq(connection)
    assert [each.id for each in first] == ["req_z", "req_a"]
    assert newest == first[-1].seq
    written(store, "req_m", task="other")
    written(store, "req_z")  # a batch that is tried again
    with store.read() as connection:
        assert [each.id for each in observed_since(connection, newest)] == ["req_m"]
        assert [each.id for each in observed_since(connection, 0, limit=2)] == ["req_z", "req_a"]


def test_all_that_a_watcher_needs_is_read_back(store: Store) -> None:
    written(
        store,
        "req_1",
        side="shadow",
        failed_variants=("var_2", "var_3"),
        violation="language",
        shadow_of="req_0",
        internal=True,
        status=502,
        error_source="model",
        truncated=True,
    )
    with store.read() as connection:
        (seen,) = observed_since(connection, 0)
    assert (seen.side, seen.failed_variants, seen.violation) == ("shadow", ("var_2", "var_3"), "language")
    assert (seen.shadow_of, seen.internal, seen.status, seen.truncated) == ("req_0", True, 502, True)
    assert (seen.error_source, seen.duration_ms, seen.started_at) == ("model", 10.0, NOW)


def test_a_restart_reads_what_was_seen_before_it_and_no_more(store: Store) -> None:
    with store.append() as connection:
        ages = {"req_old": 60, "req_b": 5, "req_a": 3}
        rows = [exchange(id, started_at=NOW - timedelta(minutes=age)) for id, age in ages.items()]
        rows.append(exchange("req_set_back", started_at=NOW - timedelta(days=1), revision=7))
        add_exchanges(connection, [*rows, exchange("req_other", task="other", started_at=NOW)])
    with store.read() as connection:
        seen = newest_seq(connection)
    written(store, "req_later")
    with store.read() as connection:
        by_time = observed_of(connection, "echo", NOW - timedelta(minutes=10), None, seen)
        by_route = observed_of(connection, "echo", NOW - timedelta(minutes=10), 7, seen)
    assert [each.id for each in by_time] == ["req_b", "req_a"]
    assert [each.id for each in by_route] == ["req_b", "req_a", "req_set_back"], "the clock was set back"


def test_a_reader_misses_nothing_where_all_that_it_read_was_deleted(store: Store) -> None:
    written(store, "req_1", "req_2")
    with store.read() as connection:
        read = newest_seq(connection)
    with store.write() as connection:
        delete_exchanges_before(connection, "echo", NOW + timedelta(days=1))
    with store.read() as connection:
        read = min(read, newest_seq(connection))
    written(store, "req_3")
    with store.read() as connection:
        assert [each.id for each in observed_since(connection, read)] == ["req_3"]


def test_a_reader_that_goes_back_finds_what_was_committed_late(postgres_url: str) -> None:
    store = stores.made(postgres_url)
    with store.append() as slow:
        add_exchanges(slow, [exchange("req_slow")])
        written(store, "req_quick")
        with store.read() as connection:
            read = newest_seq(connection)
            assert [each.id for each in observed_since(connection, 0)] == ["req_quick"]
    with store.read() as connection:
        assert observed_since(connection, read) == [], "its number is smaller than what was read"
        assert [each.id for each in observed_since(connection, read - 10)] == ["req_slow", "req_quick"]
    store.close()


def given(**changes: object) -> Feedback:
    values: dict[str, object] = {
        "id": 0,
        "exchange": "req_1",
        "task": "echo",
        "variant": "var_1",
        "good": True,
        "comment": None,
        "key": "key_1",
        "at": NOW,
        **changes,
    }
    return Feedback(**values)  # pyright: ignore[reportArgumentType]


def test_feedback_is_read_in_order_and_the_same_word_twice_is_written_once(store: Store) -> None:
    said = [given(), given(), given(good=False), given(key="key_2"), given(good=True), given(comment="late\x00")]
    for each in said:
        with store.write() as connection:
            add_feedback(connection, each)
    with store.read() as connection:
        found = feedback_since(connection, 0)
        assert [each.id for each in feedback_since(connection, found[2].id)] == [each.id for each in found[3:]]
    assert {each.revision for each in found} == {None}, "no such exchange is kept"
    assert [(each.key, each.good, each.comment) for each in found] == [
        ("key_1", True, None),
        ("key_1", False, None),
        ("key_2", True, None),
        ("key_1", True, None),
        ("key_1", True, "late\ufffd"),
    ]


def test_an_exchange_that_may_be_rated_is_found_by_its_request(store: Store) -> None:
    written(store, "req_1", team="legal")
    with store.read() as connection:
        found = rated_exchange(connection, "req_1")
        assert rated_exchange(connection, "req_2") is None
    assert found is not None
    assert (found.task, found.variant, found.key, found.team) == ("echo", "var_1", "key_1", "legal")
