"""Tuning a model for this machine: measured, kept, and given to its deployments. `app.tunings` reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from changeover.app.installation import Installation
from changeover.app.room import room_for
from changeover.core.errors import EngineError
from changeover.serving.eviction import NoRoom, Unload
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import all_deployments, keep_tuning, set_threads
from changeover.serving.tuned import Tuning, this_machine
from changeover.serving.tuning import Candidate, candidates_of, decide, measure

OnTrial = Callable[[Candidate, int], None]
"""Is told which candidate is begun, and in which round."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What was found, and which deployments run by it from their next start on."""

    tuning: Tuning
    deployments: tuple[str, ...]


async def tune(
    installation: Installation,
    plans: Sequence[EnginePlan],
    actor: str,
    *,
    rounds: int,
    tokens: int,
    on_trial: OnTrial,
) -> Tuned:
    """Measure a model's plans, keep what is best, and have its deployments run so.

    Args:
        installation: The project.
        plans: The one that it runs by, and others that differ by their weights; each is run, one at a time.
        actor: Who asks.
        rounds: How often each candidate is started.
        tokens: Most tokens of each answer.
        on_trial: Is told what is begun.

    Raises:
        ConfigError: This kind of engine has no threads to choose.
        EngineError: Memory does not hold it beside what runs, or it did not start.
    """
    candidates = candidates_of(plans)
    first = plans[0]
    with installation.store.read() as connection:
        for plan in plans:
            room = room_for(installation, connection, plan, without=plan.deployment)
            if room != Unload():  # what is measured here runs beside the fleet, which unloads nothing for it
                why = room.fit if isinstance(room, NoRoom) else f"has no room beside {', '.join(room.names)}"
                raise EngineError(
                    f"`{plan.deployment}` {why}. `changeover undeploy` what is not needed, then ask again."
                )
    log = installation.project.state / "logs" / f"{first.deployment}.tuning.log"
    backend = installation.backends[first.backend]
    trials = await measure(candidates, backend, log, rounds=rounds, tokens=tokens, on_trial=on_trial)
    slots = int(getattr(first.parsed(), "slots", 1))
    tuning = decide(trials, quantisation=first.quantisation, slots=slots, machine=this_machine())
    now = installation.clock.now()
    with installation.store.write() as connection:
        keep_tuning(connection, tuning, model=first.model, backend=first.backend, actor=actor, now=now)
        mine = [
            row.name for row in all_deployments(connection) if (row.model, row.backend) == (first.model, first.backend)
        ]
        for name in mine:
            set_threads(connection, name, tuning.threads, now)
    return Tuned(tuning=tuning, deployments=tuple(mine))
