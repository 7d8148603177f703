"""Signals as somebody read them on a day: JSON lines, brought by hand. One such file ships with the package."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from functools import cache
from importlib import resources

from msgspec import Struct

from changeover.core.errors import ConfigError
from changeover.library.catalogue import Catalogue
from changeover.library.facts import Grade
from changeover.library.observations import SIGNALS, Observation
from changeover.library.sources.documents import Rows, json_of
from changeover.library.sources.matching import Names
from changeover.library.sources.reading import LARGEST, Reading, Row, Said, observations

NAME = "snapshot"
WHAT = "snapshot of signals"
SHIPPED = "signals.jsonl"
DATED = "signals.last_commit"
"""The signal that is a date; the others are numbers."""


class _Line(Struct, forbid_unknown_fields=True, frozen=True):
    card: str
    """Id of the card."""
    fact: str
    value: int | float | str
    source: str
    """Where it was read."""
    grade: Grade
    read: date
    """When it was read there."""
    as_of: date | None = None
    """When it was so, where that is known."""
    note: str | None = None


def shipped_signals() -> tuple[Observation, ...]:
    """The signals that come with the package, as they were when they were read."""
    return _shipped()


def read(data: bytes, where: str) -> Reading:
    """The signals of a file.

    Raises:
        ConfigError: A line is not JSON or no signal; names the line.
    """
    lines = _lines(data, where)
    return Reading(
        source=NAME,
        where=where,
        digest=hashlib.sha256(data).hexdigest(),
        summary=f"{len(lines)} signals of {len({line.card for line in lines})} models",
        rows=tuple(_row(line) for line in lines),
    )


def read_shipped() -> Reading:
    """The signals that come with the package, to be kept beside those that are read later."""
    return read((resources.files("changeover.library") / "data" / SHIPPED).read_bytes(), SHIPPED)


def _lines(data: bytes, where: str) -> list[_Line]:
    rows = Rows(where, WHAT)
    texts = [(place, text) for place, text in enumerate(data.split(b"\n"), start=1) if text.strip()]
    named = [(f"line {place}", json_of(text, f"{where}: line {place}")) for place, text in texts]
    made = list(rows.each(named, _Line, _checked))
    if bad := rows.notes():
        raise ConfigError(f"`{where}` is no {WHAT}: {bad[0].removeprefix('left out: ')}. Nothing was written.")
    return made


def _checked(name: str, line: _Line) -> _Line:
    if line.fact not in SIGNALS:
        raise ValueError(f"`{line.fact}` is no signal; they are {', '.join(SIGNALS)}")
    if (line.fact == DATED) != isinstance(line.value, str):
        raise ValueError(
            f"`{line.fact}` = `{line.value}`: {'a date' if line.fact == DATED else 'a number'} is expected"
        )
    if line.fact == DATED:
        date.fromisoformat(str(line.value))
    elif not 0 <= float(line.value) < LARGEST:
        raise ValueError(f"`{line.fact}` is not a number from 0 to {LARGEST:g}")
    return line


def _row(line: _Line) -> Row:
    said = Said(
        fact=line.fact,
        value=line.value,
        locator=f"{line.source}; {line.note}" if line.note else line.source,
        grade=line.grade,
        as_of=line.as_of,
        read=line.read,
    )
    return Row(name=line.card, card=line.card, said=(said,))


@cache
def _shipped() -> tuple[Observation, ...]:
    return observations(read_shipped(), Names(Catalogue({})), datetime.now(UTC))
