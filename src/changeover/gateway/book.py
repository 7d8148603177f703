"""All leases of one gateway: what to tell the store about them next, and what its answer makes of them. No waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from changeover.core.clock import Clock
from changeover.gateway.leases import Bucket, Lease
from changeover.gateway.limits import Limit
from changeover.gateway.spending import Claim, Holding

LEASE_S = 15.0
"""A lease that is not renewed for so long has run out. Clocks of gateways must agree much better than that."""
RENEW_S = LEASE_S / 3
TICK_S = 0.5
"""How often the pace of requests is looked at."""
QUIET_TICKS = 10
"""After so many ticks without a request a lease is given back."""
SOON_S = 1.5
"""So long before a period ends, the next one's lease is asked for, where requests are coming in."""
SWEEP_S = 5.0
"""How often leases of gateways that died are looked for."""
FORGET_S = 600.0
"""How often rows of periods long over are deleted."""


@dataclass(slots=True)
class Subject:
    """What one conversation with the store is about."""

    leases: list[Lease]
    claims: list[Claim]
    sweep: bool = False
    """Also settle leases of others that have run out."""
    forget: bool = False
    """Also delete rows of periods long over."""


@dataclass(slots=True)
class _Timer:
    """Says when something is due again."""

    every_s: float
    last: float = field(default=float("-inf"))

    def due(self, now: float) -> bool:
        if now - self.last < self.every_s:
            return False
        self.last = now
        return True


class Book:
    """Every bucket and every lease of one gateway."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str, str], Bucket] = {}
        self._leases: list[Lease] = []
        self._tick, self._sweep, self._forget = _Timer(TICK_S), _Timer(SWEEP_S), _Timer(FORGET_S)

    def bucket(self, holder: str, name: str, limit: Limit) -> Bucket:
        """The bucket of a holder's limit, with the amount that holds now."""
        place = (holder, limit.unit, limit.per)
        bucket = self._buckets.get(place)
        if bucket is None:
            bucket = self._buckets[place] = Bucket(holder, name, limit)
        elif bucket.limit.amount != limit.amount:
            bucket.limit, bucket.refusal = limit, None
        return bucket

    def lease(self, bucket: Bucket, now: datetime) -> Lease:
        """The lease of the period that `now` lies in; an empty one where there is none yet."""
        lease, begun = bucket.lease_at(now)
        if begun:
            self._leases.append(lease)
        return lease

    def subject(self, wants: Mapping[Bucket, tuple[int, ...]], *, sweep: bool) -> Subject:
        """What there is to say: report what was used, renew, ask for more, give back.

        Args:
            wants: Of requests that wait for the store, in order.
            sweep: Look for leases that have run out, due or not.
        """
        now = self._clock.monotonic()
        if self._tick.due(now):
            for bucket in self._buckets.values():
                bucket.tick()
        self._begin_periods()
        subject = Subject([], [], self._sweep.due(now) or sweep, self._forget.due(now))
        kept: list[Lease] = []
        for lease in self._leases:
            bucket = lease.bucket
            wanted = wants.get(bucket, ()) if lease is bucket.lease else ()
            over = not lease.current or (bucket.quiet > QUIET_TICKS and not wanted)
            back = 0 if wanted else max(0, lease.free if over else bucket.surplus(lease))
            if lease.used or wanted or back or _worth_asking(lease, now):
                lease.amount -= back
                subject.leases.append(lease)
                subject.claims.append(lease.claim(wanted, back, 0 if over else bucket.target(lease)))
            elif over and lease.amount <= 0 and not lease.reserved:
                _drop(lease)
                continue
            kept.append(lease)
        self._leases = kept
        return subject

    def granted(self, subject: Subject, held: Sequence[Holding]) -> None:
        """Take over what the store said."""
        now = self._clock.monotonic()
        for lease, claim, holding in zip(subject.leases, subject.claims, held, strict=True):
            lease.granted(claim, holding, now)
            if lease is lease.bucket.lease:
                lease.bucket.low = lease.bucket.hold(lease) // 4

    def failed(self, subject: Subject) -> None:
        """The store did not hear it: what was to be given back is still here."""
        for lease, claim in zip(subject.leases, subject.claims, strict=True):
            lease.amount += claim.back

    def end(self) -> list[Claim]:
        """The last word: everything used is reported, everything else given back."""
        claims: list[Claim] = []
        for lease in self._leases:
            # Requests that were cut off are settled already; what nobody settled was not used.
            lease.reserved = 0
            back = max(0, lease.free)
            if lease.amount > 0 or lease.used:
                lease.amount -= back
                claims.append(lease.claim((), back, 0))
        self._leases, self._buckets = [], {}
        return claims

    def _begin_periods(self) -> None:
        """Ask for the next period's leases a moment before it begins, so that its first requests need not wait."""
        now = self._clock.now()
        for bucket in self._buckets.values():
            lease = bucket.lease
            if lease is None or bucket.quiet > 1 or (lease.ends - now).total_seconds() > SOON_S:
                continue
            coming = bucket.prepare()
            if coming is not None:
                coming.left = bucket.limit.amount
                self._leases.append(coming)


def _worth_asking(lease: Lease, now: float) -> bool:
    if lease.amount > 0 and now - lease.renewed > RENEW_S:
        return True
    return lease.free < lease.bucket.hold(lease) // 4


def _drop(lease: Lease) -> None:
    bucket = lease.bucket
    if bucket.lease is lease:
        bucket.lease = None
    if bucket.coming is lease:
        bucket.coming = None
