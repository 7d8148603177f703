"""Evaluations that nobody sits before: measures the candidates of rollouts that were begun without evidence.

Each is a process of its own, `changeover compare`, so that scoring takes no time from whoever answers. What it has asked
is kept by bundle, so that one which was killed goes on where it was; whether the rollout may go on, `decide` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from changeover.app.installation import Installation
from changeover.core.actors import SYSTEM
from changeover.core.errors import ChangeoverError, GateError
from changeover.core.threads import in_thread
from changeover.evals.queries import Comparison, find_comparison
from changeover.rollouts.actions import By, evaluated, put_on_hold
from changeover.rollouts.decide import Rollout
from changeover.rollouts.queries import active_rollouts, find_rollout
from changeover.store.glance import Glance
from changeover.store.lead import Lead

log = logging.getLogger(__name__)

TICK_S = 0.5
AT_ONCE = 1
"""Evaluations under way: they share the machine with whoever answers."""
DECIDED = (0, 1, 3)
"""Statuses with which a comparison ends that has a verdict."""


@dataclass(frozen=True)
class _Said:
    """How a comparison's process ended."""

    status: int
    out: str
    err: str


class Evaluator:
    """Runs in the process that leads."""

    def __init__(self, installation: Installation, lead: Lead) -> None:
        self._installation = installation
        self._store = installation.store
        self._lead = lead
        self._running: dict[int, asyncio.Task[None]] = {}
        self._stopped = False

    def stop(self) -> None:
        """Begin none any more, and end what is under way; the next start makes it again.

        Called when the gateway begins to drain: an evaluation that it does not answer any more has not failed.
        """
        if self._stopped:  # a second cancellation would not let the first one clear away
            return
        self._stopped = True
        for task in self._running.values():
            task.cancel()

    async def run(self) -> None:
        """Look for rollouts to be evaluated until `stop`. What is under way when this ends, ends too."""
        glance = Glance(self._store)
        try:
            while True:
                try:
                    found = await in_thread(self._waiting) if glance.tells_news() else ()
                    if found:
                        glance.forget()  # more than can be evaluated at once may wait
                    for rollout in found:
                        if not self._stopped and rollout.id not in self._running and len(self._running) < AT_ONCE:
                            self._begin(rollout)
                except ChangeoverError as exc:
                    glance.forget()
                    log.warning("evaluations: %s", exc)
                await asyncio.sleep(TICK_S)
        finally:
            self.stop()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _waiting(self) -> list[Rollout]:
        if not self._lead.held():
            return []
        with self._store.read() as connection:
            rollouts = active_rollouts(connection)
        return [each for each in rollouts if _is_to_be_evaluated(each)]

    def _begin(self, rollout: Rollout) -> None:
        task = self._running[rollout.id] = asyncio.create_task(self._evaluate(rollout))
        task.add_done_callback(lambda _: self._running.pop(rollout.id, None))

    async def _evaluate(self, rollout: Rollout) -> None:
        try:
            said = await self._compare(rollout)
            await in_thread(partial(self._conclude, rollout, said))
        except GateError as exc:
            log.info("rollout %d: %s", rollout.id, exc)
        except (ChangeoverError, OSError) as exc:
            log.warning("evaluation of rollout %d: %s", rollout.id, exc)
            await asyncio.sleep(TICK_S)

    async def _compare(self, rollout: Rollout) -> _Said:
        command = (sys.executable, "-m", "changeover", "compare", "--rollout", str(rollout.id), "--json")
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self._installation.project.root,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which ends it
        )
        watching = asyncio.create_task(self._until_over(rollout))
        talking = asyncio.create_task(process.communicate())
        try:
            await asyncio.wait({watching, talking}, return_when=asyncio.FIRST_COMPLETED)
            if not talking.done():
                raise GateError("it is over, and so is its evaluation")
            out, err = talking.result()
        finally:
            watching.cancel()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            await asyncio.gather(watching, talking, return_exceptions=True)
        return _Said(process.returncode or 0, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    async def _until_over(self, rollout: Rollout) -> None:
        """Wait until somebody ended the rollout, or put it on hold."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                now = await in_thread(partial(self._find, rollout.id))
            except ChangeoverError:
                continue
            if now is None or not _is_to_be_evaluated(now):
                return

    def _find(self, id: int) -> Rollout | None:
        with self._store.read() as connection:
            return find_rollout(connection, id)

    def _conclude(self, rollout: Rollout, said: _Said) -> None:
        """Write down what came of it. What went wrong waits for a person: it would go wrong again."""
        by = By(actor=SYSTEM, reason="", now=self._installation.clock.now())
        found = _document(said.out) if said.status in DECIDED else {}
        id = found.get("comparison")
        if not isinstance(id, str):
            why = said.err.strip().splitlines()[-1:] or [f"it ended with status {said.status}"]
            self._hold(rollout, f"the evaluation could not be made: {why[0].removeprefix('error ')}")
            return
        with self._store.read() as connection:
            comparison = find_comparison(connection, id)
        if (comparison.incumbent, comparison.candidate) != (rollout.incumbent, rollout.candidate):
            self._hold(rollout, f"comparison {id} is about other variants")
            return
        with self._store.write() as connection:
            evaluated(connection, rollout, id, str(comparison.verdict), _because(by, comparison))

    def _hold(self, rollout: Rollout, reason: str) -> None:
        by = By(actor=SYSTEM, reason=reason, now=self._installation.clock.now())
        with self._store.write() as connection:
            put_on_hold(connection, rollout, "held", by)


def _is_to_be_evaluated(rollout: Rollout) -> bool:
    return rollout.state == "evaluation" and rollout.hold is None and rollout.comparison is None


def _because(by: By, comparison: Comparison) -> By:
    summary = comparison.summary or {}
    samples = summary.get("samples")
    return By(actor=by.actor, reason=f"{comparison.verdict} after {samples} samples ({comparison.id})", now=by.now)


def _document(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
