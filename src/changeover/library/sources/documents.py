"""Reading what others wrote: JSON and its rows, checked. Half a file is refused; a row that is wrong is left out and named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec

from changeover.core.errors import ConfigError

MOST_BYTES: Final = 64 << 20
"""Of a list of models. The longest one that is known has about 4 MB."""
MOST_BAD: Final = 0.05
"""Share of rows that may be wrong. With more the file is of another kind."""
NAMED: Final = 3
"""Rows that are named; the others are counted."""

Shape = TypeVar("Shape")
Made = TypeVar("Made")


def read_file(path: Path, *, most_bytes: int = MOST_BYTES) -> bytes:
    """The bytes of a file that somebody brought.

    Raises:
        ConfigError: It is not there, is not readable, or is far too long to be a list of models.
    """
    try:
        size = path.stat().st_size
        if size > most_bytes:
            raise ConfigError(
                f"`{path}` has {size} bytes; a list of models has at most {most_bytes}. Name another file."
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"No file `{path}`. Fetch it, or name another.") from None
    except OSError as exc:
        raise ConfigError(f"`{path}` cannot be read: {exc.strerror or exc}.") from exc


def json_of(data: bytes, where: str) -> Any:
    """The document.

    Raises:
        ConfigError: It is not JSON, or not all of it.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        said = str(exc) or "nested too deeply"
        raise ConfigError(f"`{where}` is not whole JSON ({said}). Nothing was written; fetch it again.") from exc


def mapping_of(value: Any, where: str, what: str) -> dict[str, Any]:
    """The document as a table of what it should list.

    Raises:
        ConfigError: It is something else, or empty.
    """
    if not isinstance(value, dict) or not value:
        raise ConfigError(f"`{where}` is no {what}: it has no table of them. Nothing was written; name another file.")
    return cast("dict[str, Any]", value)


def shaped(value: Any, shape: type[Shape]) -> Shape:
    """A value of the shape that is expected; keys that nobody asked for are passed over.

    Raises:
        msgspec.ValidationError: Something is missing or of another kind.
    """
    return msgspec.convert(value, type=shape)


class Rows:
    """Rows that are checked one by one, with what was wrong with those that are left out."""

    def __init__(self, where: str, what: str) -> None:
        self._where = where
        self._what = what
        self._read = 0
        self._bad: list[str] = []

    def each(
        self, named: Iterable[tuple[str, Any]], shape: type[Shape], make: Callable[[str, Shape], Made]
    ) -> Iterator[Made]:
        """What is made of each row that has the shape, and whose numbers and times can be some."""
        for name, value in named:
            self._read += 1
            try:
                yield make(name, shaped(value, shape))
            except (msgspec.ValidationError, ValueError, OverflowError, OSError) as exc:
                self._bad.append(f"`{name[:80]}`: {str(exc).rstrip('.')[:160]}")

    @property
    def read(self) -> int:
        """Rows so far, right or wrong."""
        return self._read

    def notes(self) -> tuple[str, ...]:
        """What was left out.

        Raises:
            ConfigError: So much that this is not the kind of file it should be, or there was nothing at all.
        """
        if not self._read:
            raise ConfigError(f"`{self._where}` is no {self._what}: it has no rows. Nothing was written.")
        if len(self._bad) > MOST_BAD * self._read:
            raise ConfigError(
                f"`{self._where}` is no {self._what}: {len(self._bad)} of {self._read} rows are not as they should be. "
                f"The first: {self._bad[0]}. Nothing was written."
            )
        rest = len(self._bad) - NAMED
        more = (f"left out: {rest} more rows that are not as they should be",) if rest > 0 else ()
        return (*(f"left out: {bad}" for bad in self._bad[:NAMED]), *more)
