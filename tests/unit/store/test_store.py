import subprocess
import sys
import threading
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, inspect, select, text
from tests.support.exchanges import exchange

from changeover.core.errors import ConfigError, StoreError
from changeover.gateway.keys import load_keys
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.store.schema import answers, applied, keys, metadata, routes, tunings
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import add_exchanges, recent_exchanges

NOW = datetime(2026, 5, 4, 10, 30, 0, 123_000, tzinfo=UTC)


def fresh(tmp_path: Path) -> Store:
    store = Store.connect(f"sqlite:///{tmp_path / 'test.db'}")
    assert migrate(store)
    return store


@pytest.fixture
def store(store_url: str) -> Generator[Store]:
    made = Store.connect(store_url)
    assert migrate(made)
    yield made
    made.close()


def _context(connection: Connection) -> MigrationContext:
    """Compares all but the order of arrival, which PostgreSQL numbers by itself and the code's tables do not have."""
    own = ("seq", "exchanges_by_seq")
    return MigrationContext.configure(connection, opts={"include_name": lambda name, _kind, _of: name not in own})


def test_the_migrations_make_exactly_the_schema_of_the_code(store: Store) -> None:
    with store.read() as connection:
        assert compare_metadata(_context(connection), metadata) == []
    assert not migrate(store), "a second migration has nothing to do"


def test_every_migration_goes_down_and_up_again_with_rows_in_the_tables(store: Store) -> None:
    with store.write() as connection:
        add_exchanges(connection, [full_exchange("req_1")])
    config = Config()
    config.set_main_option("script_location", str(files("changeover.store") / "migrations"))
    for target in ("0003", "0002", "0001", "base"):
        with store.write() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, target)
    with store.read() as connection:
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
    assert migrate(store)
    with store.read() as connection:
        assert compare_metadata(_context(connection), metadata) == []


def test_an_older_store_keeps_its_rows_through_the_migrations(store: Store) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("changeover.store") / "migrations"))
    with store.write() as connection:
        add_exchanges(connection, [full_exchange("req_1", request=None, response=None), full_exchange("req_2")])
        tuned = {"model": "m", "backend": "local", "machine": "here", "document": {}, "measured_by": "ana"}
        connection.execute(insert(tunings).values(**tuned, measured_at=NOW))
    with store.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
    assert migrate(store)
    with store.read() as connection:
        kept = {each.id: each.content for each in recent_exchanges(connection, "echo")}
        assert connection.execute(select(tunings)).all() == [], "an older store has none"
    assert kept == {"req_1": "none", "req_2": "full"}


def test_no_key_of_an_older_store_loses_a_right(store: Store) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("changeover.store") / "migrations"))
    with store.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0008")
        for role in ("application", "operator", "monitor"):
            named = {"id": role, "name": role, "role": role, "digest": role, "created_at": NOW}
            connection.execute(insert(keys).values(**named, deployments=[], limits=[]))
    assert migrate(store)
    with store.read() as connection:
        now = {key.name: key.role for key in load_keys(connection).values()}
    assert now == {"application": "application", "operator": "admin", "monitor": "viewer"}


def test_revision_numbers_are_never_given_twice(store: Store) -> None:
    """Not even that of the newest row after it was deleted."""
    numbers: list[int] = []
    for _ in range(2):
        with store.write() as connection:
            row = {"document": {}, "digest": "d", "actor": "ana", "changes": [], "created_at": NOW}
            numbers += connection.execute(insert(applied).values(row).returning(applied.c.revision)).scalars().all()
            connection.execute(applied.delete())
    assert numbers[1] > numbers[0]
    assert routes.dialect_options["sqlite"]["autoincrement"]


def test_a_store_that_was_never_made_or_is_newer_says_what_to_do(store_url: str) -> None:
    with pytest.raises(StoreError, match="changeover up"):
        Store.open(store_url)
    store = Store.connect(store_url)
    migrate(store)
    with store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer"):
        Store.open(store_url)
    with pytest.raises(StoreError, match="newer"):
        migrate(store)
    store.close()


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    table = metadata.tables["bundles"]
    for use in (store.write, store.append):
        rows = [{"digest": "d", "document": {}, "created_at": at} for at in (NOW, None)]
        with pytest.raises(StoreError), use() as connection:  # noqa: PT012 - the first row is written, the second not
            connection.execute(insert(table), rows[0])
            connection.execute(insert(table), rows[1])
    with store.read() as connection:
        assert connection.execute(select(table)).all() == []


def test_an_error_shows_nothing_of_the_row(store: Store) -> None:
    table = metadata.tables["bundles"]
    with pytest.raises(StoreError) as caught, store.write() as connection:
        connection.execute(insert(table).values(digest="d", document={"prompt": "canary-77"}, created_at=None))
    assert "canary-77" not in caught.value.message
    assert "canary-77" not in str(caught.value.__cause__).partition("DETAIL")[0]


def test_what_is_read_in_one_block_is_one_state(store: Store) -> None:
    table = metadata.tables["bundles"]
    with store.read() as reading:
        assert reading.execute(select(table)).all() == []
        with store.append() as connection:
            connection.execute(insert(table).values(digest="d", document={}, created_at=NOW))
        assert reading.execute(select(table)).all() == []
    with store.read() as reading:
        assert len(reading.execute(select(table)).all()) == 1


def test_writers_take_turns_so_that_what_was_read_is_true_when_it_is_written(store: Store) -> None:
    """Read, add one, write: nothing is lost, and whoever sees a number has seen all smaller ones."""
    table = metadata.tables["dataset_versions"]
    with store.write() as connection:
        connection.execute(insert(table).values(digest="count", path="p", members=[0], created_at=NOW))

    def count() -> None:
        for _ in range(20):
            with store.write() as connection:
                (value,) = connection.execute(select(table.c.members)).scalar_one()
                connection.execute(table.update().values(members=[value + 1]))
                row = {"document": {}, "digest": str(value), "actor": "ana", "changes": [], "created_at": NOW}
                connection.execute(insert(applied).values(row))

    def follow() -> None:
        seen = 0
        while seen < 80:
            with store.read() as connection:
                numbers = connection.execute(select(applied.c.revision).order_by(applied.c.revision)).scalars().all()
            # Those that were given out are never overtaken: no smaller one comes later.
            if numbers[:seen] != known[:seen]:
                gaps.append(numbers)
            seen, known[:] = len(numbers), numbers

    known: list[int] = []
    gaps: list[object] = []
    threads = [threading.Thread(target=count) for _ in range(4)] + [threading.Thread(target=follow)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as connection:
        assert connection.execute(select(table.c.members)).scalar_one() == [80]
    assert gaps == []


def test_exchanges_come_back_as_they_were_and_a_batch_tried_twice_counts_once(store: Store) -> None:
    first = full_exchange(
        "req_1", failed_variants=("aaaaaaaaaaaa", "bbbbbbbbbbbb"), usage_estimated=True, cost_microusd=7
    )
    second = full_exchange("req_2", started_at=NOW + timedelta(seconds=1), request=None, revision=None)
    with store.append() as connection:
        add_exchanges(connection, [first])
    for _ in range(2):
        with store.append() as connection:
            add_exchanges(connection, [first, second])
            add_exchanges(connection, [])
    with store.read() as connection:
        assert recent_exchanges(connection, "echo") == [second, first]


def test_a_text_with_a_nul_is_kept_without_it(store: Store) -> None:
    """PostgreSQL has no text with it, and models say everything once."""
    answer = {"bundle": "b", "sample": "s", "repeat": 0, "text": "a\0b", "duration_ms": 1.0, "created_at": NOW}
    with store.write() as connection:
        add_exchanges(connection, [full_exchange("req_1", response="a\0b")])
        connection.execute(insert(answers).values(answer))
    with store.read() as connection:
        assert recent_exchanges(connection, "echo")[0].response == "a\ufffdb"
        assert connection.execute(select(answers.c.text)).scalar_one() == "a\ufffdb"


def test_a_directory_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    store = Store.connect(f"sqlite:///{tmp_path / 'absent' / 'test.db'}")
    with pytest.raises(StoreError, match="directory exists"), store.read():
        pass


@pytest.mark.parametrize(
    "url",
    [
        "nosuch://ana:hunter2@host/db",
        "mysql://ana:hunter2@host/db",
        "postgresql+asyncpg://ana:hunter2@host/db",
        "mysql://host/db?password=hunter2",
        "postgresql://ana:a@hunter2:5432@host/db",
        "postgresql://ana:a@hunter2@host/db",
        "postgresql://ana@host:hunter2/db",
        "hunter2",
        "",
    ],
)
def test_an_address_that_is_no_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^`store\.url`") as caught:
        Store.connect(url)
    assert "hunter2" not in caught.value.message
    assert "postgresql+psycopg://" in caught.value.message


def test_without_the_driver_one_error_names_the_extra() -> None:
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from changeover.store.engine import Store\n"
        "from changeover.core.errors import ConfigError\n"
        "try: Store.connect('postgresql://ana:hunter2@host/db')\n"
        "except ConfigError as exc: print(exc.message)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "changeover[postgres]" in said
    assert "hunter2" not in said


def test_a_project_on_sqlite_does_not_load_the_driver_of_postgresql() -> None:
    script = (
        "import sys; from changeover.store.engine import Store\n"
        "with Store.connect('sqlite://').read(): pass\n"
        "print('psycopg' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == "False\n"


def full_exchange(id: str, **changes: object) -> Exchange:
    """One whose content is kept, with the milliseconds and letters that a database may lose."""
    values = {
        "revision": 3,
        "variant": "abcdefabcdef",
        "stream": True,
        "started_at": NOW,
        "duration_ms": 12.5,
        "first_chunk_ms": 3.25,
        "request": '{"model":"echo"}',
        "response": '{"role":"assistant","content":"é"}',
        "content": "full",
        **changes,
    }
    return exchange(id, **values)
