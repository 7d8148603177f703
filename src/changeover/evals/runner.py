"""Running a comparison: both variants answer the same samples in a random order until the evidence is enough.

Answers and scores are kept as they come, by bundle, sample and scorer, so that an interruption costs nothing and a
second comparison with the same incumbent asks it nothing. Samples are counted in drawn order, not in order of
completion: counting fast answers first would favour the faster model.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from changeover.core.clock import Clock
from changeover.core.digest import sha256_value
from changeover.evals.caller import Caller
from changeover.evals.datasets import Sample
from changeover.evals.queries import StoredAnswer, StoredScore, add_answer, add_score, find_answer, find_score
from changeover.evals.sandbox import Sandbox
from changeover.evals.scorers import ScorerSpec, score
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.tasks.declarations import Task

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One variant's answer to one sample with its score."""

    answer: StoredAnswer
    score: StoredScore
    cached: bool
    """The answer was there already: no call was made."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both variants on one sample."""

    sample: Sample
    incumbent: Scored
    candidate: Scored

    @property
    def difference(self) -> float:
        """Candidate minus incumbent, -1 to 1."""
        return self.candidate.score.value - self.incumbent.score.value

    @property
    def unusable(self) -> bool:
        """A scorer failed: the sample says nothing about either model. A model's failure says a lot: it scores 0."""
        return self.incumbent.score.error is not None or self.candidate.score.error is not None

    @property
    def failed(self) -> bool:
        """Somebody could not answer, or an answer could not be scored."""
        return self.unusable or self.incumbent.answer.error is not None or self.candidate.answer.error is not None


class Runner:
    """Gets answers and scores, from the cache or from the models."""

    def __init__(self, *, store: Store, caller: Caller, sandbox: Sandbox, clock: Clock, at_once: int) -> None:
        self._store = store
        self._caller = caller
        self._sandbox = sandbox
        self._clock = clock
        self._at_once = at_once

    async def pairs(
        self, task: Task, scorer: ScorerSpec, samples: Sequence[Sample], incumbent: Variant, candidate: Variant
    ) -> AsyncGenerator[Pair]:
        """Answer and score samples, a few at once, and give them in the order in which they were drawn."""

        async def both(sample: Sample) -> Pair:
            one, other = await asyncio.gather(
                self.scored(task, scorer, sample, incumbent), self.scored(task, scorer, sample, candidate)
            )
            return Pair(sample=sample, incumbent=one, candidate=other)

        async for pair in _in_order(samples, both, self._at_once):
            yield pair

    async def scores(
        self, task: Task, scorer: ScorerSpec, samples: Sequence[Sample], variant: Variant
    ) -> AsyncGenerator[tuple[Sample, Scored]]:
        """Answer and score samples with one variant."""

        async def one(sample: Sample) -> tuple[Sample, Scored]:
            return sample, await self.scored(task, scorer, sample, variant)

        async for result in _in_order(samples, one, self._at_once):
            yield result

    async def scored(self, task: Task, scorer: ScorerSpec, sample: Sample, variant: Variant) -> Scored:
        """One variant's answer to one sample, and its score."""
        answer, cached = await self._answer(task, sample, variant)
        return Scored(answer=answer, score=await self._score(scorer, sample, answer), cached=cached)

    async def _answer(self, task: Task, sample: Sample, variant: Variant) -> tuple[StoredAnswer, bool]:
        key = input_digest(sample)
        known = await asyncio.to_thread(self._find_answer, variant.bundle.digest, key)
        if known is not None:
            return known, True
        messages = [{"role": message.role, "content": message.content} for message in sample.input]
        reply = await self._caller.ask(f"{task.name}@{variant.id}", messages, timeout_s=task.declared.timeout_s)
        answer = StoredAnswer(
            id=0,
            bundle=variant.bundle.digest,
            sample=key,
            repeat=0,
            text=reply.text,
            error=reply.error,
            finish_reason=reply.finish_reason,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            duration_ms=reply.duration_ms,
        )
        return await asyncio.to_thread(self._keep_answer, answer), False

    async def _score(self, scorer: ScorerSpec, sample: Sample, answer: StoredAnswer) -> StoredScore:
        if answer.text is None:
            return StoredScore(value=0.0, detail={"model failed": answer.error}, error=None)
        key = score_digest(scorer, sample)
        known = await asyncio.to_thread(self._find_score, answer.id, key)
        if known is not None:
            return known
        result = await score(scorer, sample, answer.text, sandbox=self._sandbox)
        kept = StoredScore(value=result.value, detail=result.detail, error=result.error)
        if kept.error is None:
            # A scorer that could not run is not a result; it may run next time.
            await asyncio.to_thread(self._keep_score, answer.id, key, kept)
        return kept

    def _find_answer(self, bundle: str, sample: str) -> StoredAnswer | None:
        with self._store.read() as connection:
            return find_answer(connection, bundle, sample, 0)

    def _keep_answer(self, answer: StoredAnswer) -> StoredAnswer:
        with self._store.write() as connection:
            return add_answer(connection, answer, self._clock.now())

    def _find_score(self, answer: int, key: str) -> StoredScore | None:
        with self._store.read() as connection:
            return find_score(connection, answer, key)

    def _keep_score(self, answer: int, key: str, result: StoredScore) -> None:
        with self._store.write() as connection:
            add_score(connection, answer, key, result)


def input_digest(sample: Sample) -> str:
    """What a sample asks, without its target: an answer stays good when only the target is corrected."""
    return sha256_value([[message.role, message.content] for message in sample.input])


def score_digest(scorer: ScorerSpec, sample: Sample) -> str:
    """What a score depends on beside the answer: the scorer's version and options, the target and the input."""
    return sha256_value([scorer.digest, sample.digest])


async def _in_order(
    items: Sequence[Item], work: Callable[[Item], Coroutine[Any, Any, Result]], at_once: int
) -> AsyncGenerator[Result]:
    """Work on a few items at once and give the results in the items' order. Leaving early stops the rest."""
    waiting = iter(items)
    running: deque[asyncio.Task[Result]] = deque()
    try:
        while True:
            while len(running) < at_once and (item := next(waiting, None)) is not None:
                running.append(asyncio.create_task(work(item)))
            if not running:
                return
            yield await running[0]
            running.popleft()
    finally:
        for task in running:
            task.cancel()
        for task in running:
            with suppress(asyncio.CancelledError, Exception):
                await task
