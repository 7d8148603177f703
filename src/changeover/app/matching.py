"""What a comparison is about: a task's dataset, scorers and judges, the incumbent and a candidate. All checked first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from changeover.app.deploy import declared_variant, incumbent_of
from changeover.app.installation import Installation, spec_of
from changeover.core.errors import ConfigError, GateError, JudgeError, nearest
from changeover.evals.comparison import Match, comparison_keys, same_scoring
from changeover.evals.datasets import Dataset
from changeover.evals.judges.kinship import check_judge
from changeover.evals.judges.labels import Label, read_labels
from changeover.evals.judges.options import JudgeOptions, labels_file
from changeover.evals.queries import Comparison, latest_verdict, passed_comparisons
from changeover.evals.runner import Scoring
from changeover.evals.scorers import ScorerSpec, check_targets
from changeover.rollouts.gate import shortcoming
from changeover.serving.queries import keep_variant
from changeover.serving.variants import Variant
from changeover.tasks.declarations import Task, find_task


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a task's samples are answered and scored with, before it is known by whom they are answered."""

    task: Task
    dataset: Dataset
    scoring: Scoring
    judges: Mapping[str, tuple[Task, Variant]] = field(default_factory=dict[str, tuple[Task, Variant]])
    """Tasks that judge, with the variants that answer them now."""


def prepared(installation: Installation, task_name: str) -> Prepared:
    """Read and check a task's dataset and scorers.

    Raises:
        DatasetError: The first sample that cannot be used, with file and line.
        JudgeError: A judge is no task, or has nobody to answer it.
    """
    task = find_task(installation.tasks, task_name)
    dataset = Dataset.load(task.dataset, template=task.input_template)
    plain = [spec_of(task, declared) for declared in (task.declared.scorer, *task.declared.measures)]
    pairwise = next((spec.name for spec in plain[1:] if spec.kind == "pair"), None)
    if pairwise is not None:
        raise ConfigError(f"{task.file}: `measures`: `{pairwise}` compares two answers; only `scorer` may name it.")
    asked = sorted({judge for spec in plain for judge in spec.judges})
    with installation.store.read() as connection:
        judges = {name: _judge(installation, connection, task, name) for name in asked}
    bundles = {name: variant.bundle.digest for name, (_, variant) in judges.items()}
    decisive, *others = (spec.model_copy(update={"judge_bundles": bundles}) for spec in plain)
    for spec in (decisive, *others):
        check_targets(spec, dataset)
    measures: dict[str, ScorerSpec] = {}
    for spec in others:
        name = spec.name if spec.name not in measures else f"{spec.name} {len(measures) + 1}"
        measures[name] = spec
    scoring = Scoring(decisive=decisive, measures=measures, repeats=task.declared.repeats)
    return Prepared(task=task, dataset=dataset, scoring=scoring, judges=judges)


def labels_of(task: Task) -> tuple[Label, ...]:
    """What people said of the task's answers, where its decisive scorer asks a judge and names a file of labels."""
    options = spec_of(task, task.declared.scorer).parsed_options
    if not isinstance(options, JudgeOptions):
        return ()
    file = labels_file(options, task.file.parent)
    return () if file is None else read_labels(file)


def match_of(installation: Installation, prepared: Prepared, candidate: str, actor: str) -> Match:
    """What a comparison of a deployment with the incumbent is about. The candidate must be deployed.

    Raises:
        GateError: There is no incumbent, or the candidate is the incumbent already.
        JudgeError: A judge would judge its own family.
    """
    task = prepared.task
    variant = declared_variant(installation, task.name, candidate)
    with installation.store.write() as connection:
        incumbent = incumbent_of(connection, task.name)
        if incumbent.id == variant.id:
            raise GateError(f"`{candidate}` already answers `{task.name}` with this prompt and these parameters.")
        keep_variant(connection, variant, installation.clock.now())
    return match_between(installation, prepared, incumbent, variant, actor)


def match_between(
    installation: Installation, prepared: Prepared, incumbent: Variant, candidate: Variant, actor: str
) -> Match:
    """What a comparison of two variants is about. Both must be written.

    Raises:
        JudgeError: A judge would judge its own family.
    """
    notes = [
        check_judge(installation.catalogue, name, judge, side)
        for name, (_, judge) in prepared.judges.items()
        for side in (incumbent, candidate)
    ]
    return Match(
        task=prepared.task,
        dataset=prepared.dataset,
        scorer=prepared.scoring.decisive,
        measures=prepared.scoring.measures,
        incumbent=incumbent,
        candidate=candidate,
        actor=actor,
        notes=tuple(note for note in notes if note is not None),
    )


def known_verdict(installation: Installation, match: Match) -> Comparison | None:
    """The finished comparison that answers this match, if there is one. One that a budget stopped is not finished.

    That is the newest by exactly the rules that the task declares now, whatever its verdict; or else the newest that
    passed by rules at least as strict. What was measured by laxer ones must be measured again; answers are kept, so
    that takes hardly any call.
    """
    keys = comparison_keys(match)
    with installation.store.read() as connection:
        found = latest_verdict(connection, **keys)
        if found is not None and not (found.verdict == "inconclusive" and (found.summary or {}).get("stopped")):
            return found
        passed = passed_comparisons(
            connection, incumbent=keys["incumbent"], candidate=keys["candidate"], dataset=keys["dataset"]
        )
    gate = match.task.declared.gate
    return next((each for each in passed if same_scoring(match, each) and shortcoming(each, gate) is None), None)


def with_budget(match: Match, max_calls: int | None, max_cost_usd: float | None) -> Match:
    """The same match with another budget; what is None stays as the task declares it."""
    changed = {"max_calls": max_calls, "max_cost_usd": max_cost_usd}
    given = {name: value for name, value in changed.items() if value is not None}
    declared = match.task.declared
    gate = declared.gate.model_copy(update=given)
    return replace(match, task=replace(match.task, declared=declared.model_copy(update={"gate": gate})))


def _judge(installation: Installation, connection: Connection, asking: Task, name: str) -> tuple[Task, Variant]:
    task = installation.tasks.get(name)
    if task is None:
        raise ConfigError(f"{asking.file}: the judge `{name}` is no task. {nearest(name, installation.tasks)}")
    if name == asking.name:
        raise JudgeError(f"{asking.file}: `{name}` cannot be its own judge. Declare a task that judges.")
    return task, incumbent_of(connection, name)
