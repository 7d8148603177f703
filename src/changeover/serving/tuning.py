"""Tuning: which thread count, and which quantisation, answers fastest on this machine. Found by measuring each at work."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Final

from changeover.core.errors import ConfigError, EngineError
from changeover.serving.backends import Backend, Launch, usable_cores
from changeover.serving.options import OPTIONS
from changeover.serving.pace import Pace, pace_of
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ChildEngine, EngineLog, ready_deadline_s
from changeover.serving.tuned import Measured, Tuning
from changeover.serving.upstream import Upstream, make_client

AS_FAST: Final = 0.95
"""Share of the best pace that counts as just as fast: the machine's noise. Of such, the fewest threads are best."""
ALONE: Final = 3
"""Requests of a round, one after another."""
EACH: Final = 2
"""Requests of a round for each slot, all slots at once."""
STOP_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to run a model."""

    plan: EnginePlan
    threads: int

    @property
    def quantisation(self) -> str | None:
        return self.plan.quantisation

    @property
    def as_planned(self) -> EnginePlan:
        """The plan, with these threads."""
        return replace(self.plan, options={**self.plan.options, "threads": self.threads})


@dataclass(kw_only=True)
class Trial:
    """What a candidate gave, over all rounds."""

    quantisation: str | None
    threads: int
    alone: list[Pace] = field(default_factory=list[Pace])
    together: list[Pace] = field(default_factory=list[Pace])

    @property
    def alone_per_s(self) -> float:
        """Tokens a second of one request; the median of the rounds."""
        return median(each.tokens_per_s for each in self.alone)

    @property
    def together_per_s(self) -> float:
        """Tokens a second of all slots together; the median of the rounds."""
        return median(each.tokens_per_s for each in self.together)

    @property
    def first_s(self) -> float:
        """To the first token of one request, seconds; the median of the rounds."""
        return median(each.first_s for each in self.alone)

    @property
    def pace(self) -> float:
        """What trials are compared by: both paces count alike."""
        return math.sqrt(self.alone_per_s * self.together_per_s)


def candidates_of(plans: Sequence[EnginePlan], cores: int | None = None) -> list[Candidate]:
    """Every plan with every thread count that is worth a look: powers of two, and all cores.

    Raises:
        ConfigError: This kind of engine has no threads of its own to choose.
    """
    for plan in plans:
        if "threads" not in OPTIONS[plan.backend].model_fields:
            raise ConfigError(f"`{plan.backend}` engines choose their threads themselves: there is nothing to tune.")
    most = cores or usable_cores()
    counts = sorted({most, *(1 << power for power in range(most.bit_length()) if 1 << power <= most)})
    return [Candidate(plan=plan, threads=threads) for plan, threads in product(plans, counts)]


def decide(trials: Sequence[Trial], *, quantisation: str | None, slots: int, machine: str) -> Tuning:
    """The fewest threads that are as fast as any with this quantisation, and the fastest quantisation.

    Args:
        trials: All that were measured, each in as many rounds.
        quantisation: The one that the model runs in.
        slots: Requests that were answered at once.
        machine: Where.
    """
    own = [each for each in trials if each.quantisation == quantisation]
    best = max(each.pace for each in own)
    threads = min(each.threads for each in own if each.pace >= AS_FAST * best)
    fastest = max(trials, key=lambda each: each.pace)
    return Tuning(
        machine=machine,
        slots=slots,
        threads=threads,
        quantisation=quantisation,
        fastest=fastest.quantisation if fastest.pace * AS_FAST > best else quantisation,
        trials=tuple(
            Measured(
                quantisation=each.quantisation,
                threads=each.threads,
                alone_per_s=each.alone_per_s,
                together_per_s=each.together_per_s,
                first_s=each.first_s,
            )
            for each in trials
        ),
    )


async def measure(
    candidates: Sequence[Candidate],
    backend: Backend,
    log: Path,
    *,
    rounds: int,
    tokens: int,
    on_trial: Callable[[Candidate, int], None],
) -> list[Trial]:
    """Run each candidate in each round, so that a machine that grows slower meanwhile does so for all of them.

    Args:
        candidates: What to run, one after another.
        backend: Their kind of engine.
        log: File for what they say.
        rounds: How often each is started.
        tokens: Most tokens of each answer.
        on_trial: Is told which is begun, and in which round.

    Raises:
        EngineError: One did not start.
        ChangeoverError: One did not answer.
    """
    trials = [Trial(quantisation=each.quantisation, threads=each.threads) for each in candidates]
    for round_ in range(rounds):
        for candidate, trial in zip(candidates, trials, strict=True):
            on_trial(candidate, round_)
            plan = candidate.as_planned
            slots = int(getattr(plan.parsed(), "slots", 1))
            async with _running(plan, backend, log) as upstream:
                first = 1 + round_ * 1_000
                ask = partial(pace_of, upstream, model=plan.model, tokens=tokens)
                await ask(at_once=1, requests=1, first=first + 900)  # what was never used is slow
                trial.alone.append(await ask(at_once=1, requests=ALONE, first=first))
                trial.together.append(await ask(at_once=slots, requests=EACH * slots, first=first + ALONE))
    return trials


@asynccontextmanager
async def _running(plan: EnginePlan, backend: Backend, log: Path) -> AsyncGenerator[Upstream]:
    launch = backend.launch(plan)
    if not isinstance(launch, Launch):
        raise EngineError(f"`{plan.deployment}` runs elsewhere, so its threads are not ours to choose.")
    client = make_client("wire")
    engine = ChildEngine(launch, EngineLog(log), os.environ)
    try:
        ready = await engine.start(launch.start_s + ready_deadline_s(plan.artifact))
        address = f"http://127.0.0.1:{ready.port}{launch.prefix}"
        yield client.upstream(plan.deployment, address, ready.secret, launch.model, probe_path=launch.probe_path)
    finally:
        await engine.stop(STOP_S)
        await client.close()
