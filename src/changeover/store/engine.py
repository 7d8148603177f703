"""Opening the database, and the three ways to use it: `read()`, `write()` and `append()`."""

from __future__ import annotations

import importlib
import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, PoolProxiedConnection, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from changeover.core.errors import ConfigError, StoreError
from changeover.core.secrets import register_secret
from changeover.store.schema import REVISION

PAGE_BYTES = 16_384
"""Of a SQLite file that is made; one that is there keeps its own. A recorded exchange of 4 KiB fills a page of 4 KiB and
begins another: with these it is written once and not in three pieces."""
CHECKPOINT_PAGES = 2_000
"""SQLite's log grows to 32 MiB before it is copied into the file: pages that are written again and again, as those of
indices are, are then copied once. A third off the cost of a recorded exchange, measured with rows of 4 KiB."""
CACHE_KIB = 2_000
"""Of pages that a connection to SQLite holds: what a batch of exchanges fills is written at its end and not before."""
BUSY_TIMEOUT_MS = 5_000
"""How long a writer of SQLite waits for another one."""
POOL_WAIT_S = 5
"""How long a thread waits for one of the connections that other threads hold."""

SQLITE = ("sqlite", "sqlite+pysqlite")
POSTGRES = "postgresql+psycopg"
POSTGRES_SPELLINGS = (POSTGRES, "postgresql", "postgres")
FORMS = f"write `sqlite:///FILE` or `{POSTGRES}://USER:PASSWORD@HOST/DATABASE`."
ADAPTER = "changeover.store.postgres"


class Store:
    """One database. Thread safe; every call is short, so that async code may run it in a thread.

    A database that is gone fails within a few seconds, and one that is back is used again by itself.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # SQLite's readers see one state however many queries they make; elsewhere that has to be asked for.
        whole = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        self._reading = engine.execution_options(changeover_use="read", **whole)
        self._writing = engine.execution_options(changeover_use="write")
        self._appending = engine.execution_options(changeover_use="append")
        self._watching: PoolProxiedConnection | None = None
        """Asked for the version only: SQLite tells a connection of others' commits."""
        self._watched = (0, 0)
        """Device and number of the file that it has open."""

    @classmethod
    def connect(cls, url: str) -> Store:
        """Connect without looking at the schema. See `open`.

        Raises:
            ConfigError: The address is none of a database that can be used here.
        """
        address = _address(url)
        register_secret(address.password)
        on_sqlite = address.drivername in SQLITE
        try:
            adapter = None if on_sqlite else importlib.import_module(ADAPTER)
            pool: dict[str, Any] = {} if on_sqlite else {"pool_pre_ping": True, "pool_timeout": POOL_WAIT_S}
            if address.database not in (None, "", ":memory:"):
                # Who was used last is used next: its pages are in its cache, and the others' caches stay small.
                pool["pool_use_lifo"] = True
            # Values are people's texts and keys' digests: no traceback shows them.
            engine = create_engine(address, hide_parameters=True, **pool)
        except ImportError as exc:
            raise ConfigError(
                f"`store.url`: PostgreSQL needs the extra `postgres` ({exc}). "
                'Install it: `pip install "changeover[postgres]"`.'
            ) from exc
        except (ArgumentError, TypeError, ValueError) as exc:
            raise ConfigError(f"`store.url`: cannot use `{_without_password(address)}`: {FORMS}") from exc
        if adapter is None:
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_immediate)
        else:
            adapter.prepare(engine)
        return cls(engine)

    @classmethod
    def open(cls, url: str) -> Store:
        """Connect to a database that `migrate` has brought to this code's schema.

        Raises:
            StoreError: It cannot be reached, was never set up, or is of another version.
        """
        store = cls.connect(url)
        try:
            store.check_revision()
        except StoreError:
            store.close()
            raise
        return store

    def check_revision(self) -> None:
        """Check that the schema is the one of this code.

        Raises:
            StoreError: It is not; says what to do.
        """
        found = self.revision()
        if found is None:
            raise StoreError("This project has no store yet. Start it once with `changeover up`.")
        if found != REVISION:
            raise StoreError(
                f"The store has schema `{found}`, this version of changeover needs `{REVISION}`. "
                + ("Run `changeover up` to migrate it." if found < REVISION else "Install the newer changeover again.")
            )

    def revision(self) -> str | None:
        """The schema's migration, None for an empty database."""
        with self.read() as connection:
            if not self.engine.dialect.has_table(connection, "alembic_version"):
                return None
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)

    @contextmanager
    def read(self) -> Generator[Connection]:
        """A connection for queries, which all see one state. What it writes is thrown away."""
        with _as_store_error(), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[Connection]:
        """One transaction: committed at the end of the block, rolled back on an exception.

        Writers take turns: what one has read, no other changes before its end, and a number that it gave out is seen
        before any larger one.
        """
        with _as_store_error(), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def append(self) -> Generator[Connection]:
        """One transaction for rows that depend on no other, such as records: `write` without the turn where it can be.

        On PostgreSQL many processes do this at once; rows that they share are locked as they are touched.
        """
        with _as_store_error(), self._appending.begin() as connection:
            yield connection

    def version(self) -> int | None:
        """Another number after every commit, whoever made it; None where the database does not tell, or cannot now.

        Costs some microseconds and waits for nobody, so that an event loop may ask. Not from several threads at once.
        """
        database = self.engine.url.database
        if self.engine.dialect.name != "sqlite" or database in (None, "", ":memory:"):
            return None
        try:
            found = os.stat(database)
            if self._watched != (found.st_dev, found.st_ino):  # each connection counts on its own
                self._watched = (found.st_dev, found.st_ino)
                self._watch_no_more()
                return None
            if self._watching is None:
                self._watching = watching = self.engine.raw_connection()
                watching.detach()
                watching.cursor().execute("PRAGMA busy_timeout=0")
            cursor = self._watching.cursor()
            cursor.execute("PRAGMA data_version")
            return int(cursor.fetchall()[0][0])
        except (OSError, sqlite3.Error, SQLAlchemyError):
            return None

    def close(self) -> None:
        self._watch_no_more()
        self.engine.dispose()

    def _watch_no_more(self) -> None:
        if self._watching is not None:
            self._watching.close()
            self._watching = None


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError, TypeError):
        # Without the cause: it repeats pieces of the address, and one may be of a password.
        raise ConfigError(f"`store.url`: cannot use what is no address of a database: {FORMS}") from None
    if address.drivername in POSTGRES_SPELLINGS:
        address = address.set(drivername=POSTGRES)
    elif address.drivername not in SQLITE:
        raise ConfigError(f"`store.url`: cannot use `{_without_password(address)}`: {FORMS}")
    if "@" in (address.host or ""):
        raise ConfigError(f"`store.url`: cannot use an `@` in a password unless it stands as `%40`: {FORMS}")
    return address


def _without_password(address: URL) -> str:
    return address.set(query={}).render_as_string(hide_password=True)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction control would begin late and deadlock two writers; we begin ourselves.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA page_size={PAGE_BYTES}")
    cursor.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock at once for writers; readers see one consistent state and block nobody."""
    reading = connection.get_execution_options().get("changeover_use") == "read"
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def _as_store_error() -> Generator[None]:
    try:
        yield
    except DBAPIError as exc:
        # The first line: the others may quote the row.
        said = str(exc.orig).partition("\n")[0].rstrip(".")
        raise StoreError(f"The store cannot be used: {said}. {_advice(said)}") from exc
    except SQLAlchemyError as exc:
        raise StoreError(f"The store cannot be used: {type(exc).__name__}.") from exc


_ADVICE = {
    "disk is full": "Free some disk space; nothing that was committed is lost.",
    "no space": "Free some disk space; nothing that was committed is lost.",
    "disk i/o": "Free some disk space; nothing that was committed is lost.",
    "lock": "Another process holds it; try again.",
    "unable to open": "Check that its directory exists and may be written.",
    "does not answer": "It is tried again; check that its server runs.",
    "connection": "It is tried again; check that its server runs, and `store.url` in changeover.toml.",
}


def _advice(message: str) -> str:
    lowered = message.lower()
    found = (advice for words, advice in _ADVICE.items() if words in lowered)
    return next(found, "Check `store.url` in changeover.toml.")
