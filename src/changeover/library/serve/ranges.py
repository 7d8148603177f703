"""Which bytes of a file a request wants, and whether it has them already: RFC 9110, sections 13 and 14."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)
MOST_DIGITS = 18


@dataclass(frozen=True)
class Span:
    """Bytes from `first` to before `end`."""

    first: int
    end: int

    def __len__(self) -> int:
        return self.end - self.first


class Unsatisfiable(Exception):
    """No byte of the file is in the range that was asked for."""


def wanted(asked: str | None, size: int) -> Span | None:
    """The part of a file that a `Range` header asks for.

    Several ranges, another unit and nonsense are as no header at all, as the standard allows: then the whole is sent.

    Returns:
        None: all of it.

    Raises:
        Unsatisfiable: The range lies behind the end.

    >>> wanted("bytes=2-", 10), wanted("bytes=-3", 10), wanted("bytes=0-99", 10), wanted("bytes=1-2,4-5", 10)
    (Span(first=2, end=10), Span(first=7, end=10), Span(first=0, end=10), None)
    """
    found = None if asked is None else _ONE.fullmatch(asked)
    if found is None or max(map(len, found.groups())) > MOST_DIGITS:
        return None
    first, last = found.groups()
    if first and last and int(first) > int(last):
        return None
    if first:
        span = Span(int(first), min(int(last) + 1, size) if last else size)
    elif last:
        span = Span(max(size - int(last), 0), size)
    else:
        return None
    if span.first >= span.end:
        raise Unsatisfiable
    return span


def is_listed(etag: str, listed: str | None) -> bool:
    """Whether `If-None-Match` names a file's tag: whoever asks has it already.

    >>> is_listed('"a"', 'W/"b", W/"a"'), is_listed('"a"', "*"), is_listed('"a"', None)
    (True, True, False)
    """
    if listed is None:
        return False
    return listed.strip() == "*" or etag in {each.strip().removeprefix("W/") for each in listed.split(",")}
