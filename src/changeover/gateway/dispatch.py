"""Stage 5: ask a model, and wait for its first bytes before anything is said to the caller.

Until then a failure costs the caller nothing: the next variant in turn is asked. A stream that breaks off
afterwards is dispatched once more by `deliver`, with what is there of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from changeover.core.clock import Clock
from changeover.core.errors import (
    CapacityError,
    ChangeoverError,
    ContextOverflow,
    NoTemplateError,
    NotReadyError,
    OverdueError,
    RequestError,
    UpstreamError,
)
from changeover.gateway.breaker import NEVER_OPEN, Breakers
from changeover.gateway.needs import unsupported
from changeover.gateway.open import Asking, Opened, open_answer
from changeover.gateway.resolve import Call
from changeover.gateway.snapshot import DIRECT
from changeover.gateway.waiting import not_ready
from changeover.gateway.ways import Turn
from changeover.serving.upstream import Upstream

READY_POLL_S = 0.05
MOST_ROUNDS = 2
"""An engine that crashed is back within a second or two: the caller waits for it rather than fails. A request that
fails everywhere twice is not tried a third time, for it may be what kills them."""
SHORTEST_WAIT_S = 0.1
CRASH_SEEN_S = 1.0
"""An engine whose process died is known to be gone after this at the latest, also where a warden has to see it first; until
then it looks like one that fails."""
NOT_THERE = 404
CANNOT_GO_ON = "cannot_go_on"
"""Of an engine that refuses a beginning of an answer: no failure of it. The caller never sees the code."""


class Fleet(Protocol):
    """Where engines are found."""

    def upstream(self, name: str) -> Upstream | None:
        """The address of a deployment, None while it cannot answer."""
        ...

    def is_ready(self, name: str) -> bool:
        """Whether a deployment can answer, if need be once it is loaded again."""
        ...

    def wake(self, name: str) -> bool:
        """Have a deployment loaded again that was unloaded; False if it is not one that can be."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How long a request may wait for somebody to answer, and whom it need not ask."""

    ready_wait_s: float
    clock: Clock
    breakers: Breakers


class Trail(msgspec.Struct):
    """What was tried for one request; kept for the record, whatever the end."""

    attempts: int = 0
    failed: tuple[str, ...] = ()
    """Variants that were asked, or should have been, and could not answer."""

    def note(self, variant: str) -> None:
        """One could not; said once, however often it was asked."""
        if variant not in self.failed:
            self.failed = (*self.failed, variant)


async def dispatch(
    call: Call,
    turns: Sequence[Turn],
    fleet: Fleet,
    trail: Trail,
    limits: Limits,
    headers: Sequence[tuple[str, str]] = (),
    deadline: float | None = None,
) -> Opened:
    """Open the first answer that any variant in turn gives. Whoever gets it closes it.

    Args:
        call: What is asked.
        turns: Whom to ask, in turn.
        fleet: Where they are found.
        trail: Filled on the way.
        limits: How patient to be.
        headers: Sent to engines besides their own: trace context, and nothing of the caller's.
        deadline: Monotonic seconds at which the task's time is over; None: it begins now.

    Raises:
        NotReadyError: No engine came up in time, or all are left alone for having failed.
        UpstreamError, CapacityError: What the last variant in turn said, after all failed.
        RequestError: An engine refused the request itself; nobody else is asked, unless another may take it all the same.
    """
    # Who is named, as an evaluation names a candidate, is asked however it did; and what becomes of it is held against
    # nobody who answers applications.
    breakers = NEVER_OPEN if call.pinned is not None else limits.breakers
    clock = limits.clock
    failed_at = asked_at = clock.monotonic()
    if deadline is None:
        deadline = asked_at + call.live.task.declared.timeout_s
    rounds = 0
    last: ChangeoverError | None = None
    while rounds < MOST_ROUNDS:
        ready = _who_is_ready(turns, fleet, breakers)
        if ready:
            _note_absent(call, turns[0], ready[0][0], trail)
        said = await _one_round(ready, call, headers, deadline, clock, breakers, trail)
        if isinstance(said, Opened):
            return said
        if said is not None:
            last, failed_at = said, clock.monotonic()
            if _was_asked(said):
                rounds, asked_at = rounds + 1, failed_at
        known = ready if rounds < MOST_ROUNDS else None
        if await _awake(turns, fleet, breakers, known, deadline, clock):
            rounds = min(rounds, MOST_ROUNDS - 1)
            continue
        # Whoever died in the middle of an answer is waited for as long as one that was gone before.
        if isinstance(last, RequestError) or clock.monotonic() >= min(deadline, asked_at + limits.ready_wait_s):
            break
        wait_s = None if ready else _left_alone_for(turns, fleet, breakers)
        if wait_s is not None and clock.monotonic() - failed_at > CRASH_SEEN_S:
            raise last or _left_alone(call, wait_s)
        await asyncio.sleep(READY_POLL_S)
    raise last or not_ready(call.live.task.name)


async def _one_round(
    ready: Sequence[tuple[Turn, Upstream]],
    call: Call,
    headers: Sequence[tuple[str, str]],
    deadline: float,
    clock: Clock,
    breakers: Breakers,
    trail: Trail,
) -> Opened | ChangeoverError | None:
    """Ask who is ready, in turn: the first answer, else what was said last, by one that was reached if there was one.

    None where nobody could be asked.

    Raises:
        UpstreamError: No other is to be asked, or there is no time for another.
        RequestError: An engine refused the request itself.
    """
    last: ChangeoverError | None = None
    for place, (turn, upstream) in enumerate(ready):
        if breakers.closed_in(upstream) > 0:
            continue  # somebody else is trying it
        left = deadline - clock.monotonic()
        first_byte_s = _first_byte_s(call, left, place == len(ready) - 1)
        try:
            return await _ask(Asking(call, *turn, upstream, headers, first_byte_s), breakers, trail)
        except RequestError as exc:
            if not _may_pass_elsewhere(exc):
                raise
            last = exc
        except (UpstreamError, CapacityError) as exc:
            if not isinstance(last, UpstreamError) or _was_asked(exc):
                last = exc
            if isinstance(exc, UpstreamError) and not exc.retryable:
                raise
        if clock.monotonic() >= deadline - SHORTEST_WAIT_S:
            raise too_late(call)
    return last


async def _ask(asking: Asking, breakers: Breakers, trail: Trail) -> Opened:
    upstream, variant = asking.upstream, asking.way.variant
    trail.attempts += 1
    try:
        opened = await open_answer(asking)
    except RequestError as exc:
        breakers.succeeded(upstream)  # it answers
        if _may_pass_elsewhere(exc):
            trail.note(variant.id)
        elif asking.call.begun is not None:  # it may take the request, and only not the beginning of an answer
            unable = UpstreamError(f"`{variant.deployment}` cannot go on with an answer: {exc}")
            unable.code = CANNOT_GO_ON
            raise unable from exc
        raise
    except CapacityError:
        trail.note(variant.id)
        raise
    except UpstreamError as exc:
        trail.note(variant.id)
        if exc.code == UpstreamError.code:  # an answer of the wrong shape is no reason to leave an engine alone
            breakers.failed(upstream)
        raise
    if opened.answer is None:
        breakers.succeeded(upstream)  # of a stream that is known at its end
    return opened


def able(call: Call, turns: Sequence[Turn], trail: Trail) -> Sequence[Turn]:
    """Those in turn that can do what a request needs, as far as anybody knows: mostly all.

    Raises:
        UnsupportedError, NoTemplateError: None can.
    """
    needs = call.needs
    kept = [turn for turn in turns if needs.isdisjoint(turn[1].lacks)]
    if len(kept) == len(turns):
        return turns
    if not kept:
        way = turns[0][1]
        task = call.live.task.name
        asked = None if task.startswith(DIRECT) else task
        raise unsupported(asked, way.variant.deployment, needs & way.lacks, way.profile.endpoints)
    if kept[0] is not turns[0] and turns[0][1].variant.id not in trail.failed:
        trail.note(turns[0][1].variant.id)  # whoever should have answered could not, as the guard has to see
    return kept


def too_late(call: Call) -> OverdueError:
    """The error for a request whose task gives it no more time."""
    return OverdueError(f"The model did not finish within the task's {call.live.task.declared.timeout_s:g} s.")


def _who_is_ready(turns: Sequence[Turn], fleet: Fleet, breakers: Breakers) -> list[tuple[Turn, Upstream]]:
    ready: list[tuple[Turn, Upstream]] = []
    for turn in turns:
        upstream = fleet.upstream(turn[1].variant.deployment)
        if upstream is not None and not breakers.left(upstream):
            ready.append((turn, upstream))
    return ready


async def _awake(
    turns: Sequence[Turn],
    fleet: Fleet,
    breakers: Breakers,
    known: Sequence[tuple[Turn, Upstream]] | None,
    deadline: float,
    clock: Clock,
) -> bool:
    """Have the first in turn loaded again that was unloaded, and wait for it; whether there was one, and it can answer.

    Who is in turn and was not asked is the last that can answer once all others have failed. Where one of those is back
    sooner, which is none of `known`, it is asked first; None: they are asked no more.
    """
    names = [way.variant.deployment for _, way in turns]
    while (name := next((each for each in names if fleet.wake(each)), None)) is not None:
        while fleet.upstream(name) is None and fleet.wake(name):
            if known is not None:
                asked = {upstream for _, upstream in known}
                if any(upstream not in asked for _, upstream in _who_is_ready(turns, fleet, breakers)):
                    return True
            if clock.monotonic() >= deadline - SHORTEST_WAIT_S:
                return False
            await asyncio.sleep(READY_POLL_S)
        if fleet.upstream(name) is not None:
            return True
    return False


def _was_asked(error: ChangeoverError) -> bool:
    """Whether an engine has seen the request: one that could not be reached has not, and may be asked as often as one likes."""
    return not isinstance(error, UpstreamError) or error.reached


def _may_pass_elsewhere(refusal: RequestError) -> bool:
    """Whether another may take what one refused: a longer request, a chat, or a model that this engine has no more."""
    # Which model, and under which path, an engine is asked is our choice: that it is not there is no fault of the caller's.
    return isinstance(refusal, ContextOverflow | NoTemplateError) or refusal.status == NOT_THERE


def _left_alone_for(turns: Sequence[Turn], fleet: Fleet, breakers: Breakers) -> float | None:
    """Seconds until an engine that runs and is left alone may be asked; None if none such runs."""
    running = [up for _, way in turns if (up := fleet.upstream(way.variant.deployment)) is not None]
    return min((breakers.left(up) for up in running), default=None)


def _left_alone(call: Call, wait_s: float) -> NotReadyError:
    return NotReadyError(
        f"The models of `{call.live.task.name}` failed too often and are left alone for {wait_s:.0f} s more. "
        "Try again then.",
        retry_after_s=max(wait_s, 1),
    )


def _first_byte_s(call: Call, left: float, is_last: bool) -> float:
    """Half of what is left, so that the next in turn has time too; never more than the task allows."""
    share = left if is_last else left / 2
    own = call.live.task.declared.first_token_s
    return max(share if own is None else min(own, share), SHORTEST_WAIT_S)


def _note_absent(call: Call, chosen: Turn, first: Turn, trail: Trail) -> None:
    """Where the side that was chosen has no engine and another is asked first, it failed, as far as the guard sees."""
    # While engines are exchanged the candidate has none yet, and the former one answers until it is told to go.
    if first is chosen or call.live.exchange or call.begun is not None:
        return
    trail.note(chosen[1].variant.id)
