"""What a tool under measurement is: how it is prepared for a workload, and what is run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from benchmarks.evals.process import Command
from benchmarks.evals.workload import Workload


class Session(Protocol):
    """A tool that is set up in a directory, against one echo server."""

    def write(self, workload: Workload, directory: Path) -> None:
        """Put the workload down in the tool's own form. Not measured."""
        ...

    def commands(self, directory: Path) -> Sequence[Command]:
        """Processes that do the whole work; run a second time with what the first run kept."""
        ...

    def beside_cpu_s(self) -> float | None:
        """Processor time so far of processes that serve it and are not its own; None where there are none."""
        ...


class Tool(Protocol):
    """A way to evaluate."""

    @property
    def name(self) -> str:
        """With its version, as the table shows it."""
        ...

    @property
    def caches(self) -> bool:
        """Whether a second run takes the answers of the first."""
        ...

    def install(self) -> None:
        """Have it on this machine.

        Raises:
            UnavailableError: It cannot be.
        """
        ...

    def start_up(self, directory: Path) -> Command | None:
        """The help of the command that evaluates; None where there is none."""
        ...

    def session(self, directory: Path, address: str) -> AbstractContextManager[Session]:
        """Set it up in an empty directory."""
        ...
