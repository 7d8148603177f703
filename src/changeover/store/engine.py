"""Opening the database, and the two ways to use it: `read()` and `write()`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from changeover.core.errors import ConfigError, StoreError
from changeover.store.schema import REVISION

BUSY_TIMEOUT_MS = 5_000
"""How long a writer of SQLite waits for another one."""


class Store:
    """One database. Thread safe; every call is short, so that async code may run it in a thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def connect(cls, url: str) -> Store:
        """Connect without looking at the schema. See `open`."""
        try:
            address = make_url(url)
            engine = create_engine(address, pool_pre_ping=address.get_backend_name() != "sqlite")
        except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as exc:
            reason = str(exc).partition("\n")[0]
            raise ConfigError(f"`store.url`: cannot use `{_without_password(url)}`: {reason}") from exc
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_immediate)
        return cls(engine)

    @classmethod
    def open(cls, url: str) -> Store:
        """Connect to a database that `migrate` has brought to this code's schema.

        Raises:
            StoreError: It cannot be reached, was never set up, or is of another version.
        """
        store = cls.connect(url)
        found = store.revision()
        if found is None:
            raise StoreError("This project has no store yet. Start it once with `changeover up`.")
        if found != REVISION:
            raise StoreError(
                f"The store has schema `{found}`, this version of changeover needs `{REVISION}`. "
                + ("Run `changeover up` to migrate it." if found < REVISION else "Install the newer changeover again.")
            )
        return store

    def revision(self) -> str | None:
        """The schema's migration, None for an empty database."""
        with self.read() as connection:
            if not self.engine.dialect.has_table(connection, "alembic_version"):
                return None
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)

    @contextmanager
    def read(self) -> Generator[Connection]:
        """A connection for queries. What it writes is thrown away."""
        with _as_store_error(), self.engine.connect().execution_options(changeover_read=True) as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[Connection]:
        """One transaction: committed at the end of the block, rolled back on an exception."""
        with _as_store_error(), self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction control would begin late and deadlock two writers; we begin ourselves.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock at once for writers; readers see one consistent state and block nobody."""
    reading = connection.get_execution_options().get("changeover_read", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def _as_store_error() -> Generator[None]:
    try:
        yield
    except DBAPIError as exc:
        raise StoreError(f"The store cannot be used: {exc.orig}. {_advice(str(exc.orig))}") from exc
    except SQLAlchemyError as exc:
        raise StoreError(f"The store cannot be used: {type(exc).__name__}.") from exc


def _advice(message: str) -> str:
    lowered = message.lower()
    if "disk is full" in lowered or "no space" in lowered or "disk i/o" in lowered:
        return "Free some disk space; nothing that was committed is lost."
    if "locked" in lowered:
        return "Another process holds it; try again."
    if "unable to open" in lowered:
        return "Check that its directory exists and may be written."
    return "Check `store.url` in changeover.toml."


def _without_password(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return "(an address that is no URL)"
