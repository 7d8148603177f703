from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text

from changeover.core.errors import ConfigError, StoreError
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.store.schema import metadata, routes


def fresh(tmp_path: Path) -> Store:
    store = Store.connect(f"sqlite:///{tmp_path / 'test.db'}")
    assert migrate(store)
    return store


def test_the_migrations_make_exactly_the_schema_of_the_code(tmp_path: Path) -> None:
    store = fresh(tmp_path)
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert not migrate(store), "a second migration has nothing to do"
    store.close()


def test_revision_numbers_are_never_given_twice(tmp_path: Path) -> None:
    store = fresh(tmp_path)
    with store.read() as connection:
        made = connection.execute(text("SELECT sql FROM sqlite_master WHERE name = 'routes'")).scalar_one()
    assert "AUTOINCREMENT" in made
    assert routes.name == "routes"
    store.close()


def test_a_store_that_was_never_made_or_is_newer_says_what_to_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    with pytest.raises(StoreError, match="changeover up"):
        Store.open(url)
    store = fresh(tmp_path)
    with store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer"):
        Store.open(url)
    with pytest.raises(StoreError, match="newer"):
        migrate(store)
    store.close()


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    store = fresh(tmp_path)
    table = metadata.tables["bundles"]
    row = {"digest": "d", "document": {}, "created_at": None}
    with pytest.raises(StoreError), store.write() as connection:
        connection.execute(insert(table).values(**row))
    with store.read() as connection:
        assert connection.execute(select(table)).all() == []
    store.close()


def test_a_directory_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    store = Store.connect(f"sqlite:///{tmp_path / 'absent' / 'test.db'}")
    with pytest.raises(StoreError, match="directory exists"), store.read():
        pass


def test_an_address_that_is_no_database_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigError) as caught:
        Store.connect("nosuch://ana:hunter2@host/db")
    assert "hunter2" not in caught.value.message
