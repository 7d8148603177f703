"""The reconcile loop: read the rollouts that are under way, decide, perform. A restart goes on from the rows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable

from changeover.core.actors import SYSTEM
from changeover.core.clock import Clock
from changeover.core.errors import GateError, StoreError
from changeover.core.threads import in_thread
from changeover.rollouts.actions import By, advance, finish, promote, put_on_hold, refuse, roll_back, settle
from changeover.rollouts.decide import (
    Advance,
    Decision,
    Evidence,
    Finish,
    Promote,
    PutOnHold,
    Refuse,
    RollBack,
    Rollout,
    Settle,
    Wait,
    decide,
)
from changeover.rollouts.observing import Observer
from changeover.rollouts.overrides import end_overrides
from changeover.rollouts.queries import active_rollouts, open_overrides
from changeover.rollouts.terms import Terms, no_terms
from changeover.store.engine import Store
from changeover.store.glance import Glance
from changeover.store.lead import Lead

log = logging.getLogger(__name__)

TICK_S = 0.25


class Controller:
    """Brings every rollout on by itself, in the one process that leads."""

    def __init__(
        self,
        store: Store,
        is_ready: Callable[[str], bool],
        clock: Clock,
        lead: Lead | None = None,
        terms: Terms = no_terms,
    ) -> None:
        """Nothing is looked at yet; without a `lead` nobody else brings rollouts on."""
        self._store = store
        self._clock = clock
        self._lead = lead
        self._observer = Observer(store, is_ready, clock, terms)
        self._at_rest = False
        """Nothing was found that goes on by itself: until something is written, there is nothing to do."""

    async def run(self) -> None:
        """Tick for ever. A store that is gone is tried again; the rows know where everything stood."""
        glance = Glance(self._store)
        while True:
            try:
                if glance.tells_news() or not self._at_rest:
                    await in_thread(self.tick)
            except StoreError as exc:
                glance.forget()
                log.warning("rollouts: %s", exc)
            await asyncio.sleep(TICK_S)

    def tick(self) -> None:
        """Look at every rollout once, if this process leads."""
        self._at_rest = False
        if self._lead is not None and not self._lead.held():
            return
        # First: nothing may go on by leave that has ended while nobody looked.
        end_overrides(self._store, By(SYSTEM, "", self._clock.now()))
        with self._store.read() as connection:
            rollouts = active_rollouts(connection)
            self._at_rest = not rollouts and not open_overrides(connection)
        self._observer.look(rollouts)
        for rollout in rollouts:
            evidence = self._observer.evidence(rollout)
            decision = decide(rollout, evidence, self._clock.now())
            try:
                self._perform(rollout, evidence, decision)
            except GateError as exc:
                # Somebody else changed it between the look and the deed; the next tick sees what is true then.
                log.info("rollout %d: %s", rollout.id, exc)
                if rollout.plan.exchange and isinstance(decision, Promote):
                    self._hold(rollout, exc.message)

    def _hold(self, rollout: Rollout, reason: str) -> None:
        """Leave it to a person: engines that cannot be exchanged now could not be at the next look either."""
        by = By(SYSTEM, reason, self._clock.now())
        with contextlib.suppress(GateError), self._store.write() as connection:
            put_on_hold(connection, rollout, "held", by)

    def _perform(self, rollout: Rollout, evidence: Evidence, decision: Decision) -> None:
        if isinstance(decision, Wait):
            return
        by = By(actor=SYSTEM, reason=decision.reason, now=self._clock.now())
        with self._store.write() as connection:
            match decision:
                case PutOnHold():
                    put_on_hold(connection, rollout, "held", by)
                case Refuse():
                    refuse(connection, rollout, evidence, by)
                case Advance(step=step):
                    advance(connection, rollout, step, evidence, by)
                case Promote():
                    promote(connection, rollout, evidence, by)
                case RollBack():
                    roll_back(connection, rollout.task, by, evidence, only=rollout)
                case Settle():
                    settle(connection, rollout, evidence, by)
                case Finish():
                    finish(connection, rollout, evidence, by)
        log.info("rollout %d of %s: %s: %s", rollout.id, rollout.task, _name(decision), decision.reason)


def _name(decision: Decision) -> str:
    """Such as `roll back`."""
    return re.sub("(?<=.)(?=[A-Z])", " ", type(decision).__name__).lower()
