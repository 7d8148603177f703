"""Scores a statement by what it finds: the same rows as the right one, in tables that the case fills."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from itertools import permutations
from typing import Any, cast

from changeover.evals.answers import Answer
from changeover.evals.datasets import Sample
from changeover.evals.scorers import Score

_FENCE = re.compile(r"```[ \t]*\w*[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_MOST_STEPS = 200
"""Times 10,000 instructions of SQLite's machine: a statement that takes longer runs in circles."""
_MOST_ROWS = 1_000
_MOST_PERMUTED = 6
"""Columns; more of them must stand in the right order."""

Row = tuple[Any, ...]


def score(answer: Answer, sample: Sample) -> Score:
    """1 if it finds the same rows, else 0 with the reason.

    A target has `schema`, `rows` (INSERT statements), `query` (a right statement), and `ordered`, whether the order of
    rows counts. What columns are called does not matter, nor in which order they stand; numbers may differ in the
    seventh decimal place.
    """
    target = cast("dict[str, Any]", sample.target)
    blocks: list[str] = _FENCE.findall(answer.text)
    statement = (blocks or [answer.text])[0].strip().rstrip(";")
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(target["schema"] + target["rows"])
        wanted = _rows(connection, target["query"])
        _read_only(connection)
        try:
            found = _rows(connection, statement)
        except (sqlite3.Error, sqlite3.Warning) as exc:
            return Score(value=0.0, detail={"reason": f"SQLite: {exc}"})
    finally:
        connection.close()
    if _same(found, wanted, ordered=target["ordered"]):
        return Score(value=1.0)
    return Score(
        value=0.0, detail={"found": [str(row) for row in found[:5]], "wanted": [str(row) for row in wanted[:5]]}
    )


def _read_only(connection: sqlite3.Connection) -> None:
    """Nothing but reading, of these tables, for a short while."""
    steps = iter(range(_MOST_STEPS))
    connection.set_authorizer(_allow)
    connection.set_progress_handler(lambda: next(steps, None) is None, 10_000)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1_000_000)


def _allow(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _rows(connection: sqlite3.Connection, statement: str) -> list[Row]:
    rows = connection.execute(statement).fetchmany(_MOST_ROWS)
    return [tuple(round(value, 6) if isinstance(value, float) else value for value in row) for row in rows]


def _same(found: list[Row], wanted: list[Row], *, ordered: bool) -> bool:
    if len(found) != len(wanted):
        return False
    width = len(wanted[0]) if wanted else 0
    if any(len(row) != width for row in found):
        return False
    orders = permutations(range(width)) if width <= _MOST_PERMUTED else [range(width)]
    for order in orders:
        turned = [tuple(row[column] for column in order) for row in found]
        if turned == wanted if ordered else Counter(turned) == Counter(wanted):
            return True
    return not wanted
