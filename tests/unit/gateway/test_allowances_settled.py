"""The arithmetic of limits: whatever gateways do, in whatever order, a limit holds."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from changeover.gateway.leases import AHEAD, NOTHING, Bucket, Lease, Reservation, Wanted
from changeover.gateway.limits import parse_limit
from changeover.gateway.spending import Claim, Row, settled

NOW = datetime(2026, 11, 25, 12, 0, 30, tzinfo=UTC)
ROW = Row("key:k", "tokens", "day", NOW)


def claim(**fields: object) -> Claim:
    return Claim(**{"id": "l", "row": ROW, "limit": 100, "amount": 0, "known": False, **fields})  # type: ignore[arg-type]


def test_what_is_asked_is_given_and_a_share_of_the_rest_beside() -> None:
    got = settled(claim(wants=(5,), target=50), spent=0, leased=0, lease=None)
    assert (got.amount, got.spent, got.leased) == (5 + 95 // 8, 0, 5 + 95 // 8)


def test_the_last_units_go_to_who_asks_and_none_beside() -> None:
    got = settled(claim(wants=(1, 1, 1), target=50), spent=90, leased=5, lease=None)
    assert (got.amount, got.leased) == (3, 8)


def test_a_request_that_is_too_large_does_not_keep_smaller_ones_out() -> None:
    got = settled(claim(wants=(50, 3, 4)), spent=90, leased=0, lease=None)
    assert got.amount == 7


def test_what_was_used_beyond_the_lease_is_spent_all_the_same() -> None:
    got = settled(claim(amount=10, known=True, used=25), spent=80, leased=10, lease=10)
    assert (got.amount, got.spent, got.leased) == (0, 105, 0)


def test_a_lease_that_ran_out_was_spent_and_is_not_counted_twice() -> None:
    assert settled(claim(amount=10, known=True, used=4), spent=10, leased=0, lease=None).spent == 10
    assert settled(claim(amount=10, known=True, used=14), spent=10, leased=0, lease=None).spent == 14


def test_what_is_promised_of_a_lease_that_ran_out_is_counted_once_when_it_is_used() -> None:
    got = settled(claim(amount=10, known=True, used=4, reserved=3), spent=10, leased=0, lease=None)
    assert (got.amount, got.spent, got.leased) == (3, 7, 3)


def test_places_that_ran_out_while_their_requests_went_on_are_taken_again() -> None:
    row = ROW._replace(unit="concurrent", per="now")
    got = settled(claim(row=row, limit=4, amount=3, known=True, reserved=3), spent=0, leased=0, lease=None)
    assert (got.amount, got.spent, got.leased) == (3, 0, 3)


class Gateways:
    """Several gateways on one row of the store, without a store."""

    def __init__(self, limit: int, count: int, unit: str) -> None:
        written = f"concurrent={limit}" if unit == "concurrent" else f"{unit}/day={limit}"
        buckets = [Bucket("key:k", "Key `k`", parse_limit(written)) for _ in range(count)]
        self.leases = [bucket.lease_at(NOW)[0] for bucket in buckets]
        self.spent = self.leased = 0
        self.stored: dict[str, int] = {}
        self.open: list[tuple[Reservation, int]] = []
        self.used = 0

    def reserve(self, lease: Lease, amount: int) -> None:
        if lease.free >= amount:
            lease.reserved += amount
            lease.bucket.taken += amount
            lease.bucket.largest = max(lease.bucket.largest, amount)
            self.open.append((Reservation((lease,), Wanted(amount, amount, amount, amount)), amount))

    def settle(self, place: int, share: float) -> None:
        if self.open:
            reservation, amount = self.open.pop(place % len(self.open))
            used = int(amount * share)
            self.used += used
            reservation.settle(Wanted(requests=used, tokens=used))

    def talk(self, lease: Lease, wants: tuple[int, ...]) -> None:
        back = 0 if wants else max(0, lease.bucket.surplus(lease))
        lease.amount -= back
        said = lease.claim(wants, back, lease.bucket.target(lease))
        held = settled(said, self.spent, self.leased, self.stored.get(said.id))
        self.spent, self.leased = held.spent, held.leased
        self.stored.pop(said.id, None)
        if held.amount:
            self.stored[said.id] = held.amount
        lease.granted(said, held, 0)
        for amount in wants:
            self.reserve(lease, amount)

    def run_out(self, lease: Lease) -> None:
        amount = self.stored.pop(lease.id, 0)
        self.leased -= amount
        if lease.row.unit != "concurrent":
            self.spent += amount


OPS = st.one_of(
    st.tuples(st.just("reserve"), st.integers(0, 2), st.integers(1, 9)),
    st.tuples(st.just("settle"), st.integers(0, 50), st.sampled_from([0.0, 0.5, 1.0])),
    st.tuples(st.just("talk"), st.integers(0, 2), st.lists(st.integers(1, 9), max_size=4)),
    st.tuples(st.just("run out"), st.integers(0, 2), st.none()),
)


@settings(max_examples=300, deadline=None)
@example(limit=2, ops=[("talk", 2, [2]), ("run out", 2, None), ("talk", 2, []), ("settle", 0, 0.5), ("talk", 2, [])])
@given(limit=st.integers(1, 120), ops=st.lists(OPS, max_size=60))
def test_no_order_of_events_lets_more_through_than_the_limit(limit: int, ops: list[tuple[str, int, object]]) -> None:
    all_ = Gateways(limit, 3, "tokens")
    for op, who, what in ops:
        if op == "settle":
            all_.settle(who, what)  # type: ignore[arg-type]
        elif op == "reserve":
            all_.reserve(all_.leases[who], what)  # type: ignore[arg-type]
        elif op == "talk":
            all_.talk(all_.leases[who], tuple(what))  # type: ignore[arg-type]
        else:
            all_.run_out(all_.leases[who])
        assert all_.used + sum(amount for _, amount in all_.open) <= limit
        assert all_.spent + all_.leased <= limit
        assert all_.leased == sum(all_.stored.values())
    for lease in all_.leases:
        all_.talk(lease, ())
    assert all_.spent >= all_.used  # exactly, where none ran out: the next test


@settings(max_examples=100, deadline=None)
@given(limit=st.integers(1, 120), ops=st.lists(OPS.filter(lambda op: op[0] != "run out"), max_size=60))
def test_when_all_is_reported_exactly_what_was_used_is_spent(limit: int, ops: list[tuple[str, int, object]]) -> None:
    all_ = Gateways(limit, 3, "tokens")
    for op, who, what in ops:
        if op == "settle":
            all_.settle(who, what)  # type: ignore[arg-type]
        elif op == "reserve":
            all_.reserve(all_.leases[who], what)  # type: ignore[arg-type]
        else:
            all_.talk(all_.leases[who], tuple(what))  # type: ignore[arg-type]
    while all_.open:
        all_.settle(0, 1.0)
    for lease in all_.leases:
        all_.talk(lease, ())
    assert all_.spent == all_.used


@settings(max_examples=100, deadline=None)
@given(limit=st.integers(1, 12), ops=st.lists(OPS.filter(lambda op: op[0] != "run out"), max_size=60))
def test_no_more_requests_are_under_way_than_may_be(limit: int, ops: list[tuple[str, int, object]]) -> None:
    all_ = Gateways(limit, 3, "concurrent")
    for op, who, what in ops:
        if op == "settle":
            all_.settle(who, 1.0)
        elif op == "reserve":
            all_.reserve(all_.leases[who], 1)
        else:
            all_.talk(all_.leases[who], (1,) * len(what))  # type: ignore[arg-type]
        assert len(all_.open) <= limit
        assert all_.spent == 0


def test_a_reservation_is_settled_once() -> None:
    all_ = Gateways(100, 1, "tokens")
    [lease] = all_.leases
    all_.talk(lease, (10,))
    [(reservation, _)] = all_.open
    reservation.settle(Wanted(tokens=4))
    reservation.settle(Wanted(tokens=4))
    reservation.settle(NOTHING)
    assert (lease.used, lease.reserved) == (4, 0)


def test_what_an_engine_claims_to_have_used_is_bounded() -> None:
    all_ = Gateways(100, 1, "tokens")
    [lease] = all_.leases
    all_.talk(lease, (1, 1))
    for (reservation, _), said in zip(all_.open, (10**40, -5), strict=True):
        reservation.settle(Wanted(tokens=said))
    assert 0 < lease.used <= 10**15


def test_refusals_say_which_limit_how_much_and_when_to_try_again() -> None:
    bucket = Bucket("team:desk", "Team `desk`", parse_limit("usd/hour=2.50"))
    lease, _ = bucket.lease_at(NOW)
    lease.spent = 2_490_000
    spent = bucket.refused(50_000, lease, NOW)
    assert spent.message == (
        "Team `desk` may use 2.50 USD an hour; used so far: 2.49 USD, and this request may need 0.05 USD. "
        "It starts anew at 2026-11-25 13:00 UTC."
    )
    assert (spent.code, spent.retry_after_s, spent.status) == ("budget_exhausted", 3570, 429)
    lease.spent = 1_000_000
    promised = bucket.refused(50_000, lease, NOW)
    assert "promised to requests under way" in promised.message
    assert (promised.code, promised.retry_after_s) == ("rate_limited", 1)
    assert "more than the 2.50 USD an hour that team `desk` may ever use" in bucket.impossible(3_000_000).message


@pytest.mark.parametrize(("per", "retry_after_s"), [("minute", 30), ("day", 43_170), ("total", 86_400)])
def test_a_limit_that_is_used_up_says_when_its_period_ends(per: str, retry_after_s: float) -> None:
    bucket = Bucket("key:k", "Key `k`", parse_limit(f"requests/{per}=1"))
    lease, _ = bucket.lease_at(NOW)
    lease.spent = 1
    assert bucket.refused(1, lease, NOW).retry_after_s == retry_after_s


def test_a_quiet_gateway_wants_to_hold_nothing_and_a_busy_one_what_it_needs() -> None:
    bucket = Bucket("key:k", "Key `k`", parse_limit("tokens/day=1M"))
    lease, _ = bucket.lease_at(NOW)
    assert bucket.target(lease) == 0
    bucket.taken, bucket.largest = 5_000, 100
    assert bucket.target(lease) == 10_000
    for _ in range(20):
        bucket.tick()
    assert bucket.target(lease) <= AHEAD
