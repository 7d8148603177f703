"""Who shows how far a pull is. The command line draws a bar; everything else shows nothing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Who shows how far a pull is. One phase after another: `start`, any number of `advance`, `finish`."""

    def start(self, what: str, total_bytes: int | None, done_bytes: int = 0) -> None:
        """Begin a phase, named for a person; None when its length is not known. `done_bytes` were there before it."""
        ...

    def advance(self, done_bytes: int) -> None:
        """Say how many bytes of the phase are done, counted from its start. An estimate may be corrected downwards."""
        ...

    def finish(self) -> None:
        """End the phase, complete or not."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, what: str, total_bytes: int | None, done_bytes: int = 0) -> None:
        pass

    def advance(self, done_bytes: int) -> None:
        pass

    def finish(self) -> None:
        pass
