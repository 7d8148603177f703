"""Stage 6 where an engine breaks: the answer is passed on, and a stream that breaks off is gone on with by the next in turn.

The next is asked with the same messages and the text so far as the beginning of its answer. Whoever broke off counts as
failed; what the caller gets is one stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from changeover.core.errors import ChangeoverError, OverdueError, UpstreamError
from changeover.gateway.begun import Begun, begun_in, can_go_on
from changeover.gateway.dispatch import Fleet, Limits, dispatch
from changeover.gateway.endpoints import CHAT
from changeover.gateway.http import Reply
from changeover.gateway.open import Opened
from changeover.gateway.relay import MOST_KEPT_BYTES, end_for, relay_rest, relay_stream, relay_whole
from changeover.gateway.resolve import Call
from changeover.gateway.visit import Visit
from changeover.gateway.ways import Turn


@dataclass(frozen=True, slots=True)
class Delivering:
    """One answer on its way to its caller, and whom else there is to ask."""

    visit: Visit
    call: Call
    turns: Sequence[Turn]
    fleet: Fleet
    limits: Limits
    headers: Sequence[tuple[str, str]]
    deadline: float
    """Monotonic seconds at which the task's time is over."""


async def deliver(asking: Delivering, opened: Opened, reply: Reply) -> None:
    """Send an answer to its end, whoever has to write it.

    Raises:
        UpstreamError: It broke off, and nobody could go on; where headers are out, whoever calls ends the stream.
    """
    visit, call = asking.visit, asking.call
    lines = b"x-changeover-request-id: %b\r\n%b" % (visit.id.encode(), opened.way.lines)
    if opened.body is not None:
        relay_whole(opened, opened.body, reply, lines, visit.delivery)
        return
    try:
        await relay_stream(call, opened, reply, lines, visit.delivery)
        _well(asking, opened)
    except UpstreamError as error:
        _badly(asking, opened, error)
        await _go_on(asking, opened, error, reply)
    finally:
        opened.close()


async def _go_on(asking: Delivering, opened: Opened, error: UpstreamError, reply: Reply) -> None:
    """Have others in turn go on with a stream, each once, and at the very last whoever broke off first.

    Raises:
        UpstreamError: What it broke off with, where that cannot be helped.
    """
    visit, call = asking.visit, asking.call
    # Whoever broke off may be back in a second: an engine that was killed is started again.
    left = sorted(asking.turns, key=lambda turn: turn[1].variant.id == opened.way.variant.id)
    while True:
        begun = _begun(asking, opened, error)
        if begun is None:
            raise error
        if begun.finished:
            _end(asking, opened, begun, reply)
            return
        left = [turn for turn in left if can_go_on(turn[1], call.body, begun)]
        if not left:
            raise error
        opened.close()
        opened = await _next(asking, left, begun, opened, error)
        left = [turn for turn in left if turn[1] is not opened.way]
        try:
            await relay_rest(replace(call, begun=begun, plain=False), opened, reply, visit.delivery)
            _well(asking, opened)
            return
        except UpstreamError as another:
            error = another
            _badly(asking, opened, error)
        finally:
            opened.close()


async def _next(asking: Delivering, left: Sequence[Turn], begun: Begun, broken: Opened, error: UpstreamError) -> Opened:
    """The rest of the answer, of the first in turn that gives it.

    Raises:
        UpstreamError: `error`, where none does; or there is no time left.
    """
    visit, call = asking.visit, replace(asking.call, begun=begun, plain=False)
    try:
        opened = await dispatch(call, left, asking.fleet, visit.trail, asking.limits, asking.headers, asking.deadline)
    except OverdueError:
        raise
    except ChangeoverError as exc:
        raise error from exc
    visit.trail.note(broken.way.variant.id)
    visit.hand_over(opened)
    return opened


def _begun(asking: Delivering, opened: Opened, error: UpstreamError) -> Begun | None:
    """What a caller has got of a stream that broke off; None where it must end there."""
    call, delivery = asking.call, asking.visit.delivery
    if (
        call.endpoint is not CHAT
        or call.pinned is not None  # who named a variant is shown that one, or an error
        or call.internal
        or call.live.task.declared.on_break == "error"
        or opened.expects is not None
        or error.code != UpstreamError.code
        or (call.body.get("n") or 1) != 1
        or delivery.kept_bytes >= MOST_KEPT_BYTES
    ):
        return None
    return begun_in(b"".join(delivery.kept))


def _end(asking: Delivering, opened: Opened, begun: Begun, reply: Reply) -> None:
    """End a stream that was finished, but for its end mark perhaps."""
    visit = asking.visit
    visit.trail.note(opened.way.variant.id)
    if begun.done:
        visit.delivery.ended = True
        reply.end()
    else:
        end_for(asking.call, opened, reply, visit.delivery)


def _well(asking: Delivering, opened: Opened) -> None:
    if asking.call.pinned is None:
        asking.limits.breakers.succeeded(opened.upstream)


def _badly(asking: Delivering, opened: Opened, error: UpstreamError) -> None:
    # An answer of the wrong shape is no reason to leave an engine alone.
    if asking.call.pinned is None and error.code == UpstreamError.code:
        asking.limits.breakers.failed(opened.upstream)
