"""Stage 5: ask a model, and wait for its first bytes before anything is said to the caller.

Until then a failure costs the caller nothing: the next variant in turn is asked. Afterwards nothing is tried again.
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
    NotReadyError,
    RequestError,
    UpstreamError,
)
from changeover.gateway.breaker import NEVER_OPEN, Breakers
from changeover.gateway.open import Asking, Opened, open_answer
from changeover.gateway.resolve import Call
from changeover.serving.profiles import profile_of_bundle
from changeover.serving.upstream import Upstream
from changeover.serving.variants import Variant
from changeover.tasks.routes import Side

READY_POLL_S = 0.05
MOST_ROUNDS = 2
"""An engine that crashed is back within a second or two: the caller waits for it rather than fails. A request that
fails everywhere twice is not tried a third time, for it may be what kills them."""
SHORTEST_WAIT_S = 0.1
CRASH_SEEN_S = 0.3
"""An engine whose process died is known to be gone after this at the latest; until then it looks like one that fails."""


Turn = tuple[Side | None, Variant, Upstream]
"""Somebody who can be asked now."""


class Fleet(Protocol):
    """Where engines are found."""

    def upstream(self, name: str) -> Upstream | None:
        """The address of a deployment, None while it cannot answer."""
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
    failed: list[str] = msgspec.field(default_factory=list[str])
    """Variants that were asked, or should have been, and could not answer."""


async def dispatch(
    call: Call,
    turns: Sequence[tuple[Side | None, Variant]],
    fleet: Fleet,
    trail: Trail,
    limits: Limits,
    headers: Sequence[tuple[str, str]] = (),
) -> Opened:
    """Open the first answer that any variant in turn gives. Whoever gets it closes it.

    Args:
        call: What is asked.
        turns: Whom to ask, in turn.
        fleet: Where they are found.
        trail: Filled on the way.
        limits: How patient to be.
        headers: Sent to engines besides their own: trace context, and nothing of the caller's.

    Raises:
        NotReadyError: No engine came up in time, or all are left alone for having failed.
        UpstreamError, CapacityError: What the last variant in turn said, after all failed.
        RequestError: An engine refused the request itself; nobody else is asked, unless it was too long for one.
    """
    # Who is named, as an evaluation names a candidate, is asked however it did; and what becomes of it is held against
    # nobody who answers applications.
    breakers = NEVER_OPEN if call.pinned is not None else limits.breakers
    now = limits.clock.monotonic()
    deadline = now + call.live.task.declared.timeout_s
    patience = min(deadline, now + limits.ready_wait_s)
    rounds = 0
    last: ChangeoverError | None = None
    while rounds < MOST_ROUNDS:
        ready = _who_is_ready(turns, fleet, breakers)
        if ready:
            rounds += 1
            _note_absent(turns, ready, trail)
        for place, turn in enumerate(ready):
            if breakers.closed_in(turn[2]) > 0:
                continue  # somebody else is trying it
            left = deadline - limits.clock.monotonic()
            try:
                return await _ask(
                    call, turn, headers, _first_byte_s(call, left, place == len(ready) - 1), breakers, trail
                )
            except ContextOverflow as exc:
                last = exc  # the next in turn may take longer ones
            except (UpstreamError, CapacityError) as exc:
                last = exc
                if isinstance(exc, UpstreamError) and not exc.retryable:
                    raise
            if limits.clock.monotonic() >= deadline - SHORTEST_WAIT_S:
                raise too_late(call)
        if isinstance(last, ContextOverflow) or limits.clock.monotonic() >= patience:
            break
        wait_s = None if ready else _left_alone_for(turns, fleet, breakers)
        if wait_s is not None and limits.clock.monotonic() - now > CRASH_SEEN_S:
            raise last or _left_alone(call, wait_s)
        await asyncio.sleep(READY_POLL_S)
    raise last or _nobody_ready(call)


async def _ask(
    call: Call, turn: Turn, headers: Sequence[tuple[str, str]], first_byte_s: float, breakers: Breakers, trail: Trail
) -> Opened:
    side, variant, upstream = turn
    trail.attempts += 1
    profile = profile_of_bundle(variant.bundle)
    if profile.endpoints is not None and call.endpoint.name not in profile.endpoints:
        raise RequestError(
            f"`{call.live.task.name}` is answered by `{variant.deployment}`, which does not serve {call.endpoint.path}."
        )
    asking = Asking(
        call=call,
        side=side,
        variant=variant,
        upstream=upstream,
        profile=profile,
        headers=headers,
        first_byte_s=first_byte_s,
    )
    try:
        opened = await open_answer(asking)
    except RequestError as exc:
        breakers.succeeded(upstream)  # it answers
        if isinstance(exc, ContextOverflow):
            trail.failed.append(variant.id)
        raise
    except CapacityError:
        trail.failed.append(variant.id)
        raise
    except UpstreamError as exc:
        trail.failed.append(variant.id)
        if exc.code == UpstreamError.code:  # an answer of the wrong shape is no reason to leave an engine alone
            breakers.failed(upstream)
        raise
    opened.upstream = upstream
    if opened.rest is None:
        breakers.succeeded(upstream)  # of a stream that is known at its end
    return opened


def too_late(call: Call) -> UpstreamError:
    """The error for a request whose task gives it no more time."""
    error = UpstreamError(f"The model did not finish within the task's {call.live.task.declared.timeout_s:g} s.")
    error.status = 504
    return error


def _who_is_ready(turns: Sequence[tuple[Side | None, Variant]], fleet: Fleet, breakers: Breakers) -> list[Turn]:
    ready: list[Turn] = []
    for side, variant in turns:
        upstream = fleet.upstream(variant.deployment)
        if upstream is not None and breakers.left(upstream) == 0:
            ready.append((side, variant, upstream))
    return ready


def _left_alone_for(turns: Sequence[tuple[Side | None, Variant]], fleet: Fleet, breakers: Breakers) -> float | None:
    """Seconds until an engine that runs and is left alone may be asked; None if none such runs."""
    running = [up for _, variant in turns if (up := fleet.upstream(variant.deployment)) is not None]
    return min((breakers.left(up) for up in running), default=None)


def _nobody_ready(call: Call) -> NotReadyError:
    return NotReadyError(
        f"No model is ready to answer `{call.live.task.name}` yet. Try again shortly; `changeover status` shows why.",
        retry_after_s=2,
    )


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


def _note_absent(turns: Sequence[tuple[Side | None, Variant]], ready: Sequence[Turn], trail: Trail) -> None:
    """The side that was chosen but has no engine failed, as far as the guard is concerned."""
    _, chosen = turns[0]
    if chosen.id != ready[0][1].id and chosen.id not in trail.failed:
        trail.failed.append(chosen.id)
