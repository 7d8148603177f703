"""What every scorer is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue

from changeover.core.toml import Declared
from changeover.evals.answers import Answer
from changeover.evals.datasets import Message, Sample
from changeover.evals.sandbox import CodeRunner

Options = TypeVar("Options", bound=Declared)
Target = TypeVar("Target", bound=BaseModel)

Kind = Literal["answer", "pair"]
Cost = Literal["pure", "sandbox", "judge"]
COSTS: tuple[Cost, ...] = ("pure", "sandbox", "judge")
"""From the cheapest on."""

CUT_OFF = "cut off by the limit of tokens"


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


class NoTarget(SampleTarget):
    """It reads no target: any will do."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where a scorer was named."""

    directory: Path | None = None
    """Folder of the task's file: paths among the options are relative to it."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a scorer made of its options, once, before the first answer."""

    value: Any = None
    """Anything that spares work at each answer; comes back in the case."""
    fingerprint: JsonValue = None
    """What decides a score and does not stand in the options, such as the content of a file they name."""
    judges: tuple[str, ...] = ()
    """Tasks that it asks."""
    cost: Cost | None = None
    """None: as the scorer says."""
    needs_target: bool | None = None
    """None: as the scorer says."""


@dataclass(frozen=True, kw_only=True)
class Case(Generic[Options, Target]):
    """One answer to score, with everything that is known about it."""

    sample: Sample
    target: Target
    options: Options
    answer: Answer
    prepared: Any = None
    """The value that the scorer prepared."""


class Judge(Protocol):
    """What a scorer that asks a model needs of the runner."""

    async def ask(self, task: str, messages: Sequence[Message], *, repeat: int = 0) -> Answer:
        """Ask the task that judges, through the gateway; an answer that is kept already costs nothing.

        Args:
            task: Name of the judge's task.
            messages: What it is asked; its own prompt is put before them.
            repeat: 0, or the number of a repeated asking of the same, which gets an answer of its own.

        Raises:
            JudgeError: It could not answer.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Means:
    """What a scorer may use beside the case itself."""

    sandbox: CodeRunner
    judge: Judge | None = None
    """None where nothing can be asked, as in a replay."""


@dataclass(frozen=True, kw_only=True)
class Scorer(Generic[Options, Target]):
    """One way to score an answer, or to say which of two is better."""

    version: str
    """Raised whenever the same answer could score differently: scores of another version are not reused."""
    options: type[Options]
    target: type[Target]
    from_text: Callable[[str], dict[str, Any]] | None = None
    """Reads a target that is a plain string; None where it must be an object."""
    needs_target: bool = True
    """False: it reads no target, whatever stands there."""
    cost: Cost = "pure"
    """The dearest thing it uses: nothing but time to compute, the sandbox, a model that judges."""
    kind: Kind = "answer"
    """`pair`: it does not score one answer but compares two."""
    score: Callable[[Case[Options, Target], Means], Awaitable[Score]] | None = None
    """None where the kind is `pair`."""
    compare: Callable[[Case[Options, Target], Case[Options, Target], Means], Awaitable[Score]] | None = None
    """Given the incumbent's case and the candidate's of one sample. The value is the preference for the candidate: 1,
    the candidate; 0, the incumbent; 0.5, a tie. None where the kind is `answer`."""
    prepare: Callable[[Options, Setting], Prepared] | None = None
    """Called once, when the declaration is checked: raises ConfigError for what only the options together with the
    place can show to be wrong. Must be quick and run nobody's code."""
    check: Callable[[Sample, Target, Options, Any], None] | None = None
    """What else must be true of a target, given what was prepared; raises ValueError."""

    def read_target(self, sample: Sample, options: Options, prepared: Any = None) -> Target:
        """Check the sample's target.

        Raises:
            ValueError: It has another shape than this scorer reads.
        """
        if not self.needs_target:
            target = self.target()
        elif not isinstance(sample.target, str):
            target = self.target.model_validate(dict(sample.target))
        elif self.from_text is None:
            raise ValueError("an object is expected, not a string")
        else:
            target = self.target.model_validate(self.from_text(sample.target))
        if self.check is not None:
            self.check(sample, target, options, prepared)
        return target


def pure(
    function: Callable[[Case[Options, Target]], Score],
) -> Callable[[Case[Options, Target], Means], Awaitable[Score]]:
    """Fit a scorer that only computes into the place of one that may run code."""

    async def score(case: Case[Options, Target], means: Means) -> Score:
        del means
        return function(case)

    return score
