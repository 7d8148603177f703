"""A run under way: what its steps see and leave behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from changeover.core.errors import ContractError
from changeover.core.threads import in_thread
from changeover.tools.caller import Answered
from changeover.tools.declarations import StepDeclaration, Tool
from changeover.tools.expressions import evaluate
from changeover.tools.means import Means
from changeover.tools.tables import as_csv
from changeover.tools.values import AnsweredBy, Document, File, Progress

MOST_PROBLEMS = 200

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a call asked and was answered: who repairs its answer goes on from there."""

    messages: list[dict[str, Any]]
    answer: str


@dataclass(kw_only=True)
class Run:
    """One run. Every step is given it, and its own declaration."""

    tool: Tool
    means: Means
    inputs: Mapping[str, Any]
    """As they were given; in `values`, tables that came as files are rows."""
    values: dict[str, Any]
    """What expressions see: inputs, and results of steps, by name."""
    report: Callable[[Progress], None]
    streams: str | None = None
    """The step whose pieces are the output's text as they come; None: no step's are."""
    read: dict[str, Document] = field(default_factory=dict[str, Document])
    """Tables that were read before the first step, by the name of the input."""
    asked: dict[str, Asked] = field(default_factory=dict[str, Asked])
    """By the name of the call."""
    problems: list[str] = field(default_factory=list[str])
    alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by a call that was too late with others beside it, while it is tried again without them."""
    number: int = 0
    """Of the step under way, from 1."""
    step: StepDeclaration | None = None
    calls: int = 0
    """Of the step under way."""
    repairs: int = 0
    """Of the step under way."""
    cut_off: list[str] = field(default_factory=list[str])
    """Answers of the step under way that the limit of tokens cut off, as problems call them."""
    answered: Counter[tuple[str, str, int | None, str]] = field(
        default_factory=Counter[tuple[str, str, int | None, str]]
    )
    """Calls and tokens by task, deployment and revision."""

    def begin(self, number: int, step: StepDeclaration) -> None:
        """Go on to a step, and say so."""
        self.number, self.step, self.calls, self.repairs, self.cut_off = number, step, 0, 0, []
        self.progress(0, None)

    def end(self) -> None:
        """Leave the step under way: answers that were cut off become one problem, however many they are."""
        if self.step is None or not self.cut_off:
            return
        several = f"`{self.step.name}`: {len(self.cut_off)} of {self.calls} answers were"
        said = f"{self.cut_off[0]}: the answer was" if len(self.cut_off) == 1 else several
        self.problem(f"{said} cut off by the limit of tokens.")

    def progress(self, done: int, of: int | None, text: str | None = None) -> None:
        """Say how far the step is."""
        name = "" if self.step is None else self.step.name
        steps = len(self.tool.declared.steps)
        self.report(Progress(step=name, number=self.number, steps=steps, done=done, of=of, text=text))

    def value(self, expression: str, **more: Any) -> Any:
        """The value of an expression of the step.

        Raises:
            ContractError: It cannot be computed; names the step.
        """
        try:
            return evaluate(expression, {**self.values, **more})
        except ContractError as exc:
            name = "" if self.step is None else f"The step `{self.step.name}`: "
            raise ContractError(f"{name}{exc.message}") from exc

    def problem(self, text: str) -> None:
        """Note what is not as it should be and is let through."""
        if len(self.problems) < MOST_PROBLEMS and text not in self.problems:
            self.problems.append(text)

    async def once(self, place: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """JSON that is made once for a place: who goes on with a run takes what was kept."""
        kept = self.means.journal.kept(place)
        if kept is not None:
            return kept
        value = await make()
        await self.means.journal.keep(place, value)
        return value

    async def compute(self, work: Callable[[], Made]) -> Made:
        """Compute in a thread: neither the loop nor those who wait for the store wait for it."""
        return await in_thread(work, self.means.pool)

    def count(self, task: str, answered: Answered) -> None:
        """Count an answer, by who gave it."""
        self.calls += 1
        who = (task, answered.deployment, answered.revision)
        self.answered[(*who, "calls")] += 1
        self.answered[(*who, "prompt_tokens")] += answered.prompt_tokens
        self.answered[(*who, "completion_tokens")] += answered.completion_tokens

    def answered_by(self) -> list[AnsweredBy]:
        """Who answered which task, in the order of the first answers."""
        found: dict[tuple[str, str, int | None], dict[str, int]] = {}
        for (task, deployment, revision, what), count in self.answered.items():
            found.setdefault((task, deployment, revision), {})[what] = count
        return [
            AnsweredBy(task=task, deployment=deployment, revision=revision, **counts)
            for (task, deployment, revision), counts in found.items()
        ]

    def file_of(self, expression: str) -> Any:
        """The file, or files, that an expression names; of a table the file itself, and not its rows."""
        name = expression.strip()
        declared = self.tool.declared.inputs.get(name)
        if declared is None or declared.type != "table":
            return self.value(expression)
        given: Any = self.inputs[name]
        rows = cast("list[dict[str, Any]]", given if isinstance(given, list) else [])
        return File(name=f"{name}.csv", data=as_csv(rows)) if rows else cast("Any", given)
