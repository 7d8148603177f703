"""How much a key or a team may use: limits as people write them, as they are stored, and the periods they are for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, cast, get_args

from changeover.core.errors import CapacityError, ConfigError, nearest

Unit = Literal["requests", "tokens", "usd", "concurrent"]
"""What is counted. `usd` in millionths; `concurrent` is given back when a request ends."""
Per = Literal["minute", "hour", "day", "week", "month", "total", "now"]
"""Over which period, in UTC, weeks from Monday. `now` belongs to `concurrent` only."""

UNITS: tuple[Unit, ...] = get_args(Unit)
PERIODS: tuple[Per, ...] = tuple(per for per in get_args(Per) if per != "now")
MICRO = 1_000_000
"""Millionths in one US dollar."""
MOST = 10**15
"""Largest amount of a limit, in what is stored: far below what the store's whole numbers hold."""
SHAPE = "Write it as `requests/minute=600`, `tokens/day=2M`, `usd/month=50` or `concurrent=8`."

FIRST = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)

_WRITTEN = re.compile(r"([^/=]+)(?:/([^=]*))?=(.*)", re.DOTALL)
_AMOUNT = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?)([kKmM]?)")
_TIMES = {"": 1, "k": 1_000, "m": 1_000_000}


class LimitError(CapacityError):
    """A limit of the key, or of its team, leaves no room for this request now."""

    def __init__(
        self, message: str, *, code: Literal["rate_limited", "budget_exhausted"], retry_after_s: float
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.code = code


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """At most `amount` of a unit in a period."""

    unit: Unit
    per: Per
    amount: int
    """Requests, tokens, millionths of a US dollar, or requests at once."""

    def __str__(self) -> str:
        """The limit as people write it."""
        name = self.unit if self.unit == "concurrent" else f"{self.unit}/{self.per}"
        return f"{name}={amount_text(self.unit, self.amount).replace(',', '')}"

    def document(self) -> dict[str, Any]:
        """The JSON value that is stored."""
        return {"unit": self.unit, "per": self.per, "amount": self.amount}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Limit:
        return cls(unit=document["unit"], per=document["per"], amount=document["amount"])


def parse_limit(text: str) -> Limit:
    """Read a limit such as `requests/minute=600`; `k` and `M` are thousands and millions.

    Raises:
        ConfigError: It is none; says which part, and the nearest known name.
    """
    unit, per, amount = _parts(text)
    return Limit(unit=unit, per=per, amount=_amount(text, unit, amount))


def change_limits(now: Sequence[Limit], changes: Iterable[str]) -> tuple[Limit, ...]:
    """Limits after changes: `requests/minute=600` adds or replaces that limit, `requests/minute=none` removes it.

    Raises:
        ConfigError: A change cannot be read, is there twice, or removes what is not there.
    """
    after = {(limit.unit, limit.per): limit for limit in now}
    seen: set[tuple[str, str]] = set()
    for text in changes:
        unit, per, amount = _parts(text)
        if (unit, per) in seen:
            raise ConfigError(f"`{text}`: this limit is given twice. Give each once.")
        seen.add((unit, per))
        if amount.strip().lower() != "none":
            after[unit, per] = Limit(unit=unit, per=per, amount=_amount(text, unit, amount))
        elif after.pop((unit, per), None) is None:
            there = ", ".join(f"`{limit}`" for limit in now) or "none"
            raise ConfigError(f"`{text}`: there is no such limit to remove. There is: {there}.")
    return tuple(sorted(after.values(), key=lambda limit: (UNITS.index(limit.unit), get_args(Per).index(limit.per))))


def amount_text(unit: Unit, amount: int) -> str:
    """An amount for people: dollars with as many decimals as they need, the rest in whole numbers.

    >>> amount_text("usd", 12_500_000), amount_text("tokens", 100_000)
    ('12.50', '100,000')
    """
    if unit != "usd":
        return f"{amount:,}"
    if amount % MICRO == 0:
        return f"{amount // MICRO:,}"
    text = f"{amount / MICRO:,.6f}".rstrip("0")
    return text if len(text.partition(".")[2]) > 1 else f"{amount / MICRO:,.2f}"


def period_of(per: Per, now: datetime) -> tuple[datetime, datetime]:
    """Start and end of the period that a moment lies in, in UTC."""
    if per in ("total", "now"):
        return FIRST, LAST
    minute = now.astimezone(UTC).replace(second=0, microsecond=0)
    if per == "minute":
        return minute, minute + timedelta(minutes=1)
    hour = minute.replace(minute=0)
    if per == "hour":
        return hour, hour + timedelta(hours=1)
    day = hour.replace(hour=0)
    if per == "day":
        return day, day + timedelta(days=1)
    if per == "week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    first = day.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)


def _parts(text: str) -> tuple[Unit, Per, str]:
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"`{text}` is no limit. {SHAPE}")
    unit, per, amount = found[1].strip(), found[2], found[3]
    if unit not in UNITS:
        raise ConfigError(f"`{text}`: nothing is counted in `{unit}`. {nearest(unit, UNITS)}")
    if unit == "concurrent":
        if per is not None:
            raise ConfigError(f"`{text}`: `concurrent` has no period, it is how many at once. {SHAPE}")
        return unit, "now", amount
    if per is None or not per.strip():
        raise ConfigError(f"`{text}`: over which period? One of {', '.join(PERIODS)}. {SHAPE}")
    if per.strip() not in PERIODS:
        raise ConfigError(f"`{text}`: no period `{per.strip()}`. {nearest(per.strip(), PERIODS)}")
    return cast("Unit", unit), cast("Per", per.strip()), amount


def _amount(text: str, unit: Unit, amount: str) -> int:
    found = _AMOUNT.fullmatch(amount.strip().removeprefix("$") if unit == "usd" else amount.strip())
    if found is None:
        raise ConfigError(f"`{text}`: `{amount}` is no amount. {SHAPE}")
    try:
        value = Decimal(found[1].replace("_", "").replace(",", "")) * _TIMES[found[2].lower()]
    except InvalidOperation as exc:
        raise ConfigError(f"`{text}`: `{amount}` is no amount. {SHAPE}") from exc
    stored = value * MICRO if unit == "usd" else value
    if stored != stored.to_integral_value():
        finest = "a millionth of a dollar" if unit == "usd" else "a whole number"
        raise ConfigError(f"`{text}`: `{amount}` is finer than {finest}.")
    if not 1 <= stored <= MOST:
        raise ConfigError(f"`{text}`: the amount must be above 0 and at most {amount_text(unit, MOST)}.")
    return int(stored)
