"""Takes the statement out of an answer, and sees that it only reads."""

from __future__ import annotations

import re
import sqlite3

_FENCE = re.compile(r"```[ \t]*\w*[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def read(answer: str) -> str:
    """The statement of an answer, without fences and without a semicolon at its end."""
    blocks: list[str] = _FENCE.findall(answer)
    return (blocks or [answer])[0].strip().rstrip(";").strip()


def problem(value: str, source: str) -> str | None:
    """What is wrong with an answer as one statement that only reads; None if nothing is.

    Args:
        value: The answer.
        source: The schema.
    """
    statement = read(value)
    if not re.match(r"(?:SELECT|WITH)\b", statement, re.IGNORECASE):
        return "it is no SELECT statement"
    connection = sqlite3.connect(":memory:")
    try:
        connection.set_authorizer(_without_files)
        connection.executescript(source)
        connection.set_authorizer(_only_reading)
        connection.execute(f"EXPLAIN {statement}")
    except (sqlite3.ProgrammingError, sqlite3.Warning):
        return "it is more than one statement, or has parameters"
    except sqlite3.DatabaseError as exc:
        return "it does more than read" if "not authorized" in str(exc) else f"SQLite says: {exc}"
    finally:
        connection.close()
    return None


def _without_files(action: int, *_: object) -> int:
    return sqlite3.SQLITE_DENY if action in (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH) else sqlite3.SQLITE_OK


def _only_reading(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY
