"""Reading a comparison's record back from the store, whole."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from sqlalchemy import Connection

from changeover.core.digest import sha256_value
from changeover.core.errors import GateError
from changeover.evals.datasets import Sample
from changeover.evals.datasets.queries import find_version
from changeover.evals.familiar import familiar
from changeover.evals.interval import DifferenceInterval
from changeover.evals.judges.bias import Judgement, judgements_of, judging_of_answers, judging_of_pairs
from changeover.evals.judges.labels import Label
from changeover.evals.queries import (
    ComparedSample,
    Comparison,
    StoredAnswer,
    answers_by_id,
    compared_samples,
    find_answers,
    find_comparison,
    find_scores,
)
from changeover.evals.ratios import cost_ratio, median_ratio
from changeover.evals.repeats import noise_floor
from changeover.evals.report.reason import reason_of
from changeover.evals.report.record import (
    ComparisonReport,
    Familiar,
    Judging,
    Measured,
    NoiseFloor,
    Ratio,
    ReportSample,
    Side,
    Slice,
    Told,
)
from changeover.evals.slices import slices_of
from changeover.serving.bundles import differences
from changeover.serving.queries import load_variants
from changeover.serving.variants import Variant

SIDES = ("incumbent", "candidate")
AS_IT_ENDED = (
    *("verdict", "shown", "difference", "low", "high", "no_worse", "futility", "better", "worse"),
    *("max_samples", "unusable", "failed", "calls_new", "calls_cached", "calls_fixed_n", "detectable_loss", "seconds"),
)
"""What the report takes over from the comparison's summary under the same name."""


@dataclass(frozen=True)
class _Kept:
    """What the store holds of a comparison."""

    comparison: Comparison
    rows: Sequence[ComparedSample]
    cases: Mapping[str, Sample]
    """By id; empty for a comparison that was made before datasets were kept."""
    answers: Mapping[int, StoredAnswer]
    variants: Mapping[str, Variant]

    @property
    def usable(self) -> list[ComparedSample]:
        return [row for row in self.rows if row.usable]

    def side(self, row: ComparedSample, side: str) -> Mapping[str, Any]:
        """What the row says of one side beside its score."""
        return row.detail.get(side) or {}

    def answer(self, row: ComparedSample, side: str) -> StoredAnswer:
        return self.answers[row.incumbent_answer if side == "incumbent" else row.candidate_answer]


def build_report(connection: Connection, id: str, *, project: str, labels: Sequence[Label] = ()) -> ComparisonReport:
    """Read a finished comparison and everything that it rests on.

    Args:
        connection: To the store.
        id: Of the comparison.
        project: Its name, for people.
        labels: What people said of its answers, if a judge scored them.

    Raises:
        GateError: There is no such comparison, or it was interrupted.
    """
    kept = _read(connection, id)
    comparison, summary = kept.comparison, kept.comparison.summary
    if summary is None:
        raise GateError(f"Comparison {id} was interrupted and has no end. Run it again; its answers are kept.")
    plan, scorer = comparison.plan, _scorer(comparison)
    return ComparisonReport(
        project=project,
        comparison=id,
        task=comparison.task,
        started_at=comparison.started_at,
        ended_at=comparison.ended_at,
        actor=comparison.actor,
        incumbent=_side(kept, comparison.incumbent, "incumbent"),
        candidate=_side(kept, comparison.candidate, "candidate"),
        margin=plan["margin"],
        alpha=plan["alpha"],
        beta=plan["beta"],
        about=summary.get("about", "population"),
        max_failed_share=plan.get("max_failed_share", 1.0),
        seed=plan["seed"],
        measured_by=plan.get("changeover", "before 0.2"),
        reason=reason_of(summary, plan),
        usable=len(kept.usable),
        cost_usd=summary.get("cost_usd"),
        dataset=plan.get("dataset", ""),
        dataset_digest=comparison.dataset,
        dataset_samples=len(kept.cases),
        scorer=scorer.get("name", ""),
        scorer_version=scorer.get("version", ""),
        scorer_digest=scorer["digest"],
        covariates=tuple(summary.get("covariates") or ()),
        differs=tuple(differences(*(kept.variants[id].bundle for id in (comparison.incumbent, comparison.candidate)))),
        familiar=_familiar(kept.usable),
        noise_floor=_noise(connection, kept, scorer["digest"]),
        slices=_slices(kept),
        ratios=_ratios(kept),
        measures=_measures(kept),
        judging=_judging(kept, scorer, labels),
        samples=tuple(_sample(kept, row) for row in kept.rows),
        **{name: summary[name] for name in AS_IT_ENDED},
    )


def _read(connection: Connection, id: str) -> _Kept:
    comparison, rows = find_comparison(connection, id), compared_samples(connection, id)
    dataset = find_version(connection, comparison.dataset)
    ids = [key for row in rows for key in (row.incumbent_answer, row.candidate_answer)]
    return _Kept(
        comparison=comparison,
        rows=rows,
        cases={} if dataset is None else {sample.id: sample for sample in dataset.samples},
        answers=answers_by_id(connection, ids),
        variants=load_variants(connection, [comparison.incumbent, comparison.candidate]),
    )


def _scorer(comparison: Comparison) -> Mapping[str, Any]:
    """What scored it. Comparisons of the first schema kept its digest alone."""
    scorer = comparison.plan["scorer"]
    return {"digest": scorer} if isinstance(scorer, str) else scorer


def _familiar(rows: Sequence[ComparedSample]) -> Familiar | None:
    """The same comparison in the terms of a test that everybody knows."""
    return familiar([row.candidate_score - row.incumbent_score for row in rows], [row.cluster for row in rows])


def _side(kept: _Kept, variant: str, side: str) -> Side:
    known = kept.variants[variant]
    scores = [row.incumbent_score if side == "incumbent" else row.candidate_score for row in kept.usable]
    return Side(
        deployment=known.deployment,
        variant=variant,
        bundle=known.bundle.digest,
        model=known.bundle.engine.model,
        score=fmean(scores) if scores else 0.0,
    )


def _sample(kept: _Kept, row: ComparedSample) -> ReportSample:
    case = kept.cases.get(row.sample_id)
    seen = row.evidence
    return ReportSample(
        position=row.position,
        id=row.sample_id,
        tags=case.tags if case else (),
        cluster=row.cluster,
        asked=_asked(case),
        target=case.target if case else None,
        incumbent=_told(kept, row, "incumbent", row.incumbent_score),
        candidate=_told(kept, row, "candidate", row.candidate_score),
        usable=row.usable,
        observations=int(seen.get("observations", row.position)),
        no_worse=seen["no_worse"],
        futility=seen["futility"],
        better=seen["better"],
        worse=seen["worse"],
        low=seen.get("low", -1.0),
        high=seen.get("high", 1.0),
    )


def _asked(case: Sample | None) -> str:
    """The input as people read it: one message as its text, several with who says them."""
    if case is None:
        return "(the dataset was not kept)"
    if len(case.input) == 1:
        return case.text
    said = [f"{message.role}: {message.content or '(the model answers here)'}" for message in case.input]
    return "\n\n".join(said)


def _told(kept: _Kept, row: ComparedSample, side: str, score: float) -> Told:
    answer, beside = kept.answer(row, side), kept.side(row, side)
    text = answer.text
    if text is not None and answer.tool_calls:
        calls = json.dumps([dict(call) for call in answer.tool_calls], ensure_ascii=False, indent=1)
        text = f"{text}\n{calls}".strip()
    return Told(
        text=text,
        error=answer.error or beside.get("error"),
        score=score,
        why=beside.get("why") or {},
        duration_ms=answer.duration_ms,
        completion_tokens=answer.completion_tokens,
    )


def _slices(kept: _Kept) -> tuple[Slice, ...]:
    plan = kept.comparison.plan
    rows = [
        (kept.cases[row.sample_id].tags, row.incumbent_score, row.candidate_score, row.cluster)
        for row in kept.usable
        if row.sample_id in kept.cases
    ]
    return slices_of(rows, alpha=plan["alpha"], beta=plan["beta"])


def _ratios(kept: _Kept) -> tuple[Ratio, ...]:
    """Over the samples that both answered."""
    both = [row for row in kept.usable if all(kept.answer(row, side).error is None for side in SIDES)]

    def columns(of: Callable[[ComparedSample, str], float | None]) -> tuple[list[float | None], list[float | None]]:
        return [of(row, "incumbent") for row in both], [of(row, "candidate") for row in both]

    found = (
        median_ratio("latency", *columns(lambda row, side: kept.answer(row, side).duration_ms)),
        median_ratio("length", *columns(lambda row, side: kept.answer(row, side).completion_tokens)),
        cost_ratio(*columns(lambda row, side: kept.side(row, side).get("cost_usd"))),
    )
    return tuple(ratio for ratio in found if ratio is not None)


def _measures(kept: _Kept) -> tuple[Measured, ...]:
    scores: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    names: list[str] = list(kept.comparison.plan.get("measures", ()))
    for row in kept.rows:
        for name in names:
            pair: list[Any] = [kept.side(row, side).get("measures", {}).get(name) for side in SIDES]
            known: list[float] = [each["score"] for each in pair if each is not None and each["error"] is None]
            if len(known) == len(SIDES):
                scores[name].append((known[0], known[1]))
    return tuple(_measured(name, scores[name]) for name in names if scores[name])


def _measured(name: str, scores: Sequence[tuple[float, float]]) -> Measured:
    interval = DifferenceInterval()
    for incumbent, candidate in scores:
        interval.update(candidate - incumbent)
    incumbent, candidate = fmean(one for one, _ in scores), fmean(other for _, other in scores)
    return Measured(
        name=name,
        incumbent_score=incumbent,
        candidate_score=candidate,
        difference=candidate - incumbent,
        low=interval.low,
        high=interval.high,
        samples=len(scores),
    )


def _noise(connection: Connection, kept: _Kept, scorer: str) -> NoiseFloor | None:
    """From the incumbent's later answers to samples of the comparison, if it was asked again."""
    bundle = kept.variants[kept.comparison.incumbent].bundle.digest
    cases = [kept.cases[row.sample_id] for row in kept.usable if row.sample_id in kept.cases]
    asked = {case.asked: case for case in cases if case.turns == 1}
    answers = find_answers(connection, [bundle], asked)
    scores = find_scores(connection, (answer.id for answer in answers))
    by_sample: defaultdict[str, list[float]] = defaultdict(list)
    for answer in sorted(answers, key=lambda answer: (answer.repeat, answer.id)):
        score = scores.get((answer.id, sha256_value([scorer, asked[answer.sample].digest])))
        if score is not None:
            by_sample[answer.sample].append(score.value)
    twice = [values for values in by_sample.values() if len(values) > 1]
    return noise_floor([values[0] for values in twice], [values[-1] for values in twice])


def _judging(kept: _Kept, scorer: Mapping[str, Any], labels: Sequence[Label]) -> Judging | None:
    """What is known of the judge that decided, if one did."""
    judges: Mapping[str, str] = scorer.get("judges", {})
    if not judges:
        return None
    name = " and ".join(f"{task} (bundle {bundle[:12]})" for task, bundle in judges.items())
    said = [(_judgements(kept, row, "incumbent"), _judgements(kept, row, "candidate")) for row in kept.usable]
    notes: list[str] = kept.comparison.plan.get("notes", [])
    if scorer.get("kind") == "pair":
        judging = judging_of_pairs(name, [each for _, candidate in said for each in candidate], labels)
    else:
        judging = judging_of_answers(name, said, labels)
    return replace(judging, kinship=tuple(notes))


def _judgements(kept: _Kept, row: ComparedSample, side: str) -> tuple[Judgement, ...]:
    return judgements_of(row.sample_id, kept.side(row, side).get("why") or {})
