"""Bringing a database to this code's schema, with Alembic."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError

from changeover.core.errors import StoreError
from changeover.store.engine import Store
from changeover.store.schema import REVISION


def migrate(store: Store) -> bool:
    """Upgrade the store to `REVISION`; True if anything was done.

    Raises:
        StoreError: The store is newer than this code.
    """
    found = store.revision()
    if found == REVISION:
        return False
    if found is not None and found > REVISION:
        raise StoreError(
            f"The store has schema `{found}`, newer than this changeover's `{REVISION}`. Upgrade changeover."
        )
    config = Config()
    config.set_main_option("script_location", str(Path(str(files("changeover.store") / "migrations"))))
    with store.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # a large table takes the time it takes
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as exc:
            raise StoreError(f"The store has schema `{found}`, which this changeover does not know: {exc}.") from exc
    return True
