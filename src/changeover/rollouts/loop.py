"""The reconcile loop: read the rollouts that are under way, decide, perform. A restart goes on from the rows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from changeover.core.clock import Clock
from changeover.core.errors import GateError, StoreError
from changeover.evals.sequential import bad_event_evidence
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
from changeover.rollouts.exchange import Exchanges, counted_since
from changeover.rollouts.queries import active_rollouts
from changeover.serving.queries import load_variants
from changeover.store.engine import Store
from changeover.tasks.queries import outcomes

log = logging.getLogger(__name__)

ACTOR = "changeover"
"""Who the history names for what happened by itself."""
TICK_S = 0.25


class Controller:
    """Brings every rollout on by itself."""

    def __init__(self, store: Store, is_ready: Callable[[str], bool], clock: Clock) -> None:
        self._store = store
        self._is_ready = is_ready
        self._exchanges = Exchanges(is_ready, clock)
        self._clock = clock

    async def run(self) -> None:
        """Tick for ever. A store that is gone is tried again; the rows know where everything stood."""
        while True:
            try:
                await asyncio.to_thread(self.tick)
            except StoreError as exc:
                log.warning("rollouts: %s", exc)
            await asyncio.sleep(TICK_S)

    def tick(self) -> None:
        """Look at every rollout once."""
        with self._store.read() as connection:
            rollouts = active_rollouts(connection)
        for rollout in rollouts:
            evidence = self.evidence(rollout)
            decision = decide(rollout, evidence, self._clock.now())
            try:
                self._perform(rollout, evidence, decision)
            except GateError as exc:
                # Somebody else changed it between the look and the deed; the next tick sees what is true then.
                log.info("rollout %d: %s", rollout.id, exc)

    def evidence(self, rollout: Rollout) -> Evidence:
        """What the exchanges say of a rollout's candidate."""
        with self._store.read() as connection:
            whole = outcomes(connection, rollout.task, rollout.candidate, counted_since(rollout))
            step = outcomes(connection, rollout.task, rollout.candidate, rollout.step_started_at)
            variants = load_variants(connection, [rollout.candidate])
            exchange = self._exchanges.look(connection, rollout)
        return Evidence(
            whole=whole,
            step=step,
            guard=bad_event_evidence(rollout.plan.tolerated_failures, events=whole.asked, bad_events=whole.failed),
            candidate_ready=self._is_ready(variants[rollout.candidate].deployment),
            exchange=exchange,
        )

    def _perform(self, rollout: Rollout, evidence: Evidence, decision: Decision) -> None:
        if isinstance(decision, Wait):
            return
        by = By(actor=ACTOR, reason=decision.reason, now=self._clock.now())
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
                    roll_back(connection, rollout.task, by, evidence)
                case Settle():
                    settle(connection, rollout, evidence, by)
                case Finish():
                    finish(connection, rollout, evidence, by)
        log.info("rollout %d of %s: %s: %s", rollout.id, rollout.task, type(decision).__name__.lower(), decision.reason)
