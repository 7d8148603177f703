"""PostgreSQL: connections that notice a server which has gone silent, and the turn that writers take.

Loaded when a project's store is there: the driver is an extra.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, event

CONNECT_S = 2
"""Longest wait for a connection; whole seconds, and 2 is the least that the driver takes."""
SILENCE_S = 1.5
"""After so long without a byte the server is asked over another connection whether it is there at all."""
LOCK_MS = 5_000
"""How long a writer waits for another one, as on SQLite."""
STATEMENT_MS = 60_000
"""No single query of ours takes that long; the server gives up what does."""
IDLE_READ_MS = 60_000
IDLE_WRITE_MS = 10_000
"""A process that stopped in the middle of a transaction loses it, so that the others get their turn."""
TURN = 0x6368616E6765
"""Number of the advisory lock that writers take in turn."""

_DEFAULTS: dict[str, Any] = {
    "connect_timeout": CONNECT_S,
    # A host that is gone sends nothing, not even a refusal.
    "tcp_user_timeout": 4_000,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "fallback_application_name": "changeover",
}
"""Of the driver; what the address says wins."""

_SESSION = (
    f"SET lock_timeout = {LOCK_MS}; SET statement_timeout = {STATEMENT_MS}; "
    f"SET idle_in_transaction_session_timeout = {IDLE_READ_MS}"
).encode()

Result = TypeVar("Result")


def prepare(engine: Engine) -> None:
    """Make an engine's connections bounded in time, and its serial transactions take turns."""
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "connect", _set_bounds)
    event.listen(engine, "begin", _take_turn)


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that never waits for ever.

    A query may be slow and a server may be gone, and over this connection both are silent. Another connection tells
    them apart: a server that does not even greet within `CONNECT_S` is gone.
    """

    arguments: dict[str, Any]
    """What it was opened with; holds the password."""

    def wait(self, gen: Generator[Any, Any, Result], *args: Any, **options: Any) -> Result:
        """Wait for the server as the driver does, with an eye on the clock."""
        return super().wait(self._watched(gen), *args, **options)

    def _watched(self, work: Generator[Any, Any, Result]) -> Generator[Any, Any, Result]:
        """Pass on what the driver's generator wants and is told; it is told nothing at short intervals of silence."""
        try:
            wanted = next(work)
            heard = time.monotonic()
            while True:
                ready = yield wanted
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > SILENCE_S:
                    self._check_there()
                    heard = time.monotonic()
                wanted = work.send(ready)
        except StopIteration as end:
            return end.value

    def _check_there(self) -> None:
        try:
            # Outside a transaction is only asked whether this connection lives: another one costs less than the answer.
            if not self.autocommit:
                again: dict[str, Any] = {**self.arguments, "connect_timeout": CONNECT_S}
                psycopg.connect(**again).close()
                return
        except psycopg.errors.ConnectionTimeout:
            pass
        except psycopg.OperationalError:
            return  # a refusal is an answer; what becomes of this connection, its own socket will say
        self.pgconn.finish()
        raise psycopg.OperationalError("the server does not answer any more")


def _connect(_dialect: Any, _record: Any, positional: list[Any], named: dict[str, Any]) -> BoundedConnection:
    arguments = {**_DEFAULTS, **named}
    made = BoundedConnection.connect(*positional, **arguments)
    made.arguments = arguments
    return made


def _set_bounds(connection: BoundedConnection, _record: Any) -> None:
    connection.autocommit = True
    connection.execute(_SESSION)
    connection.autocommit = False


def _take_turn(connection: Connection) -> None:
    """Let one writer in at a time: numbers become visible in their order, and what was read is still true when written.

    The lock ends with the transaction, after its rows can be seen.
    """
    use = connection.get_execution_options().get("changeover_use")
    if use in ("write", "append"):
        turn = f", pg_advisory_xact_lock({TURN})" if use == "write" else ""
        idle = f"set_config('idle_in_transaction_session_timeout', '{IDLE_WRITE_MS}', true)"
        connection.exec_driver_sql(f"SELECT {idle}{turn}")
