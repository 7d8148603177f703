"""Measuring against a bundle that runs no more: its kept answers are the evidence, and nobody is asked in its place."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from changeover.app.installation import Installation
from changeover.app.matching import Prepared, match_between, prepared
from changeover.core.errors import DatasetError
from changeover.evals.comparison import Match
from changeover.evals.datasets.dataset import digest_of
from changeover.evals.queries import find_answers
from changeover.rollouts.decide import Rollout
from changeover.serving.parts import EnginePart
from changeover.serving.queries import all_deployments, load_variants
from changeover.serving.variants import Variant

FEWEST = 10
"""Kept answers below which nothing is measured: so few decide nothing."""


def is_gone(connection: Connection, variant: Variant) -> bool:
    """Whether a variant's engine runs no more under its deployment: who asks it now gets another one's answer."""
    engines = {row.name: row.engine for row in all_deployments(connection)}
    found = engines.get(variant.deployment)
    return found is None or EnginePart.from_document(found) != variant.bundle.engine


def with_kept_answers(connection: Connection, ready: Prepared, variant: Variant) -> Prepared:
    """The same task with those samples only that the variant's answers are kept of, each repeat of them.

    Conversations are left out: what they ask next depends on what was answered.

    Raises:
        DatasetError: They are too few.
    """
    samples, repeats = ready.dataset.samples, ready.task.declared.repeats
    kept = find_answers(connection, [variant.bundle.digest], (sample.asked for sample in samples))
    known = {(answer.sample, answer.repeat) for answer in kept}
    usable = tuple(
        sample
        for sample in samples
        if sample.turns == 1 and all((sample.asked, repeat) in known for repeat in range(repeats))
    )
    if len(usable) < FEWEST:
        raise DatasetError(
            f"`{variant.deployment}` as it was (bundle {variant.bundle.short}) cannot be asked any more, and its answers "
            f"are kept of {len(usable)} of the {len(samples)} samples of `{ready.task.name}`; {FEWEST} are needed. "
            f"Accept what answers now with `changeover abort {ready.task.name}`, or switch to another."
        )
    dataset = ready.dataset
    if len(usable) < len(samples):
        dataset = replace(dataset, samples=usable, digest=digest_of(usable))
    return replace(ready, dataset=dataset)


def match_of_rollout(installation: Installation, rollout: Rollout, actor: str) -> tuple[Prepared, Match]:
    """What the evaluation of a rollout is about. An incumbent whose engine is gone is measured by its kept answers.

    Raises:
        ConfigError, DatasetError, JudgeError: It cannot be measured; says why.
    """
    ready = prepared(installation, rollout.task)
    with installation.store.read() as connection:
        variants = load_variants(connection, [rollout.incumbent, rollout.candidate])
        incumbent, candidate = variants[rollout.incumbent], variants[rollout.candidate]
        if is_gone(connection, incumbent):
            ready = with_kept_answers(connection, ready, incumbent)
    return ready, match_between(installation, ready, incumbent, candidate, actor)
