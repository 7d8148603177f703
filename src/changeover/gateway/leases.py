"""What one gateway holds of each limit, in memory: buckets and their leases. No store, no clock, no waiting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from changeover.core.errors import RequestError
from changeover.core.ids import new_id
from changeover.gateway.limits import MOST, Limit, LimitError, amount_text, period_of
from changeover.gateway.spending import SHARE, Claim, Holding, Row

AHEAD = 8
"""A gateway holds units for so many of the largest requests it has seen lately, if there are enough."""
BUDGETS = ("day", "week", "month", "total")
"""Limits over these periods, and every limit in dollars, are budgets; the others are rates."""
NEVER_S = 86_400.0
"""What to say of a limit that does not start anew: ask again tomorrow, somebody may have raised it."""


class Wanted(NamedTuple):
    """What a request may use at most; settling, what it really used."""

    requests: int = 1
    tokens: int = 0
    microusd: int = 0
    """Millionths of a US dollar."""
    concurrent: int = 1
    zero: int = 0
    """Always: what is really used up of requests at once."""


PLACE = {"requests": 0, "tokens": 1, "usd": 2, "concurrent": 3}
"""Where a unit stands in `Wanted`."""
NEVER_USED = 4
NOTHING = Wanted(requests=0)


@dataclass(slots=True, eq=False)
class Lease:
    """A part of one limit in one period that this gateway may give to requests without asking."""

    bucket: Bucket
    row: Row
    ends: datetime
    """Of the period."""
    id: str = field(default_factory=lambda: new_id("lea"))
    amount: int = 0
    """As the store knows it, less what is on its way back there."""
    reserved: int = 0
    used: int = 0
    """Not reported yet."""
    spent: int = 0
    """By all gateways, as the store said last."""
    left: int = 0
    """That the store could still give out, as it said last."""
    known: bool = False
    """The store has had it."""
    renewed: float = float("-inf")
    """Monotonic time of the last answer of the store."""

    @property
    def free(self) -> int:
        return self.amount - self.reserved - self.used

    @property
    def free_alone(self) -> int:
        """What is left of the limit by this gateway's own count, while the store cannot be asked."""
        return max(self.free, self.bucket.limit.amount - self.spent - self.reserved - self.used)

    @property
    def current(self) -> bool:
        return self.bucket.lease is self or self.bucket.coming is self

    def claim(self, wants: tuple[int, ...], back: int, target: int) -> Claim:
        """What to tell the store; `back` has been taken off `amount` already."""
        return Claim(
            id=self.id,
            row=self.row,
            limit=self.bucket.limit.amount,
            amount=self.amount + back,
            known=self.known,
            used=self.used,
            reserved=self.reserved,
            back=back,
            wants=wants,
            target=target,
        )

    def granted(self, claim: Claim, holding: Holding, now: float) -> None:
        """Take over what the store said. Requests went on meanwhile: only what was reported is subtracted."""
        self.used -= claim.used
        self.amount = holding.amount
        self.spent = holding.spent
        self.left = max(0, claim.limit - holding.spent - holding.leased)
        self.known = holding.amount > 0
        self.renewed = now
        if not self.known:
            self.id = new_id("lea")  # the next one is another: this one's end may still be on its way


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the store said to a request, remembered for a moment: the next one is refused without asking again."""

    until: float
    """Monotonic."""
    amount: int
    """Refused is who wants as much or more."""


@dataclass(slots=True, eq=False)
class Bucket:
    """One limit of one holder, at this gateway."""

    holder: str
    name: str
    """For people, such as "Key `invoices`"."""
    limit: Limit
    lease: Lease | None = None
    coming: Lease | None = None
    """Of the next period, taken before it begins."""
    waiting: int = 0
    """Requests that wait for the store; who comes later waits behind them."""
    low: int = 0
    """With less than this free, it is time to ask for more."""
    taken: int = 0
    """Units reserved since the last tick."""
    pace: int = 0
    """Units reserved in a tick, lately."""
    largest: int = 0
    """Request, lately."""
    quiet: int = 0
    """Ticks without a request."""
    refusal: Refusal | None = None
    place: int = field(init=False)
    """Of its unit in `Wanted`."""
    counted: int = field(init=False)
    """The same, for what was really used: of requests at once nothing is, they only come back."""

    def __post_init__(self) -> None:
        self.place = PLACE[self.limit.unit]
        self.counted = NEVER_USED if self.limit.unit == "concurrent" else self.place

    def lease_at(self, now: datetime) -> tuple[Lease, bool]:
        """The lease of the period that `now` lies in, and whether it was begun just now."""
        lease = self.lease
        if lease is not None and now < lease.ends:
            return lease, False
        coming, self.coming, self.refusal = self.coming, None, None
        if coming is not None and coming.row.period <= now < coming.ends:
            self.lease = coming
            return coming, False
        self.lease = self._begin(now)
        return self.lease, True

    def prepare(self) -> Lease | None:
        """Begin the next period's lease, if it is not there yet."""
        if self.lease is None or self.coming is not None:
            return None
        self.coming = self._begin(self.lease.ends)
        return self.coming

    def _begin(self, now: datetime) -> Lease:
        start, end = period_of(self.limit.per, now)
        return Lease(bucket=self, row=Row(self.holder, self.limit.unit, self.limit.per, start), ends=end)

    def tick(self) -> None:
        """Let what was seen lately fade; called at even intervals."""
        self.pace = max(self.taken, self.pace // 2)
        self.quiet = 0 if self.taken else self.quiet + 1
        if self.quiet:
            self.largest //= 2
        self.taken = 0

    def target(self, lease: Lease) -> int:
        """Free units to hold, as fast as they went lately."""
        if lease is not self.lease and lease is not self.coming:
            return 0
        if self.limit.unit == "concurrent":
            return max(AHEAD, lease.reserved) if self.taken or not self.quiet else 0
        return max(AHEAD * self.largest, 2 * max(self.pace, self.taken))

    def hold(self, lease: Lease) -> int:
        """The target, or its part of what is left where that is less."""
        return min(self.target(lease), max(0, lease.left + lease.free) // SHARE)

    def surplus(self, lease: Lease) -> int:
        """Free units that others can have: what is far more than needed, and nearly all when there is little left."""
        free = lease.free
        enough = self.hold(lease) if lease.left < free else self.target(lease)
        return free - enough if free > 2 * enough else 0

    def refused(self, want: int, lease: Lease, now: datetime) -> LimitError:
        """Why a request has no room, and when to ask again."""
        limit = self.limit
        if limit.unit == "concurrent":
            text = f"{self.name} has {limit.amount} requests under way, as many as it may. Try again in a second."
            return LimitError(text, code="rate_limited", retry_after_s=1.0)
        told = f"{self.name} may use {_amount(limit, limit.amount)}{_period(limit)}"
        asked = "" if limit.unit == "requests" else f", and this request may need {_amount(limit, want)}"
        spent = lease.spent + lease.used
        if spent + want <= limit.amount:
            text = f"{told}; what is left of it is promised to requests under way{asked}. Try again in a second."
            return LimitError(text, code="rate_limited", retry_after_s=1.0)
        budget = limit.unit == "usd" or limit.per in BUDGETS
        code = "budget_exhausted" if budget else "rate_limited"
        used = f"{told}; used so far: {_amount(limit, spent)}{asked}."
        if limit.per == "total":
            return LimitError(f"{used} Ask for a higher limit.", code=code, retry_after_s=NEVER_S)
        seconds = max(1.0, (lease.ends - now).total_seconds())
        begins = f"{lease.ends:%Y-%m-%d %H:%M} UTC"
        return LimitError(f"{used} It starts anew at {begins}.", code=code, retry_after_s=seconds)

    def impossible(self, want: int) -> RequestError:
        """Why a request can never have room."""
        limit = self.limit
        return RequestError(
            f"This request may need {_amount(limit, want)}, more than the {_amount(limit, limit.amount)}"
            f"{_period(limit)} that {self.name[0].lower()}{self.name[1:]} may ever use. "
            "Send less, or ask for fewer tokens with `max_tokens`."
        )


@dataclass(slots=True, eq=False)
class Reservation:
    """What was promised to one request. Settle it once, whatever became of the request."""

    leases: Sequence[Lease]
    """Of each limit, one."""
    wanted: Wanted
    """What was promised of each."""
    open: bool = True

    def settle(self, used: Wanted) -> None:
        """Give it back, less what was used."""
        if not self.open:
            return
        self.open = False
        wanted = self.wanted
        for lease in self.leases:
            bucket = lease.bucket
            lease.reserved -= wanted[bucket.place]
            really = used[bucket.counted]
            if really > 0:
                # Bounded: engines say how much was used, and say what they like.
                lease.used += really if really < MOST else MOST


def _amount(limit: Limit, amount: int) -> str:
    number = amount_text(limit.unit, amount)
    if limit.unit == "usd":
        return f"{number} USD"
    return f"{number} {limit.unit}" if amount != 1 else f"1 {limit.unit.removesuffix('s')}"


def _period(limit: Limit) -> str:
    if limit.per == "total":
        return " in all"
    return f" an {limit.per}" if limit.per == "hour" else f" a {limit.per}"
