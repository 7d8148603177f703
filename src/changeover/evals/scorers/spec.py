"""A scorer as a task names it, and how answers are put before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from changeover.core import toml
from changeover.core.digest import sha256_value
from changeover.core.errors import ConfigError, DatasetError, JudgeError, nearest
from changeover.evals.answers import Answer
from changeover.evals.datasets import Dataset, Sample
from changeover.evals.scorers.base import Case, Cost, Kind, Means, Prepared, Score, Scorer, Setting
from changeover.evals.scorers.registry import SCORERS


class ScorerSpec(BaseModel):
    """A scorer and its options, checked when it is made.

    Raises:
        ConfigError: No scorer has that name, an option is unknown or wrong, or a file that one names cannot be read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    directory: Path | None = None
    """Folder of the task's file; no part of its identity."""
    judge_bundles: Mapping[str, str] = Field(default_factory=dict)
    """Task that judges: digest of the bundle that answers it now."""

    @model_validator(mode="after")
    def _is_known(self) -> ScorerSpec:
        if self.name not in SCORERS:
            raise ConfigError(f"No scorer named `{self.name}`. {nearest(self.name, SCORERS)}")
        _ = self.parsed_options, self.prepared
        return self

    @cached_property
    def scorer(self) -> Scorer[Any, Any]:
        """The code behind the name."""
        return SCORERS[self.name]

    @property
    def version(self) -> str:
        """Of the scorer's code."""
        return self.scorer.version

    @property
    def kind(self) -> Kind:
        """Whether it scores answers or compares pairs."""
        return self.scorer.kind

    @property
    def cost(self) -> Cost:
        """The dearest thing it uses."""
        return self.prepared.cost or self.scorer.cost

    @property
    def needs_target(self) -> bool:
        """Whether it reads the samples' targets."""
        declared = self.prepared.needs_target
        return self.scorer.needs_target if declared is None else declared

    @property
    def reads_prices(self) -> bool:
        """Whether the project's prices decide its score; they are no part of its identity."""
        return "cost" in self.names

    @property
    def names(self) -> frozenset[str]:
        """Its name, and those of the parts that it is made of, at any depth."""
        return frozenset(_names(self.name, self.options))

    @property
    def judges(self) -> tuple[str, ...]:
        """Tasks that it asks, each once."""
        return self.prepared.judges

    @cached_property
    def parsed_options(self) -> toml.Declared:
        """The options with their defaults."""
        return toml.validate(self.scorer.options, self.options, where=f"scorer `{self.name}`")

    @cached_property
    def prepared(self) -> Prepared:
        """What the scorer makes of its options before the first answer."""
        if self.scorer.prepare is None:
            return Prepared()
        return self.scorer.prepare(self.parsed_options, Setting(directory=self.directory))

    @cached_property
    def identity(self) -> list[JsonValue]:
        """What decides a score beside answer, sample and who judges: name, version, all options, what they name."""
        options = self.parsed_options.model_dump(mode="json")
        return [self.name, self.version, options, self.prepared.fingerprint]

    @cached_property
    def digest(self) -> str:
        """Identity of everything that decides a score beside answer and sample.

        Raises:
            JudgeError: It asks a task, and nobody said who answers it.
        """
        unknown = [name for name in self.judges if name not in self.judge_bundles]
        if unknown:
            raise JudgeError(
                f"Scorer `{self.name}` asks `{unknown[0]}`, which nobody answers yet. Declare the task, and start it."
            )
        return sha256_value([self.identity, {name: self.judge_bundles[name] for name in self.judges}])

    def read_target(self, sample: Sample) -> Any:
        """The sample's target, in the shape that the scorer reads.

        Raises:
            ValueError: It has another.
        """
        if not sample.target:
            if self.needs_target:
                raise ValueError("the sample has none")
            return self.scorer.target()
        return self.scorer.read_target(sample, self.parsed_options, self.prepared.value)

    def case(self, sample: Sample, target: Any, answer: Answer) -> Case[Any, Any]:
        """Put an answer before the scorer."""
        return Case(
            sample=sample,
            target=target,
            options=self.parsed_options,
            answer=answer,
            prepared=self.prepared.value,
        )


def _names(name: str, options: Mapping[str, Any]) -> Iterator[str]:
    yield name
    for part in options.get("parts", ()):
        yield from _names(part["scorer"], part.get("options", {}))


async def score(spec: ScorerSpec, sample: Sample, answer: Answer, means: Means) -> Score:
    """Score one answer. What goes wrong is in the score's `error`, never raised.

    Scorers that only compute leave the means alone.
    """
    if spec.scorer.score is None:
        return Score(value=0.0, error=f"The scorer `{spec.name}` compares two answers; it cannot score one.")
    try:
        target = spec.read_target(sample)
    except ValueError as exc:
        return Score(value=0.0, error=f"Sample `{sample.id}`: {explain(exc, spec, sample)}")
    try:
        return await spec.scorer.score(spec.case(sample, target, answer), means)
    except JudgeError as exc:
        return Score(value=0.0, error=exc.message)


async def prefer(spec: ScorerSpec, sample: Sample, incumbent: Answer, candidate: Answer, means: Means) -> Score:
    """Compare two answers to one sample: the value is the preference for the candidate, 0 to 1, 0.5 a tie.

    What goes wrong is in the score's `error`, never raised.
    """
    if spec.scorer.compare is None:
        return Score(value=0.0, error=f"The scorer `{spec.name}` scores one answer; it cannot compare two.")
    try:
        target = spec.read_target(sample)
    except ValueError as exc:
        return Score(value=0.0, error=f"Sample `{sample.id}`: {explain(exc, spec, sample)}")
    one, other = spec.case(sample, target, incumbent), spec.case(sample, target, candidate)
    try:
        return await spec.scorer.compare(one, other, means)
    except JudgeError as exc:
        return Score(value=0.0, error=exc.message)


def check_targets(spec: ScorerSpec, dataset: Dataset) -> None:
    """Check that the scorer can read every target, also those inside a conversation, before any model is called.

    Raises:
        DatasetError: The first target that has another shape, with file and line.
    """
    for sample in dataset.samples:
        for key, turn in _turns(sample):
            try:
                spec.read_target(turn)
            except ValueError as exc:
                said = explain(exc, spec, turn, key)
                raise DatasetError(f"{dataset.where(sample)}: Sample `{sample.id}`: {said}") from exc


def _turns(sample: Sample) -> Iterator[tuple[str, Sample]]:
    """The sample at each place where the model answers and is scored, the end included, with the key of its target."""
    for position, message in enumerate(sample.input):
        if message.content is None and message.target:
            yield f"input.{position}.target", replace(sample, input=sample.input[:position], target=message.target)
    yield "target", sample


def explain(error: ValueError, spec: ScorerSpec, sample: Sample, key: str = "target") -> str:
    """Say in one line why a scorer cannot read a sample's target, which stands at that key."""
    if not isinstance(error, ValidationError):
        return f"the scorer `{spec.name}` cannot read its `{key}`: {error}."
    first = error.errors(include_url=False)[0]
    place = ".".join((key, *_place(sample.target, first["loc"], first["type"])))
    said = first["msg"].removeprefix("Value error, ")
    return f"the scorer `{spec.name}` cannot read `{place}`: {said[:1].lower()}{said[1:]}."


def _place(target: Any, found: tuple[int | str, ...], kind: str) -> Iterator[str]:
    """Keys and positions that lead to what is wrong, without the names of alternatives that pydantic puts between."""
    for number, part in enumerate(found, start=1):
        try:
            target = target[part]
        except (KeyError, IndexError, TypeError):
            if kind != "missing" or number < len(found):
                continue
        yield str(part)
