"""Where the door sends whoever asks for tools and jobs. What a tool is, `tools` knows."""

from __future__ import annotations

from typing import Protocol

from changeover.gateway.http import Reply
from changeover.gateway.visit import Visit


class ToolDesk(Protocol):
    """Answers every route with the page `tools`."""

    async def answer(self, visit: Visit, reply: Reply, /) -> None:
        """Answer one request of a caller who is known; its route and head say what is wanted.

        Its body is taken from it as soon as it has been read, so that nobody holds it while a tool runs.
        Who leaves is cancelled. Once the reply has been used nothing is raised: a stream ends with an error of its own.

        Raises:
            ChangeoverError: As the API reports it.
        """
        ...
