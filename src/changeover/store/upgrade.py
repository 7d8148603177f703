"""The steps from one schema to the next, by Alembic. Loaded by `migrate` where there is one to take."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError

from changeover.core.errors import StoreError
from changeover.store.engine import Store


def upgrade(store: Store, found: str | None, to: str) -> None:
    """Take every step from schema `found` to another, in one transaction.

    Raises:
        StoreError: There is no such schema.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(str(files("changeover.store") / "migrations"))))
    with store.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # a large table takes the time it takes
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, to)
        except CommandError as exc:
            unknown = f"The store has schema `{found}`" if found is not None else f"There is no schema `{to}`"
            raise StoreError(f"{unknown}, which this changeover does not know: {exc}.") from exc
