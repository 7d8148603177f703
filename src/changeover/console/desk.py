"""The project that the pages are about: its declarations as they are now, its store, and where its gateway listens."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from changeover.app.bench import Bench
from changeover.app.installation import Installation, read_again
from changeover.app.local import operator_key, running_address
from changeover.app.watch import marks_of_declarations
from changeover.core.errors import ChangeoverError
from changeover.core.threads import in_thread

LOOK_S = 2.0
"""Files of declarations are looked at no more often."""


class Desk:
    """What pages read and act on. One for the process."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._marks = marks_of_declarations(installation)
        self._looked = time.monotonic()
        self.problem: str | None = installation.problems[0].message if installation.problems else None
        """Why declarations are not used as they stand in the files; None: they are."""
        self.bench = Bench()
        """Where what is begun on pages is measured."""

    async def now(self) -> Installation:
        """The installation with its declarations as they stand in the files; as they stood where one is broken."""
        if time.monotonic() - self._looked > LOOK_S:
            self._looked = time.monotonic()
            await in_thread(self._look)
        return self._installation

    def gateway(self) -> str | None:
        """Where the project's gateway listens; None: it does not run."""
        return running_address(self._installation.project.state)

    def key(self) -> str | None:
        """The operator's key of this machine; None: the system was never started here."""
        try:
            return operator_key(self._installation.project.state)
        except ChangeoverError:
            return None

    def close(self) -> None:
        """End what is measured here. Takes its time: call it in a thread."""
        self.bench.close()

    def _look(self) -> None:
        marks = marks_of_declarations(self._installation)
        if marks == self._marks:
            return
        self._marks = marks
        try:
            self._installation = read_again(self._installation)
        except ChangeoverError as exc:
            self.problem = exc.message
            return
        problems = self._installation.problems
        self.problem = problems[0].message if problems else None


Gateway = Callable[[], str | None]
"""Where the gateway listens at the moment; None: nowhere."""


def always(address: str) -> Gateway:
    """One that stays where it is."""
    return partial(str, address)
