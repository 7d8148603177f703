"""Tasks as people declare them: one TOML file each, checked whole when it is read.

Read by the gateway (contract, limits), the evals (dataset, scorer, gate) and the rollouts (gate, steps).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, model_validator

from changeover.core import toml
from changeover.core.errors import ConfigError, UnknownTaskError, nearest

TASK_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

Record = Literal["full", "redacted", "metadata", "off"]
OnBreak = Literal["go_on", "error"]
Tier = Literal["low", "medium", "high"]


class ScorerDeclaration(toml.Declared):
    """How an answer of this task is scored, 0 to 1. Names and options: docs, reference of scorers."""

    name: str
    """One of the scorers that the reference of scorers lists, such as `exact`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The scorer's own; the reference of scorers lists them."""


class GateDeclaration(toml.Declared):
    """What the evidence must show before a candidate may take over."""

    margin: float = Field(default=0.05, gt=0, lt=1)
    """Largest loss of the score that is accepted, share of the score, 0 to 1."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance to pass a candidate that is worse by the margin or more."""
    beta: float = Field(default=0.10, gt=0, lt=0.5)
    """Chance to refuse one that is as good."""
    about: Literal["population", "dataset"] = "population"
    """What the error rates are about: `population`, everything that the dataset is a random sample of; `dataset`, these
    samples alone, which takes fewer calls and says nothing of others."""
    covariates: bool = True
    """Whether scores that earlier models were given on the same samples make the differences less noisy. They are used
    where they are complete; the error rates hold in either case."""
    min_samples: int = Field(default=1, ge=1)
    """No verdict before so many, however clear it is."""
    floor: float | None = Field(default=None, ge=0, le=1)
    """Mean score below which a candidate is refused, however bad the incumbent is; None: no such bound."""
    max_samples: int | None = Field(default=None, ge=1)
    """Stop undecided after so many; None: the whole dataset."""
    max_calls: int | None = Field(default=None, ge=1)
    """Stop undecided before more new model calls than this; None: no limit."""
    max_cost_usd: float | None = Field(default=None, gt=0)
    """Stop undecided before new calls cost more than this, by the prices in changeover.toml; None: no limit."""
    max_failed_share: float = Field(default=0.1, ge=0, le=1)
    """A run in which a larger share of samples could not be answered or scored ends inconclusive."""


class StepDeclaration(toml.Declared):
    """One stage of a rollout before the promotion: a shadow, in which the candidate answers nobody, or a canary."""

    shadow: float | None = Field(default=None, gt=0, le=1)
    """Share of answered requests that are put to the candidate too, after the caller has its answer."""
    canary: float | None = Field(default=None, gt=0, lt=1)
    """Share of requests that the candidate answers."""
    requests: int = Field(default=20, ge=1)
    """That the candidate was asked in this step before the next one may begin; what it failed counts too."""
    hold_s: float = Field(default=0, ge=0)
    """Shortest time in this step."""

    @model_validator(mode="after")
    def _one_kind(self) -> StepDeclaration:
        if (self.shadow is None) == (self.canary is None):
            raise ValueError("a step has either `shadow` or `canary`, a share of requests")
        return self


class ShadowDeclaration(toml.Declared):
    """How live traffic is copied to a candidate."""

    at_once: int = Field(default=2, ge=1, le=256)
    """Copies under way at once, in each gateway; what is more is left out and counted."""
    scorers: tuple[ScorerDeclaration, ...] = ()
    """Scorers, or judges, that need no target: both answers to a copied request are scored, and the difference is shown.
    They read what is recorded, so `record` must be `full` or `redacted`."""
    margin: float = Field(default=0.1, gt=0, lt=1)
    """Largest loss of the first of them that is accepted, share of the score, 0 to 1."""


class GuardDeclaration(toml.Declared):
    """When a candidate is taken out again by itself. Each share is one in the long run that raises no alarm."""

    tolerated_failures: float = Field(default=0.03, ge=0.001, lt=1)
    """Share of failed requests."""
    tolerated_violations: float = Field(default=0.03, ge=0.001, lt=1)
    """Share of answers that break the contract: empty ones, refusals, and what `checks` say."""
    tolerated_slow: float = Field(default=0.1, ge=0.001, lt=1)
    """Share of answers that take longer than `slowdown` times the incumbent's p95."""
    slowdown: float = Field(default=3.0, ge=1)
    """How much slower than the incumbent an answer may be before it counts as slow."""
    tolerated_dislikes: float = Field(default=0.3, ge=0.001, lt=1)
    """Share of bad ones among the users' feedback."""
    checks: tuple[ScorerDeclaration, ...] = ()
    """Scorers that need no target, such as `language` or `shape`: an answer that gets less than half is a violation."""
    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Chance of a false alarm over the whole canary, all guards together."""
    drift_requests: int = Field(default=20_000, ge=100)
    """After the promotion: no more than one false alarm in so many requests, on average."""


class ApprovalDeclaration(toml.Declared):
    """Who must agree, besides whoever starts a rollout."""

    required: int = Field(default=0, ge=0, le=5)
    """How many people; never the one who started it."""
    by: tuple[str, ...] = ()
    """Who may; empty: anybody else."""
    before: Literal["canary", "promotion"] = "canary"
    """What waits for them: the first request that the candidate answers, or its promotion."""


LOW_STEPS = (
    StepDeclaration(shadow=0.2),
    StepDeclaration(canary=0.05),
    StepDeclaration(canary=0.25, requests=50),
)
TIERS: Mapping[Tier, Mapping[str, Any]] = {
    "low": {},
    "medium": {
        "gate": {"margin": 0.03, "min_samples": 50},
        "steps": (
            StepDeclaration(shadow=0.2, requests=50),
            StepDeclaration(canary=0.05, requests=50, hold_s=600),
            StepDeclaration(canary=0.25, requests=200, hold_s=600),
        ),
        "guard": {"slowdown": 2.0, "tolerated_failures": 0.02, "tolerated_violations": 0.02},
        "approval": {"required": 1, "before": "promotion"},
        "bake_s": 3600.0,
    },
    "high": {
        "gate": {"margin": 0.02, "min_samples": 100},
        "steps": (
            StepDeclaration(shadow=0.5, requests=200, hold_s=3600),
            StepDeclaration(canary=0.01, requests=50, hold_s=3600),
            StepDeclaration(canary=0.05, requests=200, hold_s=3600),
            StepDeclaration(canary=0.25, requests=500, hold_s=3600),
        ),
        "guard": {"slowdown": 1.5, "tolerated_failures": 0.01, "tolerated_violations": 0.01},
        "approval": {"required": 1, "before": "canary"},
        "bake_s": 86_400.0,
    },
}
"""What each tier sets where a task does not say it."""


class TaskDeclaration(toml.Declared):
    """A file below `tasks/`. Its name, without the ending, is what applications put into `model`."""

    description: str
    """One line, for people."""
    prompt: str
    """Text file beside this one: what every model is told first. May be empty."""
    dataset: str
    """JSONL file, relative to this one."""
    family: str | None = None
    """Family of models that the organisation means for this task, such as `gemma`; None: any. Says which to look at
    first; evidence decides."""
    first_incumbent: str
    """Card of the library that answers until the first switch, or `echo`. Ignored once the task has a route."""
    timeout_s: float = Field(default=60, gt=0, le=3600)
    """From the request to the last byte of the answer."""
    record: Record = "metadata"
    """What is kept of each exchange: `full` content, `redacted` content (personal data masked), `metadata` only (who
    answered, when, how it ended, tokens), or nothing (`off`). Usage counters are kept in any case."""
    record_share: float = Field(default=1.0, ge=0, le=1)
    """Share of exchanges whose content is kept; of the others the metadata is."""
    retention_days: float | None = Field(default=None, gt=0)
    """Exchanges of this task that are older are deleted; None: `records.retention_days` of changeover.toml."""
    first_token_s: float | None = Field(default=None, gt=0, le=3600)
    """Longest wait for the first bytes of one model before the next in turn is asked; None: half of the time left."""
    between_tokens_s: float = Field(default=30.0, gt=0, le=3600)
    """Longest silence within an answer."""
    on_break: OnBreak = "go_on"
    """Of a stream that breaks off in the middle: `go_on`, the next in turn continues its text where that is sound, so that
    two models wrote the answer; or `error`, it ends with an error event."""
    max_output_tokens: int | None = Field(default=None, ge=1)
    """Most tokens of one answer: a caller's larger `max_tokens` is lowered to it, a missing one is set; None: no bound."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Sampling defaults; a caller's own value wins."""
    echo: dict[str, Any] = Field(default_factory=dict)
    """Options of the echo engine where `first_incumbent` is `echo`, its faults included: docs, concepts, faults."""
    input: str | None = None
    """Jinja template beside this file that makes the user's message from a sample's variables; None: samples hold
    messages or texts."""
    repeats: int = Field(default=1, ge=1, le=100)
    """Answers to each sample, each with another seed; its score is their mean."""
    scorer: ScorerDeclaration
    """What decides."""
    measures: tuple[ScorerDeclaration, ...] = ()
    """More scorers, reported beside the verdict; they never decide it."""
    gate: GateDeclaration = GateDeclaration()
    tier: Tier = "low"
    """What is at stake: `low`, `medium` or `high`. Sets what is not declared of `gate`, `steps`, `guard`, `approval` and
    `bake_s`: docs, concepts, rollouts."""
    steps: tuple[StepDeclaration, ...] = LOW_STEPS
    """After the evaluation, in this order; after the last one the candidate is promoted."""
    shadow: ShadowDeclaration = ShadowDeclaration()
    guard: GuardDeclaration = GuardDeclaration()
    approval: ApprovalDeclaration = ApprovalDeclaration()
    bake_s: float = Field(default=300, ge=0)
    """After promotion the former incumbent stays ready and the guard stays on for so long."""

    @model_validator(mode="after")
    def _by_tier(self) -> TaskDeclaration:
        """Take from the tier what the file does not say. It stays unsaid: what is stored is what was declared."""
        for name, preset in TIERS[self.tier].items():
            if isinstance(preset, dict):
                part: toml.Declared = getattr(self, name)
                said = part.model_fields_set
                more = {key: value for key, value in cast("dict[str, Any]", preset).items() if key not in said}
                self._take(name, type(part).model_construct(said, **{**dict(part), **more}))
            elif name not in self.model_fields_set:
                self._take(name, preset)
        if self.shadow.scorers and self.record not in ("full", "redacted"):
            raise ValueError(
                f"`shadow.scorers` read what is recorded, and `record` is `{self.record}`; declare `full` or `redacted`"
            )
        return self

    def _take(self, name: str, value: Any) -> None:
        vars(self)[name] = value  # neither frozen yet, nor said by the file


@dataclass(frozen=True, kw_only=True)
class Task:
    """A declared task with the files it names."""

    name: str
    file: Path
    declared: TaskDeclaration
    prompt: str
    prompt_name: str
    dataset: Path
    input_template: str | None = None
    """Text of the declared `input`."""

    def document(self, root: Path) -> dict[str, Any]:
        """The JSON value that is stored when this is applied: what was declared, with the texts of the files it names.

        Raises:
            ConfigError: A number in it has no JSON form.
        """
        declared = self.declared.model_dump(exclude_unset=True)
        if not _is_finite(declared):
            raise ConfigError(f"{self.file}: a number is not finite. Leave the key out, or write a number.")
        return {
            "file": os.path.relpath(self.file, root),
            "declared": self.declared.model_dump(mode="json", exclude_unset=True),
            "prompt": self.prompt,
            "prompt_name": self.prompt_name,
            "dataset": os.path.relpath(self.dataset, root),
            "input_template": self.input_template,
        }

    @classmethod
    def from_document(cls, name: str, document: Mapping[str, Any], root: Path) -> Task:
        """Read what `document` wrote. Nothing is read from files.

        Raises:
            ConfigError: Another version wrote it, and this one does not understand it.
        """
        try:
            return cls(
                name=name,
                file=root / document["file"],
                declared=toml.validate(TaskDeclaration, document["declared"], where=f"task `{name}` as it was applied"),
                prompt=document["prompt"],
                prompt_name=document["prompt_name"],
                dataset=root / document["dataset"],
                input_template=document["input_template"],
            )
        except (KeyError, TypeError) as exc:
            raise ConfigError(f"Task `{name}` was applied by another version of changeover: no {exc}.") from exc


class Tasks(toml.Declarations[Task]):
    """Declared tasks by name, which is that of the file without its ending."""


def load_all_tasks(directory: Path, tools: Path) -> Tasks:
    """Read every task of a project: those of a directory, and those of every tool of another one."""
    tasks, of_tools = load_tasks(directory), load_tool_tasks(tools)
    tasks.update(of_tools)
    tasks.problems.update(of_tools.problems)
    if tasks:  # a project whose tools declare all its tasks needs no others
        tasks.problems.pop("", None)
    return tasks


def load_tasks(directory: Path) -> Tasks:
    """Read every `*.toml` of a directory. What is wrong with one stops no other: see `Tasks.problems`."""
    tasks = Tasks()
    if not directory.is_dir():
        missing = f"No directory `{directory}`. Declare tasks there, or set `tasks` in changeover.toml."
        tasks.refuse("", ConfigError(missing))
        return tasks
    for file in sorted(directory.glob("*.toml")):
        try:
            tasks[file.stem] = load_task(file)
        except ConfigError as exc:
            tasks.refuse(file.stem, exc)
    if not tasks and not tasks.problems:
        tasks.refuse("", ConfigError(f"`{directory}` declares no task. Add one, such as `summarise.toml`."))
    return tasks


def load_tool_tasks(directory: Path) -> Tasks:
    """Read the tasks of every tool of a directory: `TOOL/tasks/NAME.toml` is the task `TOOL.NAME`."""
    tasks = Tasks()
    for file in sorted(directory.glob("*/tasks/*.toml")):
        tool = file.parent.parent.name
        try:
            task = load_task(file, of_tool=tool)
            tasks[task.name] = task
        except ConfigError as exc:
            tasks.refuse(f"{tool}.{file.stem}", exc)
    return tasks


def load_task(file: Path, *, of_tool: str | None = None) -> Task:
    """Read one declaration and its prompt.

    Args:
        file: The declaration.
        of_tool: Name of the tool whose task it is; goes before its own.

    Raises:
        ConfigError: A file is missing, the declaration is wrong, or a canary goes down between steps.
    """
    name = file.stem if of_tool is None else f"{of_tool}.{file.stem}"
    if not TASK_NAME.fullmatch(name):
        raise ConfigError(f"{file}: a task's name has lower-case letters, digits, `.`, `_` and `-`, at most 64.")
    declared = toml.load(TaskDeclaration, file)
    _check_steps(file, declared.steps)
    prompt_file = file.parent / declared.prompt
    prompt = _text_beside(file, "prompt", declared.prompt)
    return Task(
        name=name,
        file=file,
        declared=declared,
        prompt=prompt,
        prompt_name=prompt_file.name.removesuffix(".prompt.md"),
        dataset=(file.parent / declared.dataset).resolve(),
        input_template=None if declared.input is None else _text_beside(file, "input", declared.input),
    )


def _check_steps(file: Path, steps: Sequence[StepDeclaration]) -> None:
    weights = [step.canary for step in steps if step.canary is not None]
    if weights != sorted(weights):
        raise ConfigError(f"{file}: `steps`: the canary share goes down ({weights}). List the steps in rising order.")
    if any(step.canary is None for step in steps[len(steps) - len(weights) :]):
        raise ConfigError(f"{file}: `steps`: a shadow comes after a canary. Put shadows first.")


def _is_finite(value: Any) -> bool:
    """Whether every number in a value has a JSON form."""
    if isinstance(value, dict):
        return all(map(_is_finite, cast("dict[str, Any]", value).values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, cast("list[Any]", value)))
    return not isinstance(value, float) or math.isfinite(value)


def _text_beside(file: Path, key: str, name: str) -> str:
    try:
        return (file.parent / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{file}: `{key}`: cannot read `{name}`: {exc}. Create it beside the task.") from exc


def find_task(tasks: Mapping[str, Task], name: str) -> Task:
    """Get a task by name, or say which there are.

    Raises:
        UnknownTaskError: There is none.
        ConfigError: Its file is broken.
    """
    try:
        return tasks[name]
    except KeyError:
        raise UnknownTaskError(f"No task named `{name}`. {nearest(name, tasks)}") from None
