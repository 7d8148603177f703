"""Stage 3, limits: what a key and its team may still use, reserved before a request and settled after it.

The store knows what was spent of each limit and what is leased to which gateway; this gateway gives requests parts of
its leases in memory, and tells the store twice a second what became of them. All conversation with the store is in
`run`, one transaction at a time; requests wait for it only when a lease has too little left.

While the store is gone, nobody waits: this gateway holds callers to their limits by its own count, and reports what was
used when the store is back. A gateway that dies loses what it had leased: its places are free again after `LEASE_S`,
other units count as spent, at most one part in eight of what was left besides what was being used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from changeover.core.clock import Clock
from changeover.core.errors import ChangeoverError, StoreError
from changeover.gateway.book import LEASE_S, TICK_S, Book
from changeover.gateway.keys import Key
from changeover.gateway.leases import NOTHING, Bucket, Lease, Refusal, Reservation, Wanted
from changeover.gateway.limits import LimitError
from changeover.gateway.spending import Claim, Holding, exchange, forget_periods
from changeover.gateway.spool import Spool
from changeover.store.engine import Store

__all__ = ["NOTHING", "Allowances", "LimitError", "Reservation", "Wanted"]

log = logging.getLogger(__name__)

REPORT_S = TICK_S
"""How often the store is told what was used."""
RETRY_S = 1.0
"""How often a store that is gone is tried again."""
PATIENCE_S = 2.0
"""A store that does not answer within this time is taken as gone."""
REMEMBER_S = 0.25
"""How long a refusal holds for the next request without asking the store again."""
ROUNDS = 3
"""How often a request asks the store before it is refused: periods may change in between."""


@dataclass(slots=True, eq=False)
class _Ask:
    """A request that waits for the store."""

    plan: _Plan
    wanted: Wanted
    answer: asyncio.Future[Reservation]
    rounds: int = 0
    waits: bool = False

    def wait(self) -> None:
        self.waits = True
        for bucket in self.plan.buckets:
            bucket.waiting += 1

    def leave(self) -> None:
        if self.waits:
            self.waits = False
            for bucket in self.plan.buckets:
                bucket.waiting -= 1


@dataclass(slots=True, eq=False)
class _Plan:
    """The limits that hold for a key: its own, then its team's."""

    key: Key
    buckets: tuple[Bucket, ...]


_FREE = Reservation((), NOTHING, open=False)
"""Of a key without limits."""


def _give_back(leases: Sequence[Lease], wanted: Wanted) -> None:
    """Undo what was reserved of some limits, because another one has no room."""
    for lease in leases:
        amount = wanted[lease.bucket.place]
        lease.reserved -= amount
        lease.bucket.taken -= amount


class Allowances:
    """Every limit at this gateway. Used by one event loop; `run` must run beside it."""

    def __init__(
        self, store: Store, clock: Clock, writer: str, *, spool: Path | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        """Begin without any lease.

        Args:
            store: Where limits are shared with other gateways.
            clock: Gives the periods.
            writer: This gateway's name among others; no other process's, ever.
            spool: Private directory for what could not be reported at the end; the next start reports it.
            patience_s: A store that is slower is taken as gone.
        """
        self._store = store
        self._clock = clock
        self._writer = writer
        self._spool = None if spool is None else Spool(spool, "spending", writer)
        self._patience_s = patience_s
        self._plans: dict[str, _Plan] = {}
        self._book = Book(clock)
        self._asks: list[_Ask] = []
        self._asked: list[_Ask] = []
        """Asks that the store is answering."""
        self._due = asyncio.Event()
        self._talking: asyncio.Task[None] | None = None
        self.gone = False
        """The store cannot be asked: limits hold by this gateway's own count."""

    def reserve_now(self, key: Key, wanted: Wanted, now: datetime | None = None) -> Reservation | None:
        """Reserve from what this gateway holds; None: the store must be asked, see `reserve`.

        Args:
            key: Whose limits.
            wanted: What for.
            now: Says which period it is, where somebody knows already.

        Raises:
            LimitError: There is no room, as the store said a moment ago.
            RequestError: The request is larger than a whole limit.
        """
        plan = self._plans.get(key.id)
        if plan is None or plan.key is not key:
            plan = self._plan(key)
        if not plan.buckets:
            return _FREE
        return self._take(plan, wanted, now or self._clock.now(), behind=True)

    async def reserve(self, key: Key, wanted: Wanted) -> Reservation:
        """Reserve, and ask the store where this gateway holds too little. Waits at most `patience_s`.

        Raises:
            LimitError: A limit of the key or of its team has no room now; nothing is reserved.
            RequestError: The request is larger than a whole limit.
        """
        reservation = self.reserve_now(key, wanted)
        if reservation is not None:
            return reservation
        ask = _Ask(self._plans[key.id], wanted, asyncio.get_running_loop().create_future())
        self._enqueue(ask)
        try:
            await asyncio.wait((ask.answer,), timeout=self._patience_s)
        except asyncio.CancelledError:
            ask.leave()
            # The caller has left. If it was served in the same moment, nobody will settle that.
            if not ask.answer.cancel() and ask.answer.exception() is None:
                self.settle(ask.answer.result(), NOTHING)
            raise
        if not ask.answer.done():
            self._lost("it does not answer")
        return ask.answer.result()

    def settle(self, reservation: Reservation, used: Wanted) -> None:
        """Say what a request really used, once; `NOTHING` where it was not sent to a model. Never fails.

        What it used beyond its reservation is counted as well.
        """
        reservation.settle(used)

    async def run(self) -> None:
        """Talk with the store until cancelled; `close` afterwards."""
        await self._report_spooled()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_S):
                    await self._due.wait()
            self._due.clear()
            self._talking = asyncio.create_task(self._talk())
            # The transaction goes on when this task is cancelled, and so must what is made of its answer.
            await asyncio.shield(self._talking)
            if self.gone:
                await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Report the rest and give every lease back; what the store does not take is kept in the spool."""
        if self._talking is not None:
            await asyncio.wait((self._talking,), timeout=self._patience_s)
        claims = self._book.end()
        self._plans = {}
        if not claims:
            return
        work = asyncio.create_task(asyncio.to_thread(self._exchange, claims, self._clock.now(), sweep=False))
        done, _ = await asyncio.wait((work,), timeout=self._patience_s)
        try:
            if not done:
                raise StoreError("The store does not answer.")
            work.result()
        except StoreError as exc:
            log.warning("limits: what %d leases used is reported by the next start: %s", len(claims), exc)
            if self._spool is not None:
                self._spool.write([claim for claim in claims if claim.used])

    def _plan(self, key: Key) -> _Plan:
        holders = [(f"key:{key.id}", f"Key `{key.name}`", key.limits)]
        if key.team is not None:
            holders.append((f"team:{key.team}", f"Team `{key.team}`", key.team_limits))
        buckets = [self._book.bucket(holder, name, limit) for holder, name, limits in holders for limit in limits]
        plan = self._plans[key.id] = _Plan(key, tuple(buckets))
        return plan

    def _take(self, plan: _Plan, wanted: Wanted, now: datetime, *, behind: bool) -> Reservation | None:
        """Reserve in every limit or in none; None: one has too little here.

        Args:
            plan: The limits.
            wanted: What for.
            now: Says which period it is.
            behind: Let those who wait for the store go first.
        """
        leases: list[Lease] = []
        for bucket in plan.buckets:
            amount = wanted[bucket.place]
            if amount <= 0:
                continue
            lease = bucket.lease
            if lease is None or now >= lease.ends:
                lease = self._book.lease(bucket, now)
            reserved = lease.reserved + amount
            left = lease.amount - lease.used - reserved
            scarce = left < bucket.low or left < 0 or bucket.waiting
            if scarce and not self._has_room(bucket, lease, amount, now, behind=behind, undo=(leases, wanted)):
                return None
            lease.reserved = reserved
            leases.append(lease)
            bucket.taken += amount
            if amount > bucket.largest:
                bucket.largest = amount
        return Reservation(leases, wanted)

    def _has_room(
        self,
        bucket: Bucket,
        lease: Lease,
        amount: int,
        now: datetime,
        *,
        behind: bool,
        undo: tuple[Sequence[Lease], Wanted],
    ) -> bool:
        """Whether a lease that has little left, or for which others wait, serves a request nevertheless.

        Args:
            bucket: The limit.
            lease: Of it.
            amount: That is asked for.
            now: Says which period it is.
            behind: Let those who wait for the store go first.
            undo: What was reserved of other limits, and is given back where this one has no room.

        Raises:
            LimitError, RequestError: See `_refuse`.
        """
        left = lease.free - amount
        try:
            refused = (left < 0 or (bucket.waiting and behind)) and self._refuse(bucket, lease, amount, now)
        except ChangeoverError:
            _give_back(*undo)
            raise
        if refused:
            _give_back(*undo)
            return False
        if left < bucket.low:
            bucket.low = 0
            self._due.set()
        return True

    def _refuse(self, bucket: Bucket, lease: Lease, amount: int, now: datetime) -> bool:
        """What to do where a lease has too little: True: ask the store; False: go on by our own count.

        Raises:
            LimitError: There is no room, as is known here.
            RequestError: There never will be.
        """
        if amount > bucket.limit.amount:
            raise bucket.impossible(amount)
        if self.gone:
            if lease.free_alone < amount:
                raise bucket.refused(amount, lease, now)
            return False
        if bucket.refusal is not None and amount >= bucket.refusal.amount:
            if self._clock.monotonic() < bucket.refusal.until:
                raise bucket.refused(amount, lease, now)
            bucket.refusal = None
        return True

    def _enqueue(self, ask: _Ask) -> None:
        ask.wait()
        self._asks.append(ask)
        self._due.set()

    def _lost(self, why: object) -> None:
        """Go on without the store: nobody waits for it any more."""
        if not self.gone:
            log.warning("limits: the store cannot be asked, limits hold by this gateway's own count: %s", why)
        self.gone = True
        waiting, self._asked, self._asks = [*self._asked, *self._asks], [], []
        for ask in waiting:
            self._answer(ask)

    def _answer(self, ask: _Ask) -> None:
        """Serve or refuse one who waited; it may wait for another round."""
        ask.leave()
        if ask.answer.done():
            return
        try:
            reservation = self._take(ask.plan, ask.wanted, self._clock.now(), behind=False)
        except ChangeoverError as exc:
            ask.answer.set_exception(exc)
            return
        if reservation is not None:
            ask.answer.set_result(reservation)
            return
        error = self._no_room(ask)
        if error is not None:
            ask.answer.set_exception(error)
        else:
            ask.rounds += 1
            self._enqueue(ask)

    def _no_room(self, ask: _Ask) -> LimitError | None:
        """Why a request is refused after the store was asked; None: ask again, something has changed meanwhile."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        for bucket in ask.plan.buckets:
            amount = ask.wanted[bucket.place]
            lease = self._book.lease(bucket, now)
            asked = lease.renewed > monotonic - self._patience_s
            if lease.free < amount and asked and lease.left + lease.free < amount:
                known = bucket.refusal
                if known is None or known.until <= monotonic or amount < known.amount:
                    bucket.refusal = Refusal(monotonic + REMEMBER_S, amount)
                return bucket.refused(amount, lease, now)
        if ask.rounds < ROUNDS:
            return None
        return LimitError("Too many requests at once. Try again in a second.", code="rate_limited", retry_after_s=1.0)

    async def _talk(self) -> None:
        """One transaction: report, renew, ask, give back."""
        self._asked, self._asks = [ask for ask in self._asks if ask.waits], []
        subject = self._book.subject(self._wants(), sweep=bool(self._asked) or self.gone)
        if not subject.claims and not subject.sweep and not subject.forget:
            return
        now = self._clock.now()
        try:
            held = await asyncio.to_thread(
                self._exchange, subject.claims, now, sweep=subject.sweep, forget=subject.forget
            )
        except StoreError as exc:
            self._book.failed(subject)
            self._lost(exc)
            return
        if self.gone:
            log.info("limits: the store is back")
        self.gone = False
        self._book.granted(subject, held)
        asked, self._asked = self._asked, []
        for ask in asked:
            self._answer(ask)

    def _wants(self) -> dict[Bucket, tuple[int, ...]]:
        """What those who wait want of each limit, in order."""
        now = self._clock.now()
        wants: dict[Bucket, list[int]] = {}
        for ask in self._asked:
            for bucket in ask.plan.buckets:
                amount = ask.wanted[bucket.place]
                if amount > 0:
                    self._book.lease(bucket, now)
                    bucket.largest = max(bucket.largest, amount)
                    wants.setdefault(bucket, []).append(amount)
        return {bucket: tuple(amounts) for bucket, amounts in wants.items()}

    def _exchange(self, claims: Sequence[Claim], now: datetime, *, sweep: bool, forget: bool = False) -> list[Holding]:
        """The transaction, in a thread. Rows that gateways share are locked by it; nothing else has to wait."""
        with self._store.append() as connection:
            held = exchange(connection, self._writer, claims, now, LEASE_S, sweep=sweep)
            if forget:
                forget_periods(connection, now)
        return held

    async def _report_spooled(self) -> None:
        """Report what earlier processes could not."""
        if self._spool is None:
            return
        claims = self._spool.take(Claim)
        if not claims:
            return
        try:
            await asyncio.to_thread(self._exchange, claims, self._clock.now(), sweep=False)
        except StoreError as exc:
            log.warning("limits: what earlier processes used waits for the next start: %s", exc)
            self._spool.leave()
            return
        self._spool.done()
