"""Limits as people write them, and the periods they are for."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeover.core.errors import ConfigError
from changeover.gateway.limits import PERIODS, UNITS, Limit, change_limits, parse_limit, period_of


@pytest.mark.parametrize(
    ("text", "unit", "per", "amount"),
    [
        ("requests/minute=600", "requests", "minute", 600),
        ("tokens/minute=100k", "tokens", "minute", 100_000),
        ("tokens/day=2.5M", "tokens", "day", 2_500_000),
        ("tokens/total=1_000_000", "tokens", "total", 1_000_000),
        ("usd/month=50", "usd", "month", 50_000_000),
        ("usd/week=$0.25", "usd", "week", 250_000),
        ("concurrent=8", "concurrent", "now", 8),
        (" requests / hour = 10 ", "requests", "hour", 10),
    ],
)
def test_a_limit_is_read_as_it_is_written(text: str, unit: str, per: str, amount: int) -> None:
    limit = parse_limit(text)
    assert (limit.unit, limit.per, limit.amount) == (unit, per, amount)
    assert parse_limit(str(limit)) == limit
    assert Limit.from_document(limit.document()) == limit


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("request/minute=5", "Did you mean `requests`?"),
        ("requests/minutes=5", "Did you mean `minute`?"),
        ("requests/fortnight=5", "Known: day, hour"),
        ("requests=5", "over which period?"),
        ("concurrent/minute=5", "has no period"),
        ("concurrent=0", "above 0"),
        ("tokens/day=1.5", "finer than a whole number"),
        ("usd/day=0.00000001", "finer than a millionth"),
        ("tokens/day=-4", "is no amount"),
        ("tokens/day=1e9", "is no amount"),
        ("tokens/day=", "is no amount"),
        ("tokens/day=9999999999999M", "at most"),
        ("lots", "is no limit"),
        ("tokens/day=1'; DROP TABLE keys; --", "is no amount"),
        ("", "is no limit"),
    ],
)
def test_what_is_no_limit_is_refused_with_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_limit(text)
    assert says in caught.value.message


@given(st.text(max_size=40))
def test_no_text_makes_the_reader_of_limits_fail_otherwise(text: str) -> None:
    try:
        limit = parse_limit(text)
    except ConfigError:
        return
    assert limit.unit in UNITS
    assert limit.amount > 0


def test_changes_add_replace_and_remove_single_limits() -> None:
    now = change_limits((), ["usd/month=50", "requests/minute=600"])
    assert list(map(str, now)) == ["requests/minute=600", "usd/month=50"]
    after = change_limits(now, ["usd/month=80", "requests/minute=none", "concurrent=4"])
    assert list(map(str, after)) == ["usd/month=80", "concurrent=4"]
    with pytest.raises(ConfigError, match="no such limit to remove"):
        change_limits(now, ["tokens/day=none"])
    with pytest.raises(ConfigError, match="given twice"):
        change_limits(now, ["usd/month=1", "usd/month=2"])


@pytest.mark.parametrize(
    ("per", "start", "end"),
    [
        ("minute", "2026-12-31 23:59", "2027-01-01 00:00"),
        ("hour", "2026-12-31 23:00", "2027-01-01 00:00"),
        ("day", "2026-12-31 00:00", "2027-01-01 00:00"),
        ("week", "2026-12-28 00:00", "2027-01-04 00:00"),
        ("month", "2026-12-01 00:00", "2027-01-01 00:00"),
    ],
)
def test_periods_are_of_the_calendar_in_utc(per: str, start: str, end: str) -> None:
    assert per in PERIODS
    found = period_of(per, datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))  # type: ignore[arg-type]
    assert [f"{at:%Y-%m-%d %H:%M}" for at in found] == [start, end]
