"""What a task needs of a model, read from its declaration, its cases and what answers to them took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from changeover.evals.datasets import Dataset
from changeover.evals.scorers.language import detect
from changeover.evals.trial_queries import Figures
from changeover.library.cards import Scenario
from changeover.library.search.spelling import words
from changeover.library.search.vocabulary import vocabulary
from changeover.tasks.declarations import Task

OF_TEXT: Final[tuple[Scenario, ...]] = (
    "documents",
    "dialogue",
    "code",
    "reasoning",
    "translation",
    "agents",
    "education",
)
BYTES_A_TOKEN: Final = 3
"""Of UTF-8, where nobody has counted: English has about four, Japanese about three, so that this is rather too many."""
SPEAKS: Final = 0.05
"""Share of the cases from which on a language counts."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What is known of a task before it is known who answers it."""

    task: str
    description: str
    cases: int
    scenarios: tuple[Scenario, ...]
    """What it is for, in the words of the cards, by the words of its declaration; empty: not known."""
    languages: Mapping[str, float]
    """Share of the cases by language, the most frequent first."""
    prompt_tokens: int
    """Of the longest prompt."""
    counted: bool
    """Whether an engine counted it; else it is an estimate by the length of the text."""
    answer_tokens: int
    """That an answer may have; 0: nobody said."""
    tools: bool
    """Whether cases offer tools."""
    structured: bool
    """Whether answers must have a shape, which the engine and the gateway hold."""

    @property
    def context_tokens(self) -> int:
        """Of one request with its answer."""
        return self.prompt_tokens + self.answer_tokens


def needs_of(task: Task, dataset: Dataset, figures: Figures) -> Needs:
    """Read what a task needs.

    Args:
        task: Its declaration.
        dataset: Its cases.
        figures: Of the incumbent's kept answers to them.
    """
    found = Counter(
        code
        for sample in dataset.samples
        if (code := detect("\n".join(m.content or "" for m in sample.input if m.role == "user"))) is not None
    )
    count = sum(found.values())
    longest = max((len(f"{task.prompt}\n{sample.text}".encode()) for sample in dataset.samples), default=0)
    declared = task.declared
    return Needs(
        task=task.name,
        description=declared.description,
        cases=len(dataset.samples),
        scenarios=scenarios_of(task),
        languages={code: n / count for code, n in found.most_common() if n / count >= SPEAKS},
        prompt_tokens=figures.longest_prompt or -(-longest // BYTES_A_TOKEN),
        counted=figures.longest_prompt is not None,
        answer_tokens=_answer_tokens(task),
        tools=bool(declared.parameters.get("tools")) or any(sample.tools for sample in dataset.samples),
        structured="response_format" in declared.parameters or "tools" in declared.parameters,
    )


def scenarios_of(task: Task) -> tuple[Scenario, ...]:
    """What a task is for, by the words of its name and its description: those that most of them speak of, or none.

    Tasks ask with text and are answered in text, so only scenarios of text come into question.
    """
    known = vocabulary()
    said = set(words(f"{task.name} {task.declared.description}")) - known.stop_words
    counts: dict[Scenario, int] = {
        each: len(said & set(known.scenarios[each].spelled)) for each in OF_TEXT if each in known.scenarios
    }
    most = max(counts.values(), default=0)
    return tuple(each for each, count in counts.items() if count == most > 0)


def _answer_tokens(task: Task) -> int:
    said = [task.declared.max_output_tokens]
    said += [task.declared.parameters.get(name) for name in ("max_tokens", "max_completion_tokens")]
    known = [each for each in said if isinstance(each, int)]
    return min(known) if known else 0
