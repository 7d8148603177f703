"""Scorers: code that scores an answer, 0 to 1. A task names one with its options; every score keeps its version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from changeover.core import toml
from changeover.core.digest import sha256_value
from changeover.core.errors import ConfigError, DatasetError, nearest
from changeover.evals.datasets import Sample
from changeover.evals.sandbox import CodeRunner
from changeover.evals.scorers.base import Case, Score, Scorer
from changeover.evals.scorers.facts import KEY_FACTS
from changeover.evals.scorers.json_schema import JSON_SCHEMA
from changeover.evals.scorers.text import CONTAINS, EXACT
from changeover.evals.scorers.unit_tests import UNIT_TESTS

__all__ = ["SCORERS", "Score", "ScorerSpec", "check_targets", "score"]

SCORERS: Mapping[str, Scorer[Any, Any]] = {
    "exact": EXACT,
    "contains": CONTAINS,
    "key-facts": KEY_FACTS,
    "unit-tests": UNIT_TESTS,
    "json-schema": JSON_SCHEMA,
}


class ScorerSpec(BaseModel):
    """A scorer and its options, checked when it is made.

    Raises:
        ConfigError: No scorer has that name, or an option is unknown or wrong; names the nearest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_known(self) -> ScorerSpec:
        if self.name not in SCORERS:
            raise ConfigError(f"No scorer named `{self.name}`. {nearest(self.name, SCORERS)}")
        _ = self.parsed_options
        return self

    @property
    def scorer(self) -> Scorer[Any, Any]:
        """The code behind the name."""
        return SCORERS[self.name]

    @property
    def version(self) -> str:
        """Of the scorer's code."""
        return self.scorer.version

    @cached_property
    def parsed_options(self) -> toml.Declared:
        """The options with their defaults."""
        return toml.validate(self.scorer.options, self.options, where=f"scorer `{self.name}`")

    @cached_property
    def digest(self) -> str:
        """Identity of what decides a score beside answer and sample: name, version, all options."""
        return sha256_value([self.name, self.version, self.parsed_options.model_dump(mode="json")])


async def score(spec: ScorerSpec, sample: Sample, answer: str, *, sandbox: CodeRunner) -> Score:
    """Score one answer. What goes wrong is in the score's `error`, never raised.

    The sandbox runs an answer's code; scorers that only compute leave it alone.
    """
    try:
        target = spec.scorer.read_target(sample)
    except ValueError as exc:
        return Score(value=0.0, error=f"Sample `{sample.id}`: {_explain(exc, spec)}")
    case = Case(sample=sample, target=target, options=spec.parsed_options, answer=answer)
    return await spec.scorer.score(case, sandbox)


def check_targets(spec: ScorerSpec, samples: Iterable[Sample]) -> None:
    """Check that the scorer can read every sample's target, before any model is called.

    Raises:
        DatasetError: The first sample whose target has another shape.
    """
    for sample in samples:
        try:
            spec.scorer.read_target(sample)
        except ValueError as exc:
            raise DatasetError(f"Sample `{sample.id}`: {_explain(exc, spec)}") from exc


def _explain(error: ValueError, spec: ScorerSpec) -> str:
    if not isinstance(error, ValidationError):
        return f"the scorer `{spec.name}` cannot read its target: {error}."
    first = error.errors(include_url=False)[0]
    key = ".".join(("target", *(str(part) for part in first["loc"])))
    return f"the scorer `{spec.name}` cannot read `{key}`: {first['msg'].lower()}."
