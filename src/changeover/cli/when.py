"""Moments and lengths of time as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from changeover.core.errors import ConfigError

_LENGTH = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LENGTHS = "a length such as `30m`, `12h`, `7d` or `2w`"


def length(text: str, option: str) -> timedelta:
    """A length of time such as `7d`.

    Raises:
        ConfigError: It is none; names the option.
    """
    found = _length(text)
    if found is None or not found:
        raise ConfigError(f"`{option} {text}`: write {_LENGTHS}.")
    return found


def moment(text: str, now: datetime, option: str) -> datetime:
    """A moment: a length of time before now, or a date or time; UTC where it names no zone.

    Raises:
        ConfigError: It is none; names the option.
    """
    ago = _length(text)
    try:
        found = now - ago if ago is not None else datetime.fromisoformat(text.strip())
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise ConfigError(
            f"`{option} {text}`: write {_LENGTHS}, or a date such as `2026-11-01` or `2026-11-01T08:00`."
        ) from exc


def after(text: str, now: datetime, option: str) -> datetime:
    """A moment to come: a length of time from now, or a date.

    Raises:
        ConfigError: It is none, or lies in the past; names the option.
    """
    later = _length(text)
    try:
        found = now + later if later is not None else moment(text, now, option)
    except OverflowError as exc:
        raise ConfigError(f"`{option} {text}` is further away than dates go.") from exc
    if found <= now:
        raise ConfigError(f"`{option} {text}` lies in the past.")
    return found


def _length(text: str) -> timedelta | None:
    found = _LENGTH.fullmatch(text.strip())
    return None if found is None else timedelta(**{_UNITS[found[2]]: int(found[1])})
