"""Server-sent events by which an open page hears that something changed, and fetches that part of itself anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable

from starlette.responses import StreamingResponse

from changeover.core.errors import ChangeoverError

LOOK_S = 1.0
QUIET_LOOKS = 15
"""After so many looks without a change a comment is sent: a proxy would take the silence for the end."""
LONGEST_LOOKS = 3_600
"""A browser asks anew after an hour."""


async def following(
    look: Callable[[], Awaitable[Hashable]], is_over: Callable[[Hashable], bool] = lambda _: False
) -> StreamingResponse:
    """Events of a page: `changed` whenever what is looked at differs, `ended` once it never will again.

    What happens after a browser got the head of the answer is told: the first look is over then.

    Args:
        look: Gives what the page shows, as something that can be compared; it is asked for once a second.
        is_over: Whether that was the last.
    """
    headers = {"x-accel-buffering": "no"}
    return StreamingResponse(_events(await look(), look, is_over), media_type="text/event-stream", headers=headers)


async def _events(
    seen: Hashable, look: Callable[[], Awaitable[Hashable]], is_over: Callable[[Hashable], bool]
) -> AsyncGenerator[bytes]:
    yield b"retry: 2000\n\n"
    quiet = 0
    for _ in range(LONGEST_LOOKS):
        if is_over(seen):
            yield b"event: ended\ndata: \n\n"
            return
        await asyncio.sleep(LOOK_S)
        try:
            now = await look()
        except ChangeoverError:  # the store is away: it is looked for again
            now = seen
        quiet += 1
        if now != seen:
            seen, quiet = now, 0
            yield b"event: changed\ndata: \n\n"
        elif quiet >= QUIET_LOOKS:
            quiet = 0
            yield b": still here\n\n"
