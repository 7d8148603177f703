"""Who leads: of all processes that use one store, the one that brings rollouts on.

By the store's own means and by no clock, which may jump: PostgreSQL's session lock, which ends with its connection, and
beside a SQLite file a lock that the kernel takes back from a process that dies. Two that believed to lead would still do
no harm, since every action looks again in its transaction; they would only do everything twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import zlib
from pathlib import Path
from threading import Lock

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from changeover.store.engine import Store


class Lead:
    """One process's claim. Ask `held` as often as you like; thread safe."""

    def __init__(self, store: Store, name: str) -> None:
        """Claim nothing yet.

        Args:
            store: Shared by all that may lead.
            name: What is led; claims of other names have nothing to do with it.
        """
        self._store = store
        self._name = name
        self._file: int | None = None
        self._session: Connection | None = None
        self._mutex = Lock()
        self._released = False

    def held(self) -> bool:
        """Whether this process leads, or does from now on. A store that is gone has no leader. Blocks shortly."""
        with self._mutex:
            if self._released:
                return False
            engine = self._store.engine
            if engine.dialect.name != "sqlite":
                return self._by_session()
            database = engine.url.database
            return database in (None, "", ":memory:") or self._by_file(Path(f"{database}.{self._name}"))

    def release(self) -> None:
        """Let another one lead, for good: who still asks here is late."""
        with self._mutex:
            self._released = True
            self._drop_session()
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _by_file(self, path: Path) -> bool:
        if self._file is not None:
            return True
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        self._file = file
        return True

    def _by_session(self) -> bool:
        try:
            if self._session is not None:
                self._session.execute(text("SELECT 1"))
                return True
            session = self._store.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            number = zlib.crc32(f"changeover {self._name}".encode())
            if session.execute(text("SELECT pg_try_advisory_lock(:number)"), {"number": number}).scalar():
                self._session = session
                return True
            session.close()
        except SQLAlchemyError:
            self._drop_session()
        return False

    def _drop_session(self) -> None:
        """Close the connection itself: back in the pool it would go on holding the lock."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(SQLAlchemyError):
                session.invalidate()
                session.close()
