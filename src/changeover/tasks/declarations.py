"""Tasks as people declare them: one TOML file each, checked whole when it is read.

Read by the gateway (contract, limits), the evals (dataset, scorer, gate) and the rollouts (gate, steps).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field

from changeover.core import toml
from changeover.core.errors import ConfigError, UnknownTaskError, nearest

TASK_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

Record = Literal["full", "redacted", "metadata", "off"]


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
    max_samples: int | None = Field(default=None, ge=1)
    """Stop undecided after so many; None: the whole dataset."""
    max_calls: int | None = Field(default=None, ge=1)
    """Stop undecided before more new model calls than this; None: no limit."""
    max_cost_usd: float | None = Field(default=None, gt=0)
    """Stop undecided before new calls cost more than this, by the prices in changeover.toml; None: no limit."""
    max_failed_share: float = Field(default=0.1, ge=0, le=1)
    """A run in which a larger share of samples could not be answered or scored ends inconclusive."""


class StepDeclaration(toml.Declared):
    """One stage of a canary."""

    canary: float = Field(gt=0, lt=1)
    """Share of requests that the candidate answers."""
    requests: int = Field(default=20, ge=1)
    """That the candidate was asked in this step before the next one may begin; what it failed counts too."""
    hold_s: float = Field(default=0, ge=0)
    """Shortest time in this step."""


class GuardDeclaration(toml.Declared):
    """When a candidate is taken out again by itself."""

    tolerated_failures: float = Field(default=0.03, ge=0.001, lt=1)
    """Long-run share of failed requests that raises no alarm."""
    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Chance of a false alarm over the whole canary."""


class TaskDeclaration(toml.Declared):
    """A file below `tasks/`. Its name, without the ending, is what applications put into `model`."""

    description: str
    """One line, for people."""
    prompt: str
    """Text file beside this one: what every model is told first. May be empty."""
    dataset: str
    """JSONL file, relative to this one."""
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
    steps: tuple[StepDeclaration, ...] = (StepDeclaration(canary=0.05), StepDeclaration(canary=0.25, requests=50))
    guard: GuardDeclaration = GuardDeclaration()
    bake_s: float = Field(default=300, ge=0)
    """After promotion the former incumbent stays ready and the guard stays on for so long."""


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


class Tasks(dict[str, Task]):
    """Declared tasks by name. Asking for one whose file is broken says what is wrong with it."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: dict[str, ConfigError] = {}
        """By name of the file, without its ending; `""`: of the whole directory."""

    def __missing__(self, name: str) -> Task:
        problem = self.problems.get(name) or self.problems.get("")
        raise KeyError(name) if problem is None else problem

    def refuse(self, name: str, problem: ConfigError) -> None:
        """Take out a task that cannot be used."""
        self.pop(name, None)
        self.problems[name] = problem


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


def load_task(file: Path) -> Task:
    """Read one declaration and its prompt.

    Raises:
        ConfigError: A file is missing, the declaration is wrong, or a canary goes down between steps.
    """
    if not TASK_NAME.fullmatch(file.stem):
        raise ConfigError(f"{file}: a task's name has lower-case letters, digits, `.`, `_` and `-`, at most 64.")
    declared = toml.load(TaskDeclaration, file)
    weights = [step.canary for step in declared.steps]
    if weights != sorted(weights):
        raise ConfigError(f"{file}: `steps`: the canary share goes down ({weights}). List the steps in rising order.")
    prompt_file = file.parent / declared.prompt
    prompt = _text_beside(file, "prompt", declared.prompt)
    return Task(
        name=file.stem,
        file=file,
        declared=declared,
        prompt=prompt,
        prompt_name=prompt_file.name.removesuffix(".prompt.md"),
        dataset=(file.parent / declared.dataset).resolve(),
        input_template=None if declared.input is None else _text_beside(file, "input", declared.input),
    )


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
