"""What models are held against that takes its time to learn: this machine, engines that are installed, signals of others.

It is learnt when a page first needs it, and kept for a while: the first content of a page does not wait for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from changeover.app.fits import Machine, this_machine
from changeover.app.installation import Installation
from changeover.app.scoring import Scored, Scores
from changeover.console.visit import Visit
from changeover.core.threads import in_thread
from changeover.library.catalogue import Catalogue
from changeover.library.licences.policy import Policy
from changeover.library.scores.engines import Registry, ask_engines

FRESH_S = 120.0
"""Scores follow what was called here, and signals: older ones are shown while new ones are worked out."""


@dataclass(frozen=True, kw_only=True)
class Scoreboard:
    """Both scores of every card."""

    of: Mapping[str, Scored]
    registries: tuple[Registry, ...]
    """Engines that are installed here, and were asked."""
    by: tuple[Catalogue, Policy | None] = field(repr=False)
    at: float

    def fresh(self, installation: Installation) -> bool:
        """Whether they are as good as new ones."""
        catalogue, policy = self.by
        same = catalogue is installation.catalogue and policy == installation.policy
        return same and time.monotonic() - self.at < FRESH_S


class Held:
    """One for the process. One reader has something learnt, in a thread; who comes meanwhile waits without one."""

    def __init__(self) -> None:
        self._looking = asyncio.Lock()
        """One for the machine alone: a page of one model does not wait for the scores of all."""
        self._scoring = asyncio.Lock()
        self._machine: Machine | None = None
        self._registries: tuple[Catalogue, tuple[Registry, ...]] | None = None
        self.scoreboard: Scoreboard | None = None
        """The newest; None: nobody asked for it yet."""

    async def machine(self, installation: Installation) -> Machine:
        """This machine, looked at once: its accelerators stay. Vendors' tools take seconds, at times."""
        memory_gib = installation.project.settings.engines.memory_gib
        async with self._looking:
            if self._machine is None:
                self._machine = await in_thread(partial(this_machine, installation.catalogue, memory_gib))
        return Machine(detected=self._machine.detected, memory_gib=memory_gib)

    async def scored(self, installation: Installation) -> Scoreboard:
        """Both scores of every card, worked out now where those that are there are old."""
        async with self._scoring:
            if self.scoreboard is None or not self.scoreboard.fresh(installation):
                self.scoreboard = await in_thread(partial(self._scored, installation))
            return self.scoreboard

    def _scored(self, installation: Installation) -> Scoreboard:
        catalogue = installation.catalogue
        if self._registries is None or self._registries[0] is not catalogue:
            self._registries = catalogue, ask_engines(catalogue.cards())
        registries = self._registries[1]
        scoring = Scores(installation, registries)
        found = {card.id: scoring.of(card) for card in catalogue.cards()}
        by = (catalogue, installation.policy)
        return Scoreboard(of=found, registries=registries, by=by, at=time.monotonic())


def held(visit: Visit) -> Held:
    """The process's one."""
    state = visit.request.app.state
    if getattr(state, "held", None) is None:
        state.held = Held()
    return state.held
