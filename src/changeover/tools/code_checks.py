"""Whether code runs: SQL on an empty SQLite database, Python by its grammar. Called in a process of its own.

It imports the standard library only; `functions` runs it like a function of a tool's folder.
"""

from __future__ import annotations

import sqlite3
import sys
import time
import warnings

MOST_S = 2.0
MOST_TEXT = 200_000
_READING = frozenset({
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE,
})  # fmt: skip
_MAKING = _READING | {
    sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_REINDEX, sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_ALTER_TABLE, sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_DROP_VIEW, sqlite3.SQLITE_DROP_INDEX,
}  # fmt: skip
_NEVER = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"})


def sql_problem(schema: str, query: str) -> dict[str, str | None]:
    """What is wrong with a query on a database that statements made: `schema`, of them; `query`, of it; None: nothing."""
    if max(len(schema), len(query)) > MOST_TEXT:
        return {"schema": None, "query": f"it has more than {MOST_TEXT:,} characters"}
    database = sqlite3.connect(":memory:", isolation_level=None)
    until = time.monotonic() + MOST_S
    database.set_progress_handler(lambda: time.monotonic() > until, 10_000)
    database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000_000)
    try:
        _allow(database, _MAKING)
        database.executescript(schema)
    except (sqlite3.Error, sqlite3.Warning, ValueError) as exc:
        return {"schema": _said(exc), "query": None}
    if not query.strip():
        return {"schema": None, "query": "it is empty"}
    try:
        _allow(database, _READING)
        result = database.execute(query)
        if result.description is None:
            return {"schema": None, "query": "it asks for nothing: a SELECT is expected"}
        result.fetchmany(5)
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as exc:
        return {"schema": None, "query": _said(exc)}
    return {"schema": None, "query": None}


def _allow(database: sqlite3.Connection, actions: frozenset[int]) -> None:
    def decide(action: int, first: str | None, second: str | None, where: str | None, by: str | None) -> int:
        del first, where, by
        allowed = action in actions and not (action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _NEVER)
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    database.set_authorizer(decide)


def _said(error: Exception) -> str:
    words = {
        "not authorized": "only reading is allowed (SELECT)",
        "interrupted": f"it takes longer than {MOST_S:g} s",
        "You can only execute one statement at a time.": "it has more than one statement",
    }
    said = " ".join(str(error).split())
    return words.get(said, f"SQLite says: {said}")[:500]


def python_problem(code: str) -> str | None:
    """What is wrong with Python by its grammar; None: nothing. It is not run."""
    if not code.strip():
        return "it is empty"
    if len(code) > MOST_TEXT:
        return f"it has more than {MOST_TEXT:,} characters"
    sys.setrecursionlimit(3_000)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(code, "answer", "exec", dont_inherit=True)
    except SyntaxError as exc:
        return f"line {exc.lineno}: {exc.msg}"
    except (ValueError, RecursionError, MemoryError, OverflowError) as exc:
        return f"it cannot be compiled: {' '.join(str(exc).split()) or type(exc).__name__}"
    return None
