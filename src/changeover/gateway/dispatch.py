"""Stage 5: ask a model, and wait for its first bytes before anything is said to the caller.

Until then a failure costs the caller nothing: the next variant in turn is asked. Afterwards nothing is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import msgspec

from changeover.core.clock import Clock
from changeover.core.errors import CapacityError, ChangeoverError, NotReadyError, UpstreamError
from changeover.gateway.compose import compose
from changeover.gateway.resolve import Call
from changeover.gateway.sse import events, payload, whole_events
from changeover.serving.upstream import Answer, Upstream
from changeover.serving.variants import Variant
from changeover.tasks.routes import Side

PATH = "/v1/chat/completions"
STALL_S = 30.0
"""Longest silence between two chunks of an answer."""
READY_POLL_S = 0.05
MOST_ROUNDS = 2
"""An engine that crashed is back within a second or two: the caller waits for it rather than fails. A request that
fails everywhere twice is not tried a third time, for it may be what kills them."""


Turn = tuple[Side | None, Variant, Upstream]
"""Somebody who can be asked now."""


class Fleet(Protocol):
    """Where engines are found."""

    def upstream(self, name: str) -> Upstream | None:
        """The address of a deployment, None while it cannot answer."""
        ...


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a request may wait for somebody to answer."""

    ready_wait_s: float
    clock: Clock


@dataclass
class Trail:
    """What was tried for one request; kept for the record, whatever the end."""

    attempts: int = 0
    failed: list[str] = field(default_factory=list[str])
    """Variants that were asked, or should have been, and could not answer."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An answer whose first bytes are here."""

    side: Side | None
    variant: Variant
    model: bytes
    """What the engine calls itself, as it stands in the JSON: replaced by the task's name."""
    first: bytes
    """A stream: its first whole events. Else: the whole body."""
    rest: AsyncIterator[bytes] | None
    """The other events of a stream."""


@asynccontextmanager
async def dispatch(
    call: Call,
    turns: Sequence[tuple[Side | None, Variant]],
    fleet: Fleet,
    trail: Trail,
    limits: Limits,
) -> AsyncGenerator[Opened]:
    """Open the first answer that any variant in turn gives.

    Raises:
        NotReadyError: No engine came up in time.
        UpstreamError, CapacityError: What the last variant in turn said, after all failed.
        RequestError: An engine refused the request itself; nobody else is asked.
    """
    async with AsyncExitStack() as stack:
        yield await _open_any(call, turns, fleet, trail, limits, stack)


async def _open_any(
    call: Call,
    turns: Sequence[tuple[Side | None, Variant]],
    fleet: Fleet,
    trail: Trail,
    limits: Limits,
    stack: AsyncExitStack,
) -> Opened:
    deadline = limits.clock.monotonic() + call.live.task.declared.timeout_s
    patience = min(deadline, limits.clock.monotonic() + limits.ready_wait_s)
    rounds = 0
    last: ChangeoverError | None = None
    while rounds < MOST_ROUNDS:
        ready: list[Turn] = [
            (side, variant, up) for side, variant in turns if (up := fleet.upstream(variant.deployment)) is not None
        ]
        if ready:
            rounds += 1
            _note_absent(turns, ready, trail)
        for place, (side, variant, upstream) in enumerate(ready):
            trail.attempts += 1
            left = deadline - limits.clock.monotonic()
            # Half of what is left, so that the next in turn has time too.
            first_byte_s = left if place == len(ready) - 1 else left / 2
            try:
                return await _open(call, side, variant, upstream, stack, max(first_byte_s, 0.1))
            except (UpstreamError, CapacityError) as exc:
                last = exc
                trail.failed.append(variant.id)
                if isinstance(exc, UpstreamError) and not exc.retryable:
                    raise
        if limits.clock.monotonic() >= patience:
            break
        await asyncio.sleep(READY_POLL_S)
    if last is not None:
        raise last
    raise NotReadyError(
        f"No model is ready to answer `{call.live.task.name}` yet. Try again shortly; `changeover status` shows why.",
        retry_after_s=2,
    )


def _note_absent(turns: Sequence[tuple[Side | None, Variant]], ready: Sequence[Turn], trail: Trail) -> None:
    """The side that was chosen but has no engine failed, as far as the guard is concerned."""
    _, chosen = turns[0]
    if chosen.id != ready[0][1].id and chosen.id not in trail.failed:
        trail.failed.append(chosen.id)


async def _open(
    call: Call, side: Side | None, variant: Variant, upstream: Upstream, stack: AsyncExitStack, first_byte_s: float
) -> Opened:
    model = upstream.model or variant.deployment
    body = compose(call.body, variant, model=model, stream=call.stream)
    async with AsyncExitStack() as attempt:
        answer = await attempt.enter_async_context(
            upstream.send(PATH, body, first_byte_s=first_byte_s, stall_s=STALL_S)
        )
        if call.stream:
            opened = await _first_events(answer, side, variant)
        else:
            opened = await _whole(answer, side, variant)
        stack.push_async_exit(attempt.pop_all())
        return opened


async def _first_events(answer: Answer, side: Side | None, variant: Variant) -> Opened:
    rest = whole_events(answer.chunks())
    async for block in rest:
        for event in events(block):
            fields = payload(event)
            if fields is not None:
                return Opened(side=side, variant=variant, model=_name(fields), first=block, rest=rest)
    raise UpstreamError("The model ended its stream without a word.")


async def _whole(answer: Answer, side: Side | None, variant: Variant) -> Opened:
    body = await answer.read()
    try:
        fields = msgspec.json.decode(body)
    except msgspec.DecodeError as exc:
        raise UpstreamError("The model's answer is not JSON.") from exc
    choices: Any = cast("dict[str, Any]", fields).get("choices") if isinstance(fields, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise UpstreamError("The model's answer has no choices.")
    return Opened(side=side, variant=variant, model=_name(cast("dict[str, Any]", fields)), first=body, rest=None)


def _name(fields: dict[str, Any]) -> bytes:
    return msgspec.json.encode(fields.get("model"))
