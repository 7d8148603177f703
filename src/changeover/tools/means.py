"""What a run of a tool may use beside its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from changeover.tasks.declarations import Task
from changeover.tools.caller import TaskCaller
from changeover.tools.documents.reader import Reader


class Journal(Protocol):
    """What steps have given already: who goes on with a run asks no model again. Values are JSON."""

    def kept(self, place: str) -> Any | None:
        """What was given at a place; None: nothing yet."""
        ...

    async def keep(self, place: str, value: Any) -> None:
        """Keep what a call or a step gave.

        Args:
            place: The step's name, and the number of the call in it: `notes/12`.
            value: JSON.
        """
        ...


class NoJournal:
    """Keeps nothing: the run ends with the request."""

    def kept(self, place: str) -> Any | None:
        """Nothing."""
        del place

    async def keep(self, place: str, value: Any) -> None:
        """Forget it."""


@dataclass(frozen=True, kw_only=True)
class Means:
    """Given by whoever runs a tool."""

    caller: TaskCaller
    reader: Reader
    tasks: Mapping[str, Task]
    """As they were applied: their input templates make the messages."""
    cache: Path
    """Where what `[knowledge]` names is kept indexed."""
    journal: Journal
    pool: Executor | None = None
    """Threads that compute; None: those that everybody waits for."""
