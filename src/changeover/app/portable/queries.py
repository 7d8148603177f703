"""Every query of export and import: whole tables out, in an order that can be read back, and in again."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    column,
    func,
    insert,
    inspect,
    literal,
    literal_column,
    select,
    table,
)
from sqlalchemy import Table as SqlTable
from sqlalchemy.types import TypeEngine

from changeover.app.portable.manifest import Kind
from changeover.core.errors import ConfigError
from changeover.store.schema import ARRIVAL, ModelText, UtcDateTime, metadata

LEFT_OUT: Final = frozenset({"leases", "tool_jobs", "tool_job_files", "tool_job_parts"})
"""What gateways that run there are at: promises that nobody keeps elsewhere, and jobs with what they were given, which are
deleted within a day."""
ROWS_AT_ONCE: Final = 500

_TYPES: Mapping[Kind, TypeEngine[Any]] = {
    "text": ModelText(),
    "integer": BigInteger(),
    "number": Float(),
    "boolean": Boolean(),
    "time": UtcDateTime(),
    "json": JSON(none_as_null=True),
}
_KINDS: tuple[tuple[type[TypeEngine[Any]], Kind], ...] = (
    (UtcDateTime, "time"),
    (JSON, "json"),
    (Boolean, "boolean"),
    (Integer, "integer"),
    (Float, "number"),
)
_EXPECTED: Mapping[Kind, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "time": (str,),
}


@dataclass(frozen=True)
class Shape:
    """A table's name, and its columns in their order."""

    name: str
    columns: Mapping[str, Kind]


def shapes() -> list[Shape]:
    """Every table that goes out; one that others refer to comes before them."""
    return [
        Shape(str(found.name), {str(each.name): _kind(each) for each in found.columns})
        for found in metadata.sorted_tables
        if is_portable(found.name)
    ]


def is_portable(name: str) -> bool:
    """Whether a table is one that goes out and comes in."""
    return name in metadata.tables and name not in LEFT_OUT


def rows_of(connection: Connection, name: str) -> Generator[dict[str, Any]]:
    """All rows of a table, exchanges in the order of their arrival, others by their key. Empty fields are not there.

    Close it where it is not read to the end: the database holds a cursor for it.
    """
    found = metadata.tables[name]
    # An empty field and the JSON value `null` both come as None.
    empty = [each.is_(None).label(f"empty {each.name}") for each in found.columns if isinstance(each.type, JSON)]
    query = select(*found.columns, *empty).order_by(*_order(connection, found))
    names = [each.name for each in found.columns]
    jsons = {
        each.name: len(names) + place for place, each in enumerate(c for c in found.columns if isinstance(c.type, JSON))
    }
    with connection.execute(query.execution_options(yield_per=ROWS_AT_ONCE)) as result:
        for row in result:
            told: dict[str, Any] = {}
            for value, key in zip(row, names, strict=False):
                if key in jsons:
                    if not row[jsons[key]]:
                        told[key] = value
                elif value is not None:
                    told[key] = value.isoformat() if isinstance(value, datetime) else value
            yield told


def is_empty(connection: Connection, name: str) -> bool:
    """Whether a table has no row."""
    return connection.execute(select(literal(1)).select_from(metadata.tables[name]).limit(1)).first() is None


def columns_of(connection: Connection, name: str) -> set[str]:
    """Columns that a table has in the database; none where there is no such table."""
    found = inspect(connection)
    return {each["name"] for each in found.get_columns(name)} if found.has_table(name) else set()


def add_rows(connection: Connection, shape: Shape, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows into a table, a part at a time; gives how many there were.

    Raises:
        ConfigError: One has a key or a value that the shape does not allow.
    """
    into = insert(table(shape.name, *(column(name, _TYPES[kind]) for name, kind in shape.columns.items())))
    number = 0
    waiting: list[dict[str, Any]] = []
    for row in rows:
        number += 1
        waiting.append(_values(shape, row, number))
        if len(waiting) == ROWS_AT_ONCE:
            connection.execute(into, waiting)
            waiting = []
    if waiting:
        connection.execute(into, waiting)
    return number


def go_on_counting(connection: Connection, names: Sequence[str]) -> None:
    """Have numbers that the database gives out begin after those that were written. SQLite does so by itself."""
    if connection.dialect.name != "postgresql":
        return
    for name in names:
        numbered = metadata.tables[name].autoincrement_column
        if numbered is not None:
            sequence = func.pg_get_serial_sequence(name, numbered.name)
            most = select(func.max(numbered)).scalar_subquery()
            connection.execute(select(func.setval(sequence, most)).where(sequence.is_not(None), most.is_not(None)))


def _order(connection: Connection, found: SqlTable) -> Sequence[Any]:
    if found.name == "exchanges":
        return [literal_column(ARRIVAL[connection.dialect.name])]
    return list(found.primary_key.columns)


def _kind(found: Column[Any]) -> Kind:
    kinds: list[Kind] = [kind for of, kind in _KINDS if isinstance(found.type, of)]
    return kinds[0] if kinds else "text"


def _values(shape: Shape, row: Mapping[str, Any], number: int) -> dict[str, Any]:
    unknown = sorted(row.keys() - shape.columns.keys())
    if unknown:
        raise ConfigError(f"tables/{shape.name}.jsonl: row {number} has an unknown key `{unknown[0][:80]}`.")
    return {name: _value(shape, name, kind, row, number) for name, kind in shape.columns.items()}


def _value(shape: Shape, name: str, kind: Kind, row: Mapping[str, Any], number: int) -> Any:
    if name not in row:
        return None
    value = row[name]
    if kind == "json":
        return JSON.NULL if value is None else value
    if not isinstance(value, _EXPECTED[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise ConfigError(f"tables/{shape.name}.jsonl: row {number}: `{name}` is no {kind}.")
    if kind == "integer" and not -(1 << 63) <= value < 1 << 63:
        raise ConfigError(f"tables/{shape.name}.jsonl: row {number}: `{name}` has more than 64 bits.")
    if kind != "time":
        return value
    moment = _moment(str(value))
    if moment is None:
        raise ConfigError(f"tables/{shape.name}.jsonl: row {number}: `{name}` is no time with its zone.")
    return moment


def _moment(written: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(written)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
