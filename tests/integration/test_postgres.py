"""The store on a real PostgreSQL server: several writers, a server that comes and goes, and one that falls silent."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, select, text
from tests.support import postgres

from changeover.core.errors import StoreError
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.store.schema import metadata

AT_MOST_S = 5.0
SLACK_S = 5.0
"""For a machine that does something else meanwhile."""

bundles = metadata.tables["bundles"]


@contextmanager
def made(url: str) -> Iterator[Store]:
    store = Store.connect(url)
    migrate(store)
    try:
        yield store
    finally:
        store.close()


def read(store: Store) -> int:
    with store.read() as connection:
        return connection.execute(text("SELECT 1")).scalar_one()


def refused(work: Callable[[], object]) -> str:
    """What the store's error says; it must come in time."""
    began = time.monotonic()
    with pytest.raises(StoreError) as caught:
        work()
    assert time.monotonic() - began < AT_MOST_S + SLACK_S
    assert postgres.PASSWORD not in caught.value.message
    return caught.value.message


def test_a_plain_address_is_taken_too(postgres_url: str) -> None:
    for scheme in ("postgresql", "postgres"):
        with made(postgres_url.replace("postgresql+psycopg", scheme)) as store:
            assert read(store) == 1


def test_a_server_that_is_stopped_fails_at_once_and_is_used_again_when_it_is_back(
    own_postgres: postgres.Server,
) -> None:
    with made(own_postgres.fresh()) as store:
        for end in (own_postgres.stop, own_postgres.kill):
            end()
            assert "check that its server runs" in refused(lambda: read(store))
            own_postgres.start()
            assert read(store) == 1, "no restart of ours, and not even one request that fails"


def test_a_server_that_falls_silent_is_noticed_wherever_it_happens(own_postgres: postgres.Server) -> None:
    with made(own_postgres.fresh()) as store:
        read(store)
        with own_postgres.frozen():
            refused(lambda: read(store))
            refused(lambda: read(store))
        assert read(store) == 1

        def in_the_middle() -> None:
            with store.write() as connection:
                connection.execute(insert(bundles).values(digest="d", document={}, created_at=_now()))
                with own_postgres.frozen():
                    connection.execute(select(bundles))

        assert "does not answer" in refused(in_the_middle)
        with store.write() as connection:
            assert connection.execute(select(bundles)).all() == [], "nothing was committed, and nobody holds the turn"


def test_an_address_where_something_accepts_and_never_answers_is_refused_in_time() -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        address = f"postgresql://ana:{postgres.PASSWORD}@127.0.0.1:{hole.getsockname()[1]}/db"
        store = Store.connect(address)
        assert "timeout" in refused(lambda: read(store))
        store.close()


def test_a_slow_query_is_not_taken_for_silence(postgres_url: str) -> None:
    with made(postgres_url) as store, store.read() as connection:
        assert connection.execute(text("SELECT 1 FROM pg_sleep(2)")).scalar_one() == 1


def test_a_wrong_password_is_not_repeated(postgres_url: str) -> None:
    store = Store.connect(postgres_url.replace(postgres.PASSWORD, "another-canary"))
    said = refused(lambda: read(store))
    assert "password authentication failed" in said
    assert "another-canary" not in said
    store.close()


def test_rows_that_depend_on_no_other_do_not_wait_for_a_writer(postgres_url: str) -> None:
    with made(postgres_url) as store:
        with store.write() as writing:
            writing.execute(insert(bundles).values(digest="w", document={}, created_at=_now()))
            with store.append() as appending:
                appending.execute(insert(bundles).values(digest="a", document={}, created_at=_now()))
        with store.read() as connection:
            assert set(connection.execute(select(bundles.c.digest)).scalars()) == {"w", "a"}


def test_two_systems_that_start_at_once_migrate_one_database(postgres_url: str) -> None:
    stores = [Store.connect(postgres_url) for _ in range(3)]
    threads = [threading.Thread(target=migrate, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.check_revision()
        store.close()


def _now() -> datetime:
    return datetime.now(UTC)
