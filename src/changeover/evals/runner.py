"""Running samples: variants answer them in a random order, and what they say is scored.

Answers and scores are kept as they come, by bundle, what was asked, repeat and scorer, so that an interruption costs
nothing and a second comparison with the same incumbent asks it nothing. Samples are counted in drawn order, not in
order of completion: counting fast answers first would favour the faster model.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from changeover.core.clock import Clock
from changeover.core.digest import sha256_value
from changeover.core.errors import JudgeError
from changeover.core.settings import Price
from changeover.evals.answers import Answer, ToolCall
from changeover.evals.budget import Budget
from changeover.evals.caller import Caller, Reply
from changeover.evals.datasets import Message, Sample
from changeover.evals.datasets.samples import asked_digest, until_model
from changeover.evals.journal import Asked, Journal
from changeover.evals.pacing import in_order, together
from changeover.evals.queries import StoredAnswer, StoredScore
from changeover.evals.sandbox import Sandbox
from changeover.evals.scorers import ScorerSpec, prefer, score
from changeover.evals.scorers.base import Means
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.tasks.declarations import Task

AHEAD = 2
"""Samples begun beyond those that can be asked at once, so that a slow answer lets nobody idle. What is begun when a
verdict comes is paid for nothing, so they are few."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One variant's answers to one sample with their score."""

    answers: tuple[StoredAnswer, ...]
    """By repeat, then by turn of the conversation."""
    score: StoredScore
    """Mean over repeats and scored turns."""
    each: tuple[float, ...] = ()
    """Score of each repeat."""
    measures: Mapping[str, StoredScore] = field(default_factory=dict[str, StoredScore])
    """By name: scorers that are reported and do not decide."""
    calls_new: int = 0
    calls_cached: int = 0
    """Answers that were there already: no call was made."""
    cost_usd: float | None = None
    """Of all its answers, also of those that were there; None where the price is not known."""

    @property
    def answer(self) -> StoredAnswer:
        """The one that people are shown: the first repeat's last turn, or the turn that failed."""
        first = [answer for answer in self.answers if answer.repeat == self.answers[0].repeat]
        return next((answer for answer in first if answer.error is not None), first[-1])

    @property
    def model_failed(self) -> bool:
        """Whether the model could not answer."""
        return any(answer.error is not None for answer in self.answers)


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
        return self.unusable or self.incumbent.model_failed or self.candidate.model_failed


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What a task's answers are scored by, and how often they are given."""

    decisive: ScorerSpec
    measures: Mapping[str, ScorerSpec] = field(default_factory=dict[str, ScorerSpec])
    repeats: int = 1


@dataclass(frozen=True)
class _Said:
    """What a variant said to one sample, once."""

    turns: tuple[tuple[Sample, StoredAnswer], ...]
    """Each turn as a sample of its own, with the answer to it. Turns after a failure are missing."""
    new: int

    @property
    def failure(self) -> str | None:
        return next((answer.error for _, answer in self.turns if answer.error is not None), None)


class Runner:
    """Gets answers and scores, from what is kept or from the models."""

    def __init__(
        self,
        *,
        store: Store,
        caller: Caller,
        sandbox: Sandbox,
        clock: Clock,
        at_once: int,
        prices: Mapping[str, Price] | None = None,
        judges: Mapping[str, tuple[Task, Variant]] | None = None,
    ) -> None:
        """Prepare to run.

        Args:
            store: Where answers and scores are kept.
            caller: Who asks.
            sandbox: Where model-written code runs.
            clock: For the rows' times.
            at_once: Calls under way at one deployment.
            prices: By deployment.
            judges: Tasks that judge, by name, with the variant that answers them.
        """
        self.journal = Journal(store, clock)
        self.budget = Budget()
        self._caller = caller
        self._ahead = at_once + AHEAD
        self._turns_at: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(at_once))
        self._prices = prices or {}
        self._judges = judges or {}
        self._under_way: dict[Asked, asyncio.Future[StoredAnswer]] = {}
        self._means = Means(sandbox=sandbox, judge=self)

    async def pairs(
        self, task: Task, scoring: Scoring, samples: Sequence[Sample], incumbent: Variant, candidate: Variant
    ) -> AsyncGenerator[Pair]:
        """Answer and score samples, a few at once, and give them in the order in which they were drawn.

        Raises:
            BudgetSpent: The next sample in order could not be asked within the budget.
        """
        await self.recall(samples, (incumbent, candidate), scoring.repeats)

        async def both(sample: Sample) -> Pair:
            if scoring.decisive.kind == "pair":
                return await self._judged(task, scoring, sample, incumbent, candidate)
            one, other = await together(
                self.scored(task, scoring, sample, incumbent), self.scored(task, scoring, sample, candidate)
            )
            return Pair(sample=sample, incumbent=one, candidate=other)

        async with self.journal, aclosing(in_order(samples, both, self._ahead)) as given:
            async for pair in given:
                yield pair

    async def scores(
        self, task: Task, scoring: Scoring, samples: Sequence[Sample], variant: Variant, *, first_repeat: int = 0
    ) -> AsyncGenerator[tuple[Sample, Scored]]:
        """Answer and score samples with one variant. Repeats are numbered from `first_repeat`.

        Raises:
            BudgetSpent: The next sample in order could not be asked within the budget.
        """
        await self.recall(samples, (variant,), first_repeat + scoring.repeats)

        async def one(sample: Sample) -> tuple[Sample, Scored]:
            return sample, await self.scored(task, scoring, sample, variant, first_repeat=first_repeat)

        async with self.journal, aclosing(in_order(samples, one, self._ahead)) as given:
            async for result in given:
                yield result

    async def recall(self, samples: Iterable[Sample], variants: Sequence[Variant], repeats: int) -> None:
        """Read what is kept, in a query for each turn of the longest conversation instead of one for each answer."""
        bundles = [variant.bundle.digest for variant in variants]
        talks: list[tuple[str, int, Sample, tuple[Message, ...]]] = []
        asked: list[str] = []
        for sample in samples:
            begun = until_model(sample.input)
            asked.append(sample.asked)
            if len(begun) < len(sample.input):
                talks += [(bundle, repeat, sample, begun) for bundle in bundles for repeat in range(repeats)]
        while asked:
            await self.journal.recall(bundles, asked)
            talks = [talk for talk in map(self._next_turn, talks) if talk is not None]
            asked = [asked_digest(so_far, sample.tools) for _, _, sample, so_far in talks]

    def _next_turn(
        self, talk: tuple[str, int, Sample, tuple[Message, ...]]
    ) -> tuple[str, int, Sample, tuple[Message, ...]] | None:
        """What a conversation asks next, if its last turn's answer is kept."""
        bundle, repeat, sample, so_far = talk
        answer = self.journal.known_answer((bundle, asked_digest(so_far, sample.tools), repeat))
        if answer is None or answer.text is None or len(so_far) == len(sample.input):
            return None
        said = Message(role="assistant", content=answer.text)
        return bundle, repeat, sample, (*so_far, said, *until_model(sample.input[len(so_far) + 1 :]))

    async def scored(
        self, task: Task, scoring: Scoring, sample: Sample, variant: Variant, *, first_repeat: int = 0
    ) -> Scored:
        """One variant's answers to one sample, and their score."""
        said = await self._said(task, scoring.repeats, sample, variant, first_repeat)
        each = [await self._mean_score(scoring.decisive, once, variant) for once in said]
        return self._result(said, variant, each, await self._measures(scoring, said, variant))

    async def _measures(self, scoring: Scoring, said: Sequence[_Said], variant: Variant) -> dict[str, StoredScore]:
        return {
            name: _mean([await self._mean_score(spec, once, variant) for once in said])
            for name, spec in scoring.measures.items()
        }

    async def ask(self, task: str, messages: Sequence[Message], *, repeat: int = 0) -> Answer:
        """Ask a task that judges. See `Judge` in the scorers."""
        if task not in self._judges:
            raise JudgeError(f"No task `{task}` that could judge. Declare tasks/{task}.toml.")
        judge, variant = self._judges[task]
        key = asked_digest(messages, ())
        if self.journal.known_answer((variant.bundle.digest, key, repeat)) is None:
            # What a judge is asked is only known now, so it could not be recalled with the samples' answers.
            await self.journal.recall([variant.bundle.digest], [key])
        answer, _ = await self._answer(judge, key, messages, (), variant, repeat)
        if answer.text is None:
            raise JudgeError(f"The judge `{task}` could not answer: {answer.error}")
        return self.seen(answer, variant)

    def seen(self, answer: StoredAnswer, variant: Variant) -> Answer:
        """A kept answer as scorers see it."""
        return Answer(
            text=answer.text or "",
            tool_calls=tuple(ToolCall(**call) for call in answer.tool_calls or ()),
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            duration_ms=answer.duration_ms,
            cost_usd=self._cost(answer, variant),
        )

    def limit(self, max_calls: int | None, max_cost_usd: float | None, variants: Iterable[Variant]) -> None:
        """Begin a run that may ask no more than this; a judge's calls count too.

        Raises:
            ConfigError: A cap on cost is set, and the price of one of the variants or judges is not known.
        """
        self.budget = Budget(max_calls=max_calls, max_cost_usd=max_cost_usd)
        asked = {variant.deployment for variant in variants} | {judge.deployment for _, judge in self._judges.values()}
        self.budget.check_prices({name: self._prices.get(name) for name in sorted(asked)})

    def cost_of(self, variants: Iterable[Variant]) -> float | None:
        """US dollars that this run's new calls have cost; None where a variant's price is not known."""
        known = all(variant.deployment in self._prices for variant in variants)
        return self.budget.cost_usd if known else None

    async def _judged(
        self, task: Task, scoring: Scoring, sample: Sample, incumbent: Variant, candidate: Variant
    ) -> Pair:
        """A pair whose scores say which answer a judge preferred: they add up to 1."""
        one, other = await together(
            self._said(task, scoring.repeats, sample, incumbent, 0),
            self._said(task, scoring.repeats, sample, candidate, 0),
        )
        preferred: list[StoredScore] = []
        for mine, theirs in zip(one, other, strict=True):
            if mine.failure is not None or theirs.failure is not None:
                value = 0.5 * ((mine.failure is not None) - (theirs.failure is not None)) + 0.5
                preferred.append(
                    StoredScore(value=value, detail={"model failed": mine.failure or theirs.failure}, error=None)
                )
                continue
            turn = mine.turns[-1][0]
            result = await prefer(
                scoring.decisive,
                turn,
                self.seen(mine.turns[-1][1], incumbent),
                self.seen(theirs.turns[-1][1], candidate),
                self._means,
            )
            preferred.append(StoredScore(value=result.value, detail=result.detail, error=result.error))
        against = [replace(score, value=1.0 - score.value) for score in preferred]
        return Pair(
            sample=sample,
            incumbent=self._result(one, incumbent, against, await self._measures(scoring, one, incumbent)),
            candidate=self._result(other, candidate, preferred, await self._measures(scoring, other, candidate)),
        )

    async def _said(self, task: Task, repeats: int, sample: Sample, variant: Variant, first_repeat: int) -> list[_Said]:
        if repeats == 1:
            return [await self._converse(task, sample, variant, first_repeat)]
        return await together(
            *(self._converse(task, sample, variant, first_repeat + number) for number in range(repeats))
        )

    async def _converse(self, task: Task, sample: Sample, variant: Variant, repeat: int) -> _Said:
        """Have a conversation: what the model says at its turns is part of what it is asked next."""
        so_far: list[Message] = []
        turns: list[tuple[Sample, StoredAnswer]] = []
        new = 0
        for position, message in enumerate(
            (*sample.input, Message(role="assistant", content=None, target=sample.target))
        ):
            if message.content is not None:
                so_far.append(message)
                continue
            first = not turns
            key = sample.asked if first else asked_digest(so_far, sample.tools)
            answer, was_new = await self._answer(task, key, so_far, sample.tools, variant, repeat)
            new += was_new
            last = position == len(sample.input)
            turn = sample if last else replace(sample, input=sample.input[:position], target=message.target or "")
            turns.append((turn, answer))
            if answer.text is None:
                break
            so_far.append(Message(role="assistant", content=answer.text))
        return _Said(tuple(turns), new)

    async def _answer(
        self,
        task: Task,
        key: str,
        messages: Sequence[Message],
        tools: tuple[Mapping[str, Any], ...],
        variant: Variant,
        repeat: int,
    ) -> tuple[StoredAnswer, bool]:
        """An answer, and whether it had to be asked for."""
        asked = (variant.bundle.digest, key, repeat)
        known = self.journal.known_answer(asked)
        if known is not None:
            return known, False
        under_way = self._under_way.get(asked)
        if under_way is not None:  # two samples, or two variants, that ask one engine the same
            return await asyncio.shield(under_way), False
        call = asyncio.ensure_future(self._call(task, key, messages, tools, variant, repeat))
        self._under_way[asked] = call
        try:
            return await call, True
        finally:
            del self._under_way[asked]

    async def _call(
        self,
        task: Task,
        key: str,
        messages: Sequence[Message],
        tools: tuple[Mapping[str, Any], ...],
        variant: Variant,
        repeat: int,
    ) -> StoredAnswer:
        async with self._turns_at[variant.deployment]:
            await self.budget.wait_for_price()
            self.budget.begin_call()
            try:
                reply = await self._caller.ask(
                    f"{task.name}@{variant.id}",
                    [{"role": message.role, "content": message.content} for message in messages],
                    timeout_s=task.declared.timeout_s,
                    seed=repeat,
                    **({"tools": tools} if tools else {}),
                )
            finally:
                self.budget.known.set()  # also where it could not be asked: nobody waits for it then
        answer = _stored(reply, variant.bundle.digest, key, repeat)
        self.budget.end_call(self._cost(answer, variant))
        return await self.journal.keep_answer(answer)

    async def _mean_score(self, spec: ScorerSpec, said: _Said, variant: Variant) -> StoredScore:
        """Mean over the turns that have a target; the last one always has."""
        if said.failure is not None:
            return StoredScore(value=0.0, detail={"model failed": said.failure}, error=None)
        last = len(said.turns) - 1
        return _mean(
            [
                await self._score(spec, turn, answer, variant)
                for number, (turn, answer) in enumerate(said.turns)
                if number == last or turn.target
            ]
        )

    async def _score(self, spec: ScorerSpec, sample: Sample, answer: StoredAnswer, variant: Variant) -> StoredScore:
        key = score_digest(spec, sample)
        known = None if spec.reads_prices else self.journal.known_score(answer.id, key)
        if known is not None:
            return known
        result = await score(spec, sample, self.seen(answer, variant), self._means)
        kept = StoredScore(value=result.value, detail=result.detail, error=result.error)
        if kept.error is None and not spec.reads_prices:
            # A scorer that could not run is not a result; it may run next time. What depends on prices changes with them.
            self.journal.keep_score(answer.id, key, kept)
        return kept

    def _result(
        self, said: Sequence[_Said], variant: Variant, each: Sequence[StoredScore], measures: Mapping[str, StoredScore]
    ) -> Scored:
        answers = tuple(answer for once in said for _, answer in once.turns)
        costs = [self._cost(answer, variant) for answer in answers]
        new = sum(once.new for once in said)
        return Scored(
            answers=answers,
            score=_mean(each),
            each=tuple(score.value for score in each),
            measures=measures,
            calls_new=new,
            calls_cached=len(answers) - new,
            cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
        )

    def _cost(self, answer: StoredAnswer, variant: Variant) -> float | None:
        price = self._prices.get(variant.deployment)
        if price is None or answer.prompt_tokens is None or answer.completion_tokens is None:
            return None
        return price.cost(answer.prompt_tokens, answer.completion_tokens)


def score_digest(scorer: ScorerSpec, sample: Sample) -> str:
    """What a score depends on beside the answer: the scorer's version and options, the target and the input."""
    return sha256_value([scorer.digest, sample.digest])


def _stored(reply: Reply, bundle: str, key: str, repeat: int) -> StoredAnswer:
    return StoredAnswer(
        id=0,
        bundle=bundle,
        sample=key,
        repeat=repeat,
        text=reply.text,
        tool_calls=tuple({"name": call.name, "arguments": call.arguments} for call in reply.tool_calls) or None,
        error=reply.error,
        finish_reason=reply.finish_reason,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        duration_ms=reply.duration_ms,
    )


def _mean(scores: Sequence[StoredScore]) -> StoredScore:
    """The mean of several results; one that has no result leaves the mean without one."""
    if len(scores) == 1:
        return scores[0]
    error = next((score.error for score in scores if score.error is not None), None)
    value = 0.0 if error is not None else sum(score.value for score in scores) / len(scores)
    parts = [{"score": score.value, **score.detail} for score in scores]
    return StoredScore(value=value, detail={"mean of": parts}, error=error)
