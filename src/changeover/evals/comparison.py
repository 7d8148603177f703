"""Comparing a candidate with the incumbent: the pairs go into the sequential test until there is a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from changeover.core.clock import Clock
from changeover.core.digest import sha256_value
from changeover.core.errors import DatasetError
from changeover.core.ids import new_id
from changeover.evals.datasets import Dataset
from changeover.evals.interval import DifferenceInterval
from changeover.evals.queries import (
    ComparedSample,
    Comparison,
    add_compared_sample,
    add_comparison,
    end_comparison,
)
from changeover.evals.runner import Pair, Runner, input_digest
from changeover.evals.scorers import ScorerSpec
from changeover.evals.sequential import Evidence, PairedTest, TestPlan, detectable_loss, fixed_n
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.tasks.declarations import Task

SEED = 20_251_121
"""Of the order in which samples are drawn; the same for everybody, so that a comparison can be repeated."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """A comparison as it stands: what a person sees while it runs, and its summary when it ends."""

    task: str
    incumbent: str
    """Deployment."""
    candidate: str
    margin: float
    verdict: Literal["pass", "fail", "inconclusive"]
    shown: str | None
    """`better`, `no worse`, `worse`, `not as good`, or None."""
    samples: int
    max_samples: int
    unusable: int
    failed: int
    difference: float
    """Candidate minus incumbent, mean over the samples, share of the score."""
    low: float
    high: float
    """95 % interval of the difference, right at every look."""
    no_worse: float
    futility: float
    better: float
    worse: float
    """E-values: evidence against each null hypothesis, as odds to 1."""
    incumbent_score: float
    candidate_score: float
    calls_new: int
    calls_cached: int
    calls_fixed_n: int | None
    """What a test of fixed size would ask of both models together, by the spread of the differences seen; None while
    they do not differ."""
    detectable_loss: float | None
    """Smallest true loss that so many samples would find with the declared error rates."""
    latency_ratio: float | None
    """Median time of the candidate's answers over the incumbent's."""
    length_ratio: float | None
    """Tokens of the candidate's answers over the incumbent's."""
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class Match:
    """What is compared: a task's dataset, scorer and gate, and two variants."""

    task: Task
    dataset: Dataset
    scorer: ScorerSpec
    incumbent: Variant
    candidate: Variant
    actor: str

    @property
    def plan(self) -> TestPlan:
        gate = self.task.declared.gate
        most = min(gate.max_samples or len(self.dataset.samples), len(self.dataset.samples))
        return TestPlan(margin=gate.margin, alpha=gate.alpha, beta=gate.beta, max_samples=most)


@dataclass
class Tally:
    """Running counts of one comparison.

    The test and the interval see one observation for each sample, but one for a whole cluster (its mean difference):
    samples of one document or conversation are not independent of each other.
    """

    plan: TestPlan
    started: float
    test: PairedTest = field(init=False)
    interval: DifferenceInterval = field(default_factory=DifferenceInterval)
    differences: list[float] = field(default_factory=list[float])
    """One for each observation."""
    cluster: str | None = None
    """The cluster whose samples are being drawn; they come one after the other."""
    waiting: list[float] = field(default_factory=list[float])
    """Differences of its samples so far."""
    pairs: list[Pair] = field(default_factory=list[Pair])
    drawn: int = 0
    unusable: int = 0
    failed: int = 0
    calls_new: int = 0
    calls_cached: int = 0

    def __post_init__(self) -> None:
        self.test = PairedTest(self.plan)

    def add(self, pair: Pair) -> Evidence:
        """Count one pair; an unusable one is counted and says nothing."""
        self.drawn += 1
        self.failed += pair.failed
        for side in (pair.incumbent, pair.candidate):
            self.calls_cached += side.cached
            self.calls_new += not side.cached
        if pair.unusable:
            self.unusable += 1
            return self.test.evidence
        self.pairs.append(pair)
        if self.cluster is None or pair.sample.cluster != self.cluster:
            self.close_cluster()
        self.cluster = pair.sample.cluster
        self.waiting.append(pair.difference)
        if self.cluster is None:
            self.close_cluster()
        return self.test.evidence

    def close_cluster(self) -> None:
        """Count what was drawn of a cluster, once it is known to be whole; at the end of a comparison too."""
        if not self.waiting:
            return
        difference = _mean(self.waiting)
        self.waiting = []
        self.differences.append(difference)
        self.interval.update(difference)
        self.test.update(difference)


async def compare(
    match: Match, *, store: Store, runner: Runner, clock: Clock, on_progress: Callable[[Live], None]
) -> tuple[str, Live]:
    """Compare until there is a verdict or no sample is left. Returns the comparison's id and how it ended.

    Raises:
        DatasetError: The dataset has no sample.
    """
    if not match.dataset.samples:
        raise DatasetError(f"Dataset `{match.dataset.path}` has no sample.")
    comparison = _new(match, clock)
    await asyncio.to_thread(_in_transaction, store, add_comparison, comparison)
    tally = Tally(plan=match.plan, started=clock.monotonic())
    samples = match.dataset.shuffled(SEED)[: match.plan.max_samples]
    pairs = runner.pairs(match.task, match.scorer, samples, match.incumbent, match.candidate)
    async with aclosing(pairs):
        async for pair in pairs:
            evidence = tally.add(pair)
            if not pair.unusable:
                row = _compared(comparison.id, len(tally.pairs), pair, evidence)
                await asyncio.to_thread(_in_transaction, store, add_compared_sample, row)
            on_progress(describe(match, tally, clock))
            if evidence.verdict != "inconclusive":
                break
    tally.close_cluster()
    ended = describe(match, tally, clock)
    await asyncio.to_thread(_end, store, comparison.id, ended, clock)
    return comparison.id, ended


def describe(match: Match, tally: Tally, clock: Clock) -> Live:
    """Say how a comparison stands."""
    evidence, count = tally.test.evidence, len(tally.pairs)
    seconds = clock.monotonic() - tally.started
    left = tally.test.samples_left()
    most = tally.plan.max_samples or count
    low, high = tally.interval.low, tally.interval.high
    spread = _variance(tally.differences)
    return Live(
        task=match.task.name,
        incumbent=match.incumbent.deployment,
        candidate=match.candidate.deployment,
        margin=tally.plan.margin,
        verdict=_verdict(match, tally, evidence),
        shown=evidence.shown,
        samples=count,
        max_samples=most,
        unusable=tally.unusable,
        failed=tally.failed,
        difference=evidence.mean,
        low=low,
        high=high,
        no_worse=evidence.no_worse,
        futility=evidence.futility,
        better=evidence.better,
        worse=evidence.worse,
        incumbent_score=_mean([pair.incumbent.score.value for pair in tally.pairs]),
        candidate_score=_mean([pair.candidate.score.value for pair in tally.pairs]),
        calls_new=tally.calls_new,
        calls_cached=tally.calls_cached,
        calls_fixed_n=2 * fixed_n(spread, tally.plan.margin, tally.plan.alpha, tally.plan.beta) if spread else None,
        detectable_loss=detectable_loss(spread, len(tally.differences), tally.plan.alpha, tally.plan.beta)
        if spread
        else None,
        latency_ratio=_ratio(
            tally, lambda pair: pair.candidate.answer.duration_ms, lambda p: p.incumbent.answer.duration_ms
        ),
        length_ratio=_ratio(
            tally,
            lambda pair: pair.candidate.answer.completion_tokens or 0,
            lambda pair: pair.incumbent.answer.completion_tokens or 0,
        ),
        seconds=seconds,
        seconds_left=None if left is None or not count else min(left, most - count) * seconds / count,
    )


def comparison_keys(match: Match) -> dict[str, str]:
    """What a finished comparison must agree on to count as evidence for this match."""
    return {
        "incumbent": match.incumbent.id,
        "candidate": match.candidate.id,
        "dataset": match.dataset.digest,
        "scorer": sha256_value([match.scorer.digest, _plan(match)]),
    }


def _verdict(match: Match, tally: Tally, evidence: Evidence) -> Literal["pass", "fail", "inconclusive"]:
    """The test's verdict; but a pass needs that nearly everything could be measured."""
    failed_share = tally.failed / tally.drawn if tally.drawn else 0.0
    if evidence.verdict == "pass" and failed_share > match.task.declared.gate.max_failed_share:
        return "inconclusive"
    return evidence.verdict


def _new(match: Match, clock: Clock) -> Comparison:
    return Comparison(
        id=new_id("cmp"),
        task=match.task.name,
        plan=_plan(match),
        actor=match.actor,
        verdict=None,
        summary=None,
        started_at=clock.now(),
        ended_at=None,
        **comparison_keys(match),
    )


def _plan(match: Match) -> Mapping[str, Any]:
    return {**asdict(match.plan), "seed": SEED, "scorer": match.scorer.digest}


def _compared(comparison: str, position: int, pair: Pair, evidence: Evidence) -> ComparedSample:
    return ComparedSample(
        comparison=comparison,
        position=position,
        sample=input_digest(pair.sample),
        sample_id=pair.sample.id,
        incumbent_answer=pair.incumbent.answer.id,
        candidate_answer=pair.candidate.answer.id,
        incumbent_score=pair.incumbent.score.value,
        candidate_score=pair.candidate.score.value,
        evidence={
            "observations": evidence.samples,
            "no_worse": evidence.no_worse,
            "futility": evidence.futility,
            "better": evidence.better,
            "worse": evidence.worse,
        },
    )


def _end(store: Store, id: str, ended: Live, clock: Clock) -> None:
    with store.write() as connection:
        end_comparison(connection, id, verdict=ended.verdict, summary=asdict(ended), now=clock.now())


def _in_transaction(store: Store, action: Callable[..., None], *values: Any) -> None:
    with store.write() as connection:
        action(connection, *values)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _variance(values: list[float]) -> float:
    mean = _mean(values)
    return _mean([(value - mean) ** 2 for value in values])


def _ratio(tally: Tally, over: Callable[[Pair], float], under: Callable[[Pair], float]) -> float | None:
    answered = [
        pair
        for pair in tally.pairs
        if pair.candidate.answer.text is not None and pair.incumbent.answer.text is not None
    ]
    if not answered:
        return None
    base = median(map(under, answered))
    return median(map(over, answered)) / base if base else None
