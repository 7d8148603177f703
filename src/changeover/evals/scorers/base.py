"""What every scorer is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue

from changeover.core.toml import Declared
from changeover.evals.datasets import Sample
from changeover.evals.sandbox import CodeRunner

Options = TypeVar("Options", bound=Declared)
Target = TypeVar("Target", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Score:
    """One result of a scorer on one answer."""

    value: float
    """0 to 1."""
    detail: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """Why, for people and reports; JSON."""
    error: str | None = None
    """Why there is no result: the sample or the scorer is at fault, not the answer. The value is then 0 and means
    nothing."""


class SampleTarget(BaseModel):
    """The part of a sample's target that a scorer reads: unknown keys refused, no conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True, kw_only=True)
class Case(Generic[Options, Target]):
    """One answer to score, with everything that is known about it."""

    sample: Sample
    target: Target
    options: Options
    answer: str


@dataclass(frozen=True, kw_only=True)
class Scorer(Generic[Options, Target]):
    """One way to score an answer."""

    version: str
    """Raised whenever the same answer could score differently: scores of another version are not reused."""
    options: type[Options]
    target: type[Target]
    from_text: Callable[[str], dict[str, Any]] | None = None
    """Reads a target that is a plain string; None where it must be an object."""
    score: Callable[[Case[Options, Target], CodeRunner], Awaitable[Score]]

    def read_target(self, sample: Sample) -> Target:
        """Check the sample's target.

        Raises:
            ValueError: It has another shape than this scorer reads.
        """
        if not isinstance(sample.target, str):
            return self.target.model_validate(dict(sample.target))
        if self.from_text is None:
            raise ValueError("an object is expected, not a string")
        return self.target.model_validate(self.from_text(sample.target))


def pure(
    function: Callable[[Case[Options, Target]], Score],
) -> Callable[[Case[Options, Target], CodeRunner], Awaitable[Score]]:
    """Fit a scorer that only computes into the place of one that may run code."""

    async def score(case: Case[Options, Target], sandbox: CodeRunner) -> Score:
        del sandbox
        return function(case)

    return score
