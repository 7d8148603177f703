"""What is known of a dataset before a comparison: how the incumbent and earlier models scored on its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from sqlalchemy import Connection

from changeover.evals.covariates import Pool, pool_of
from changeover.evals.datasets import Sample
from changeover.evals.queries import find_known_scores
from changeover.evals.runner import score_digest
from changeover.evals.scorers import ScorerSpec
from changeover.evals.sequential import TestPlan
from changeover.serving.queries import bundle_names
from changeover.serving.variants import Variant
from changeover.tasks.declarations import Task


def known_pool(
    connection: Connection,
    task: Task,
    scorer: ScorerSpec,
    plan: TestPlan,
    drawn: Sequence[Sample],
    incumbent: Variant,
    candidate: Variant,
) -> Pool | None:
    """Scores that are kept of the whole dataset, as covariates of a comparison.

    Args:
        connection: To the store.
        task: Whose gate says whether covariates may be used, and what the verdict is about.
        scorer: Scores of another scorer, version or options are of no use.
        plan: Of the test: its largest number of samples counts observations.
        drawn: All samples of the dataset, in drawn order.
        incumbent: Without its score on every sample there is no pool.
        candidate: Whose own kept scores are no covariates.

    Returns:
        None where covariates are not wanted, of no use, or not known. Conversations and repeated answers have none: what
        is asked there depends on what was answered, or chance.
    """
    gate = task.declared.gate
    simple = task.declared.repeats == 1 and all(sample.turns == 1 for sample in drawn)
    if not gate.covariates or scorer.kind != "answer" or not simple:
        return None
    groups = observations(drawn)
    if gate.about == "population" and len(groups) < 2 * (plan.max_samples or len(groups)):
        return None  # every sample may be drawn, so that none is left over to say what is usual
    asked = {sample.id: sample.asked for sample in drawn}
    scored = {(asked[sample.id], score_digest(scorer, sample)): sample.id for sample in drawn}
    scores: dict[str, dict[str, float]] = {}
    for bundle, question, key, value in find_known_scores(connection, asked.values()):
        sample = scored.get((question, key))
        if sample is not None:
            scores.setdefault(bundle, {}).setdefault(sample, value)
    own = scores.pop(incumbent.bundle.digest, {})
    scores.pop(candidate.bundle.digest, None)
    if len(own) < len(drawn):
        return None
    names = bundle_names(connection, scores)
    # The first few are used. About a population their choice must depend on no score: not even on which came last.
    welcome = sorted(scores) if gate.about == "population" else list(reversed(scores))
    models = {_distinct(names, bundle): _means(groups, scores[bundle]) for bundle in welcome}
    return pool_of(_means(groups, own), models, gate.about)


def observations(drawn: Sequence[Sample]) -> list[list[Sample]]:
    """Samples in drawn order, those of a cluster together: each group is one observation."""
    return [
        list(group)
        for _, group in groupby(
            drawn, key=lambda sample: (sample.id if sample.cluster is None else sample.cluster, sample.cluster)
        )
    ]


def whole(drawn: Sequence[Sample], most: int | None) -> list[list[Sample]]:
    """As many observations, from the first on, as have at most so many samples together; at least one."""
    kept: list[list[Sample]] = []
    taken = 0
    for group in observations(drawn):
        taken += len(group)
        if most is not None and taken > most and kept:
            break
        kept.append(group)
    return kept


def covering(drawn: Sequence[Sample], least: int) -> int:
    """How many observations, from the first on, have at least so many samples together.

    One more than there are where the samples are too few.
    """
    taken = 0
    for number, group in enumerate(observations(drawn), start=1):
        taken += len(group)
        if taken >= least:
            return number
    return len(observations(drawn)) + 1


def _means(groups: Sequence[Sequence[Sample]], scores: Mapping[str, float]) -> list[float | None]:
    """Mean of each observation, None where a score is missing."""
    known = [[scores[sample.id] for sample in group if sample.id in scores] for group in groups]
    return [
        sum(values) / len(values) if len(values) == len(group) else None
        for values, group in zip(known, groups, strict=True)
    ]


def _distinct(names: Mapping[str, str], bundle: str) -> str:
    """A deployment's name, with the bundle's digest where several bundles ran under it."""
    name = names.get(bundle, bundle[:12])
    return f"{name} {bundle[:12]}" if list(names.values()).count(name) > 1 else name
