"""What this installation has found out about each model: comparisons, and scores that are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from changeover.app.deploy import declared_variant
from changeover.app.installation import Installation
from changeover.app.matching import Prepared
from changeover.app.recommending.choices import Own
from changeover.evals.queries import Comparison, find_known_scores, recent_comparisons
from changeover.evals.runner import score_digest
from changeover.serving.queries import load_variants
from changeover.serving.variants import Variant

FEWEST = 6
"""Scored cases below which no mean is given."""
LOOKED_AT = 500
"""Comparisons of each task, the newest."""


def own_results(
    installation: Installation, ready: Prepared, incumbent: Variant | None, deployments: Mapping[str, str]
) -> dict[str, Own]:
    """Results by model.

    Args:
        installation: The project.
        ready: The task, its cases and scorers.
        incumbent: Who answers it now.
        deployments: The model, as the shortlist names it, of each deployment.
    """
    with installation.store.read() as connection:
        found = _compared(connection, ready, incumbent, deployments)
        for task in sorted(installation.tasks.keys() - {ready.task.name}):
            for model, said in _verdicts_of(connection, task, deployments).items():
                own = found.get(model, Own())
                found[model] = replace(own, elsewhere=(*own.elsewhere, said))
        means = _means(connection, ready)
    for deployment, model in deployments.items():
        digest = declared_variant(installation, ready.task.name, deployment).bundle.digest
        mean, count = means.get(digest, (0.0, 0))
        own = found.get(model, Own())
        if count >= max(FEWEST, own.scored + 1):
            found[model] = replace(own, score=mean, scored=count)
    return found


def mean_of(installation: Installation, ready: Prepared, variant: Variant | None) -> float | None:
    """The mean of a variant's kept scores on a task's cases; None where they are too few."""
    if variant is None:
        return None
    with installation.store.read() as connection:
        mean, count = _means(connection, ready).get(variant.bundle.digest, (0.0, 0))
    return mean if count >= FEWEST else None


def said_of(comparison: Comparison) -> str:
    """A verdict in a few words: `better (+41.9 points, 34 samples)`."""
    summary = comparison.summary or {}
    difference = summary.get("difference")
    words = summary.get("shown") or {"pass": "passed", "fail": "not as good"}.get(comparison.verdict or "", "undecided")
    points = "" if difference is None else f" ({100 * difference:+.1f} points, {summary.get('samples', 0)} samples)"
    return f"{words}{points}"


def _compared(
    connection: Connection, ready: Prepared, incumbent: Variant | None, deployments: Mapping[str, str]
) -> dict[str, Own]:
    """The newest verdict of each model on the task; one that is about something else is told as an earlier one."""
    found: dict[str, Own] = {}
    for comparison, candidate, against in _finished(connection, ready.task.name):
        model = deployments.get(candidate)
        if model is None:
            continue
        own = found.get(model, Own())
        same = incumbent is not None and (comparison.incumbent, comparison.dataset) == (
            incumbent.id,
            ready.dataset.digest,
        )
        if not same and own.earlier is None:
            found[model] = replace(own, earlier=f"{said_of(comparison)} against {against} on {_day(comparison)}")
        elif same and own.verdict is None:
            summary = comparison.summary or {}
            found[model] = replace(
                own,
                verdict=comparison.verdict,
                difference=summary.get("difference"),
                samples=summary.get("samples", 0),
                comparison=comparison.id,
                on=(comparison.ended_at or comparison.started_at).date(),
            )
    return found


def _verdicts_of(connection: Connection, task: str, deployments: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for comparison, candidate, _ in _finished(connection, task):
        model = deployments.get(candidate)
        if model is not None and comparison.verdict != "inconclusive":
            found.setdefault(model, f"{task}: {said_of(comparison)}")
    return found


def _finished(connection: Connection, task: str) -> Iterable[tuple[Comparison, str, str]]:
    """Comparisons of a task that came to an end, newest first, with both deployments."""
    rows: Sequence[Comparison] = [
        each for each in recent_comparisons(connection, task, LOOKED_AT) if each.verdict is not None
    ]
    variants = load_variants(connection, {id for each in rows for id in (each.incumbent, each.candidate)})
    for each in rows:
        if each.candidate in variants and each.incumbent in variants:
            yield each, variants[each.candidate].deployment, variants[each.incumbent].deployment


def _means(connection: Connection, ready: Prepared) -> dict[str, tuple[float, int]]:
    """The mean of the kept scores of each bundle on the task's cases, by its decisive scorer, and of how many."""
    scorer, samples = ready.scoring.decisive, ready.dataset.samples
    if scorer.kind != "answer":
        return {}
    wanted = {(sample.asked, score_digest(scorer, sample)) for sample in samples}
    kept: dict[str, dict[str, float]] = {}
    for bundle, asked, key, value in find_known_scores(connection, (sample.asked for sample in samples)):
        if (asked, key) in wanted:
            kept.setdefault(bundle, {}).setdefault(asked, value)
    return {bundle: (sum(values.values()) / len(values), len(values)) for bundle, values in kept.items()}


def _day(comparison: Comparison) -> str:
    return f"{comparison.ended_at or comparison.started_at:%Y-%m-%d}"
