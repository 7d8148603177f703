"""The page of an evidence pack: what its JSON files say, for a person. Made from the files alone, so it can be made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from changeover.evals.queries import ComparedSample, Comparison
from changeover.evals.report import words
from changeover.evals.report.html import Figure, evidence_figure, page_template
from changeover.evals.report.plots import Step
from changeover.evals.sequential import PROCESSES
from changeover.rollouts.decide import State
from changeover.rollouts.pack.files import Files
from changeover.rollouts.pack.records import BundleRecord, DatasetRecord
from changeover.rollouts.queries import Event

MOST_ROWS = 1500
"""Samples in the table; all are in the JSON."""

_HEADLINES: dict[State, str] = {
    "evaluation": "{new} is being measured for {task}, which {old} answers",
    "shadow": "{new} gets copies of {task}, which {old} answers",
    "canary": "{new} answers a share of {task}, {old} the rest",
    "baking": "{new} has taken over {task} from {old}, and is watched",
    "done": "{new} has taken over {task} from {old}",
    "rolled_back": "{new} was taken back from {task}; {old} answers again",
    "aborted": "{new} was given up for {task}; {old} stays",
    "refused": "{new} was refused for {task}; {old} stays",
}
"""What became of it, by the rollout's state."""
_LOOKS: dict[State, str] = {"baking": "pass", "done": "pass", "rolled_back": "fail", "refused": "fail"}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One comparison, as the page shows it."""

    comparison: Comparison
    samples: Sequence[ComparedSample]
    rows: Sequence[ComparedSample]
    says: Sequence[tuple[str, str]]
    scorer: str
    dataset: str
    picture: Figure | None


def to_html(files: Files) -> str:
    """The page as one HTML document: no network, no script, nothing beside it."""
    file, bundles, routes = files.rollout, files.bundles, files.routes
    rollout = file.rollout
    by_id = {each.variant: each for each in bundles.bundles}
    old, new = by_id[bundles.incumbent], by_id[bundles.candidate]
    evaluations = [_evaluation(files, comparison) for comparison in files.comparisons]
    deciding = next((each for each in evaluations if each.comparison.id == rollout.comparison), None)
    return page_template(Path(__file__).parent / "report.html").render(
        file=file,
        rollout=rollout,
        bundles=bundles,
        routes=routes,
        approvals=files.approvals,
        overrides=files.overrides,
        evaluations=evaluations,
        trials=files.trials,
        headline=_HEADLINES[rollout.state].format(new=new.deployment, old=old.deployment, task=rollout.task),
        reason=_reason(file.events, rollout.actor, rollout.reason),
        look=_LOOKS.get(rollout.state, "inconclusive"),
        verdict=None if deciding is None else deciding.comparison.verdict,
        verdict_says=_verdict_says(deciding),
        revisions=_revisions([route.revision for route in routes]),
        roles=list(_roles(bundles.bundles, bundles.incumbent, bundles.candidate)),
        named=partial(_named, by_id),
        known=_known,
        w=words,
    )


def _named(bundles: Mapping[str, BundleRecord], id: str | None) -> str:
    """A variant's deployment, where the pack has it."""
    return "–" if id is None else bundles[id].deployment if id in bundles else id


def _reason(events: Sequence[Event], actor: str, reason: str) -> str:
    last = events[-1] if events else None
    began = f"{actor} started it: {reason}."
    return began if last is None or last.action == "start" else f"{began} Last, {last.actor}: {last.reason}."


def _verdict_says(deciding: Evaluation | None) -> str:
    if deciding is None:
        return "no comparison allowed it"
    summary = deciding.comparison.summary or {}
    samples = words.several(len(deciding.samples), "sample")
    return f"{samples}, evidence {words.odds(summary['no_worse'])}" if "no_worse" in summary else samples


def _revisions(numbers: Sequence[int]) -> str:
    return "–" if not numbers else str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} → {numbers[-1]}"


def _roles(bundles: Sequence[BundleRecord], incumbent: str, candidate: str) -> Iterator[tuple[str, BundleRecord]]:
    for bundle in bundles:
        yield {incumbent: "incumbent", candidate: "candidate"}.get(bundle.variant, "named by a route"), bundle


def _evaluation(files: Files, comparison: Comparison) -> Evaluation:
    samples = [sample.compared for sample in files.samples_of(comparison.id)]
    dataset = next((each for each in files.datasets if each.digest == comparison.dataset), None)
    return Evaluation(
        comparison=comparison,
        samples=samples,
        rows=samples[:MOST_ROWS],
        says=_says(comparison.summary or {}),
        scorer=_scorer(comparison.plan.get("scorer")),
        dataset=_dataset(comparison, dataset),
        picture=_picture(comparison, samples),
    )


def _says(summary: Any) -> list[tuple[str, str]]:
    says: list[tuple[str, str]] = []
    if {"difference", "low", "high"} <= set(summary):
        interval = words.interval(summary["low"], summary["high"])
        says.append(("Difference", f"{words.points(summary['difference'])} points, 95 % anytime-valid {interval}"))
    if {"incumbent_score", "candidate_score"} <= set(summary):
        scores = f"{words.score(summary['incumbent_score'])} → {words.score(summary['candidate_score'])}"
        says.append(("Scores", scores))
    claims = (("no_worse", "no worse"), ("better", "better"), ("futility", "not as good"), ("worse", "worse"))
    odds = [f"{claim} {words.odds(summary[name])}" for name, claim in claims if name in summary]
    if odds:
        says.append(("Evidence", ", ".join(odds)))
    if summary.get("doubt"):
        says.append(("Doubt", str(summary["doubt"])))
    return says


def _scorer(named: Any) -> str:
    if not isinstance(named, dict):
        return "unknown"
    kept: dict[str, Any] = named  # pyright: ignore[reportUnknownVariableType] - any JSON
    options = words.as_text(kept.get("options") or {}, 400)
    return f"{kept.get('name')} {kept.get('version')}, options {options}, digest {str(kept.get('digest'))[:12]}"


def _dataset(comparison: Comparison, dataset: DatasetRecord | None) -> str:
    known = dataset is not None and dataset.members is not None
    members = words.several(len(dataset.members or ()), "sample") if dataset is not None and known else "not kept"
    return f"digest {comparison.dataset[:12]}, {members}"


def _picture(comparison: Comparison, samples: Sequence[ComparedSample]) -> Figure | None:
    """How the evidence grew; None where a version wrote it that kept no observations."""
    steps: dict[int, Step] = {}
    needed = {"observations", "low", "high", *PROCESSES}
    for sample in samples:
        kept = sample.evidence
        if sample.usable and needed <= set(kept) and kept["observations"] > 0:
            values = {name: kept[name] for name in needed - {"observations"}}
            steps[int(kept["observations"])] = Step(observations=int(kept["observations"]), mean=0.0, **values)
    if not steps:
        return None
    ordered = [steps[observations] for observations in sorted(steps)]
    return evidence_figure(
        ordered,
        alpha=comparison.plan["alpha"],
        beta=comparison.plan["beta"],
        marks=(),
        says="How the evidence grew over the samples.",
        name=f"evidence-{comparison.id.replace('_', '-')}",
    )


def _known(event: Event) -> str:
    """What a decision was made from, in one line."""
    evidence = event.evidence
    whole = evidence.get("whole")
    if not whole:
        pairs = ((name, value) for name, value in evidence.items() if isinstance(value, str))
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in pairs) or "–"
    said = [f"{whole['failed']} of {whole['asked']} requests failed", f"guard {words.odds(evidence['guard'])}"]
    said += [
        f"{each['name']} {each['bad']} of {each['events']}: {words.odds(each['evidence'])}"
        for each in evidence.get("guards") or ()
    ]
    return ", ".join(said)
