"""Looking at an engine that somebody else runs: whether it is there, and once whether it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from changeover.core.errors import EngineError
from changeover.serving.backends import Elsewhere
from changeover.serving.first_answer import answer_elsewhere
from changeover.serving.life import Timing
from changeover.serving.upstream import Upstream


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is known after a look at it."""

    there: bool
    """It can answer. Single looks that fail do not change that."""
    said: str
    """What a person should know of it; why, where it cannot answer."""


async def looks(upstream: Upstream, where: Elsewhere, timing: Timing) -> AsyncGenerator[Look]:
    """Look for ever. Until it has answered once it counts as absent, if it is to be asked at all."""
    there, checked, misses, said = False, not where.first_answer, 0, ""
    while True:
        problem, asked = await upstream.probe(timing.health_timeout_s), False
        if problem is None and not checked:
            asked = True
            try:
                said = await answer_elsewhere(upstream, where.model, timing.elsewhere_answer_s)
                checked = True
            except EngineError as exc:
                problem = exc.message
        misses = 0 if problem is None else misses + 1
        if problem is None:
            there = True
            yield Look(there=True, said=said)
        elif not there or misses >= timing.health_misses:
            there, said = False, ""
            yield Look(there=False, said=problem)
        # Whoever has just been asked in vain is not asked again at once: an answer may cost something.
        fast = not there or problem is not None
        await asyncio.sleep(timing.health_every_s if fast and not asked else timing.elsewhere_every_s)
