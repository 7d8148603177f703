"""Comparing a candidate with the incumbent: the pairs go into the sequential test until there is a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from statistics import median
from typing import Any, Literal

from changeover import __version__
from changeover.core.clock import Clock
from changeover.core.digest import sha256_value
from changeover.core.errors import DatasetError
from changeover.core.ids import new_id
from changeover.evals.budget import BudgetSpent
from changeover.evals.datasets import Dataset, Sample
from changeover.evals.datasets.queries import check_not_edited, keep_version
from changeover.evals.floor import Floor, Standing
from changeover.evals.judges.bias import Judgement, doubt, judgements_of
from changeover.evals.known import covering, known_pool, whole
from changeover.evals.queries import ComparedSample, Comparison, add_comparison, end_comparison
from changeover.evals.runner import Pair, Runner, Scored, Scoring
from changeover.evals.scorers import ScorerSpec
from changeover.evals.sequential import Evidence, TestPlan, Verdict, detectable_loss, fixed_n
from changeover.evals.stopping import Stop, Stopped, until
from changeover.evals.weighing import Weighing
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.tasks.declarations import Task

SEED = 20_251_121
"""Of the order in which samples are drawn; the same for everybody, so that a comparison can be repeated."""

HOPELESS = 5
"""So many samples at the start of which no scorer could score any: the scorer is broken, not the models."""

PROGRESS_S = 0.1
"""Shortest time between two looks at a running comparison."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """A comparison as it stands: what a person sees while it runs, and its summary when it ends."""

    task: str
    incumbent: str
    """Deployment."""
    candidate: str
    margin: float
    about: Literal["population", "dataset"]
    verdict: Verdict
    shown: str | None
    """`better`, `no worse`, `worse`, `not as good`, or None."""
    stopped: str | None
    """Why it ended before a verdict and before its last sample; None where it did not."""
    doubt: str | None
    """Why the judge's word cannot carry the pass that the scores would allow; None where it can, or need not."""
    samples: int
    max_samples: int
    min_samples: int
    """No verdict before so many."""
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
    covariates: tuple[str, ...]
    """Whose earlier scores made the differences less noisy."""
    incumbent_score: float
    candidate_score: float
    floor: float | None
    """Mean score below which the candidate is refused; None: none is declared."""
    standing: Standing
    """How the candidate stands to the floor."""
    calls_new: int
    """All that were begun: a judge's too, and those for samples ahead of the one that decided."""
    calls_cached: int
    """Answers of the counted samples that were there already."""
    cost_usd: float | None
    """Of the new calls; None where a price is not known."""
    calls_fixed_n: int | None
    """What a test of fixed size would ask of both models together, by the spread of the differences seen; None while
    they do not differ."""
    detectable_loss: float | None
    """Smallest true loss that so many samples would find with the declared error rates."""
    latency_ratio: float | None
    """Median over the samples: time of the candidate's answer over the incumbent's. None while it runs."""
    length_ratio: float | None
    """The same for tokens."""
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class Match:
    """What is compared: a task's dataset, scorers and gate, and two variants."""

    task: Task
    dataset: Dataset
    scorer: ScorerSpec
    measures: Mapping[str, ScorerSpec] = field(default_factory=dict[str, ScorerSpec])
    """Reported beside the verdict, by name."""
    incumbent: Variant
    candidate: Variant
    actor: str
    notes: tuple[str, ...] = ()
    """What the report must say of its judges."""

    @cached_property
    def plan(self) -> TestPlan:
        gate = self.task.declared.gate
        most = min(gate.max_samples or len(self.dataset.samples), len(self.dataset.samples))
        return TestPlan(
            margin=gate.margin, alpha=gate.alpha, beta=gate.beta, max_samples=most, min_samples=gate.min_samples
        )

    @property
    def scoring(self) -> Scoring:
        return Scoring(decisive=self.scorer, measures=self.measures, repeats=self.task.declared.repeats)


@dataclass
class Tally:
    """Running counts of one comparison."""

    weighing: Weighing
    floor: Floor
    started: float
    pairs: list[Pair] = field(default_factory=list[Pair])
    """Those that could be scored for both."""
    drawn: int = 0
    judgements: list[Judgement] = field(default_factory=list[Judgement])
    """What a judge said of the usable ones."""
    unusable: int = 0
    failed: int = 0
    calls_cached: int = 0

    def add(self, pair: Pair) -> Evidence:
        """Count one pair; an unusable one is counted and says nothing."""
        self.drawn += 1
        self.failed += pair.failed
        for side in (pair.incumbent, pair.candidate):
            self.calls_cached += side.calls_cached
        if pair.unusable:
            self.unusable += 1
            return self.weighing.add(None, pair.sample.cluster)
        self.pairs.append(pair)
        self.floor.add(pair.candidate.score.value, pair.sample.cluster)
        self.judgements += judgements_in(pair.incumbent.score.detail, pair.candidate.score.detail)
        return self.weighing.add(pair.difference, pair.sample.cluster)

    @property
    def decided(self) -> bool:
        """Whether more samples would change nothing. A pass waits until the candidate is surely above the floor."""
        verdict, standing = self.weighing.evidence.verdict, self.floor.standing
        return standing == "below" or verdict == "fail" or (verdict == "pass" and standing == "above")

    @property
    def hopeless(self) -> bool:
        """Whether nothing could be scored from the start."""
        return self.drawn >= HOPELESS and self.unusable == self.drawn


async def compare(
    match: Match,
    *,
    store: Store,
    runner: Runner,
    clock: Clock,
    on_progress: Callable[[Live], None],
    progress_s: float = PROGRESS_S,
    on_begun: Callable[[str], None] = lambda _: None,
    stop: Stop | None = None,
) -> tuple[str, Live]:
    """Compare until there is a verdict, or no sample or budget is left. Returns the comparison's id and how it ended.

    Args:
        match: What is compared.
        store: Where it is kept.
        runner: Who asks and scores.
        clock: For its times.
        on_progress: Told how it stands, now and then and at the end.
        progress_s: Shortest time between two times that it is told.
        on_begun: Told its id, before anything is asked.
        stop: By which somebody can end it as if its budget were spent, but at once.

    Raises:
        DatasetError: The dataset has no sample, or one that was scored was edited in place.
        ConfigError: A cap on cost is set, and a price is not known.
    """
    if not match.dataset.samples:
        raise DatasetError(f"Dataset `{match.dataset.path}` has no sample.")
    gate = match.task.declared.gate
    runner.limit(gate.max_calls, gate.max_cost_usd, (match.incumbent, match.candidate))
    comparison, weighing, samples = await asyncio.to_thread(_begin, store, match, clock)
    on_begun(comparison.id)
    tally = Tally(weighing, Floor(gate.floor), started=clock.monotonic())
    stopped, looked = None, clock.monotonic()
    pairs = runner.pairs(match.task, match.scoring, samples, match.incumbent, match.candidate)
    try:
        async with aclosing(pairs), aclosing(until(pairs, stop)) as coming:
            async for pair in coming:
                tally.add(pair)
                runner.journal.keep_compared(_compared(comparison.id, tally, pair))
                if clock.monotonic() - looked >= progress_s:
                    looked = clock.monotonic()
                    on_progress(describe(match, tally, clock, runner))
                if tally.decided:
                    break
                if tally.hopeless:
                    stopped = f"no scorer could score any of the first {HOPELESS} samples: {_first_error(pair)}"
                    break
    except (BudgetSpent, Stopped) as spent:
        stopped = str(spent)
    await runner.journal.flush()  # a verdict without its scores on disk could not be replayed
    tally.weighing.finish(stopped=stopped is not None)
    ended = describe(match, tally, clock, runner, ended=True, stopped=stopped)
    on_progress(ended)
    await asyncio.to_thread(_end, store, comparison.id, ended, clock)
    return comparison.id, ended


def describe(
    match: Match, tally: Tally, clock: Clock, runner: Runner, *, ended: bool = False, stopped: str | None = None
) -> Live:
    """Say how a comparison stands. What answers take is only summed up when it has ended."""
    weighing = tally.weighing
    evidence, count, plan = weighing.evidence, len(tally.pairs), match.plan
    seconds = clock.monotonic() - tally.started
    left = weighing.test.samples_left()
    most = plan.max_samples or count
    spread = _variance(weighing.differences)
    doubtful = doubt(tally.judgements) if evidence.verdict == "pass" else None
    return Live(
        task=match.task.name,
        incumbent=match.incumbent.deployment,
        candidate=match.candidate.deployment,
        margin=plan.margin,
        about=weighing.about,
        verdict=checked_verdict(
            evidence.verdict,
            _rules(match),
            failed=tally.failed,
            drawn=tally.drawn,
            doubtful=doubtful,
            standing=tally.floor.standing,
        ),
        shown=evidence.shown,
        stopped=stopped,
        doubt=doubtful,
        samples=count,
        max_samples=most,
        min_samples=plan.min_samples,
        unusable=tally.unusable,
        failed=tally.failed,
        difference=_mean(weighing.differences),
        low=weighing.interval.low,
        high=weighing.interval.high,
        no_worse=evidence.no_worse,
        futility=evidence.futility,
        better=evidence.better,
        worse=evidence.worse,
        covariates=() if weighing.pool is None else (match.incumbent.deployment, *weighing.pool.models),
        incumbent_score=_mean([pair.incumbent.score.value for pair in tally.pairs]),
        candidate_score=_mean([pair.candidate.score.value for pair in tally.pairs]),
        floor=tally.floor.floor,
        standing=tally.floor.standing,
        calls_new=runner.budget.calls,
        calls_cached=tally.calls_cached,
        cost_usd=runner.cost_of((match.incumbent, match.candidate)),
        calls_fixed_n=2 * fixed_n(spread, plan.margin, plan.alpha, plan.beta) if spread else None,
        detectable_loss=detectable_loss(spread, len(weighing.differences), plan.alpha, plan.beta) if spread else None,
        latency_ratio=_ratio(tally, lambda side: side.answer.duration_ms) if ended else None,
        length_ratio=_ratio(tally, lambda side: side.answer.completion_tokens or 0) if ended else None,
        seconds=seconds,
        seconds_left=None if left is None or not count else min(left, most - count) * seconds / count,
    )


def comparison_keys(match: Match) -> dict[str, str]:
    """What a finished comparison must agree on to count as evidence for this match."""
    return {
        "incumbent": match.incumbent.id,
        "candidate": match.candidate.id,
        "dataset": match.dataset.digest,
        "scorer": sha256_value([match.scorer.digest, _rules(match)]),
    }


def same_scoring(match: Match, comparison: Comparison) -> bool:
    """Whether a comparison's samples were drawn and scored as this match's would be, whatever it had to show."""
    kept = comparison.plan
    asked = (SEED, match.task.declared.repeats, _named(match.scorer))
    return asked == (kept.get("seed"), kept.get("repeats"), kept.get("scorer"))


def _rules(match: Match) -> dict[str, Any]:
    """What decides beside the scores, fixed before the first sample."""
    declared = match.task.declared
    plan = asdict(match.plan)
    if match.plan.min_samples == 1:
        del plan["min_samples"]  # it asks for nothing, and comparisons of before it existed still count
    if declared.gate.floor is not None:
        plan["floor"] = declared.gate.floor  # and likewise
    return {
        **plan,
        "about": declared.gate.about,
        "covariates": declared.gate.covariates,
        "repeats": declared.repeats,
        "max_failed_share": declared.gate.max_failed_share,
        "seed": SEED,
    }


def checked_verdict(
    verdict: Verdict, plan: Mapping[str, Any], *, failed: int, drawn: int, doubtful: str | None, standing: Standing
) -> Verdict:
    """A verdict, unless it is a pass that rests on too little, or a candidate below the floor.

    Args:
        verdict: What the test says.
        plan: The rules that were fixed before the first sample.
        failed: Samples that could not be answered or scored.
        drawn: All samples.
        doubtful: What speaks against the judge.
        standing: How the candidate stands to the floor.
    """
    if standing == "below":
        return "fail"
    too_many_failed = drawn > 0 and failed / drawn > plan.get("max_failed_share", 1.0)
    return (
        "inconclusive"
        if verdict == "pass" and (too_many_failed or doubtful is not None or standing == "open")
        else verdict
    )


def judgements_in(incumbent: Mapping[str, Any], candidate: Mapping[str, Any]) -> tuple[Judgement, ...]:
    """What a judge said of one sample, from the details of both sides' scores; a judged pair stands in both."""
    said = judgements_of("", candidate)
    return said if any(len(each.digests) > 1 for each in said) else (*judgements_of("", incumbent), *said)


def _first_error(pair: Pair) -> str:
    return pair.incumbent.score.error or pair.candidate.score.error or "no reason given"


def _new(match: Match, weighing: Weighing, clock: Clock) -> Comparison:
    plan = {
        **_rules(match),
        "max_observations": weighing.test.plan.max_samples,
        "min_observations": weighing.test.plan.min_samples,
        "changeover": __version__,
        "notes": list(match.notes),
        "dataset": str(match.dataset.path),
        "scorer": _named(match.scorer),
        "measures": {name: _named(spec) for name, spec in match.measures.items()},
    }
    return Comparison(
        id=new_id("cmp"),
        task=match.task.name,
        plan=plan,
        pool=weighing.pool_document(),
        actor=match.actor,
        verdict=None,
        summary=None,
        started_at=clock.now(),
        ended_at=None,
        **comparison_keys(match),
    )


def _named(spec: ScorerSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "version": spec.version,
        "options": spec.options,
        "digest": spec.digest,
        "kind": spec.kind,
        "judges": {name: spec.judge_bundles[name] for name in spec.judges},
    }


def _compared(comparison: str, tally: Tally, pair: Pair) -> ComparedSample:
    return ComparedSample(
        comparison=comparison,
        position=tally.drawn,
        sample=pair.sample.digest,
        sample_id=pair.sample.id,
        incumbent_answer=pair.incumbent.answer.id,
        candidate_answer=pair.candidate.answer.id,
        incumbent_score=pair.incumbent.score.value,
        candidate_score=pair.candidate.score.value,
        evidence=tally.weighing.document(),
        cluster=pair.sample.cluster,
        usable=not pair.unusable,
        detail={"failed": pair.failed, "incumbent": _told(pair.incumbent), "candidate": _told(pair.candidate)},
    )


def _told(side: Scored) -> dict[str, Any]:
    measures = {name: {"score": kept.value, "error": kept.error} for name, kept in side.measures.items()}
    told = {
        "answers": [answer.id for answer in side.answers] if len(side.answers) > 1 else None,
        "each": side.each if len(side.each) > 1 else None,
        "why": dict(side.score.detail) or None,
        "error": side.score.error,
        "cost_usd": side.cost_usd,
        "measures": measures or None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _begin(store: Store, match: Match, clock: Clock) -> tuple[Comparison, Weighing, list[Sample]]:
    """Write down what is compared, before anything is asked. Gives the samples too, in drawn order."""
    drawn = match.dataset.shuffled(SEED)
    groups = whole(drawn, match.plan.max_samples)
    plan = replace(match.plan, max_samples=len(groups), min_samples=covering(drawn, match.plan.min_samples))
    with store.read() as connection:  # it may be much: nobody who writes waits for it
        check_not_edited(connection, match.dataset)
        pool = known_pool(connection, match.task, match.scorer, plan, drawn, match.incumbent, match.candidate)
    weighing = Weighing(plan, pool, match.task.declared.gate.about)
    comparison = _new(match, weighing, clock)
    with store.write() as connection:
        keep_version(connection, match.dataset, comparison.started_at)
        add_comparison(connection, comparison)
    return comparison, weighing, [sample for group in groups for sample in group]


def _end(store: Store, id: str, ended: Live, clock: Clock) -> None:
    with store.write() as connection:
        end_comparison(connection, id, verdict=ended.verdict, summary=asdict(ended), now=clock.now())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _variance(values: list[float]) -> float:
    mean = _mean(values)
    return _mean([(value - mean) ** 2 for value in values])


def _ratio(tally: Tally, of: Callable[[Scored], float]) -> float | None:
    """Median of the samples' ratios, candidate over incumbent."""
    answered = [pair for pair in tally.pairs if not pair.incumbent.model_failed and not pair.candidate.model_failed]
    ratios = [of(pair.candidate) / of(pair.incumbent) for pair in answered if of(pair.incumbent)]
    return median(ratios) if ratios else None
