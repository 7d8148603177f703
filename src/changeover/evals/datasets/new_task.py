"""A first task for imported cases: a declaration, a prompt and an input template that load as they are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from changeover.evals.datasets.check import answers_of, labels, observations
from changeover.evals.datasets.power import shown_margin
from changeover.evals.datasets.samples import Sample

WIDEST = 0.30
"""Margin of a task whose samples can show nothing better."""
LONG_ANSWER = 60
"""Characters from which a target is not one that a model could say word for word."""

BY_KEY: Mapping[str, tuple[str, str]] = {
    "calls": ("tool-calls", "the right tools, with the right arguments"),
    "facts": ("key-facts", "share of the facts named, times the share of figures that the input has"),
    "tests": ("unit-tests", "runs the answer's code in a sandbox against the case's assertions"),
    "schema": ("json-schema", "valid JSON of the case's schema, field by field"),
    "label": ("choice", "the right one of several labels"),
    "all": ("contains", "the target's texts stand in the answer"),
    "any": ("contains", "any of the target's texts stands in the answer"),
}
"""Key of a target: the scorer that reads such targets, and what it looks at."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How answers of a new task are scored."""

    name: str
    options: Mapping[str, Any]
    about: str
    """What it looks at, for the comment beside it."""


@dataclass(frozen=True, kw_only=True)
class NewTask:
    """What a first declaration is made of."""

    name: str
    tasks: Path
    """Directory of declarations."""
    dataset: Path
    samples: Sequence[Sample]
    first: str
    """Model that answers until the first switch."""
    scoring: Scoring
    prompt: str | None = None
    """That the source had."""
    template: str | None = None


def scoring_for(samples: Sequence[Sample], suggested: str | None, options: Mapping[str, Any]) -> Scoring:
    """A scorer that can read these targets, the source's own where it has one."""
    if suggested is not None and suggested != "choice":
        return Scoring(name=suggested, options=options, about="as the source scored its cases")
    known = [key for key in BY_KEY if all(isinstance(s.target, Mapping) and key in s.target for s in samples)]
    if known and not all(isinstance(sample.target, str) for sample in samples):
        name, about = BY_KEY[known[0]]
        return Scoring(name=name, options=_choices(samples) if name == "choice" else {}, about=about)
    if all(_is_number(sample.target) for sample in samples):
        return Scoring(name="numeric", options={}, about="the target's number")
    if all(isinstance(sample.target, str) for sample in samples) and _choices(samples):
        return Scoring(name="choice", options=_choices(samples), about="the right one of these labels, and no other")
    if max(len(text) for sample in samples for text in answers_of(sample.target) or [""]) <= LONG_ANSWER:
        return Scoring(name="exact", options={"ignore_case": True}, about="the whole answer is a right one")
    return Scoring(
        name="chrf",
        options={},
        about="likeness to the target's text, letter by letter: a rough beginning; a judge or facts say more",
    )


def files_of(new: NewTask) -> dict[Path, str]:
    """Every file of the task, with its text."""
    template = _template(new)
    files = {
        new.tasks / f"{new.name}.prompt.md": f"{new.prompt or _prompt(new)}\n",
        new.tasks / f"{new.name}.toml": _declaration(new, with_input=template is not None),
    }
    if template is not None:
        files[new.tasks / f"{new.name}.input.md"] = template.rstrip("\n") + "\n"
    return files


def _declaration(new: NewTask, *, with_input: bool) -> str:
    there = observations(new.samples)
    margin = shown_margin(there)
    shown = "far too few: 300 show 5 points" if margin is None else f"what {there} cases can show"
    margin = margin or WIDEST
    dataset = Path(os.path.relpath(new.dataset.resolve(), new.tasks.resolve())).as_posix()
    options = ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in _toml(new.scoring.options))
    tokens = _most_tokens(new.samples)
    lines = [
        f"# tasks/{new.name}.toml: what an application gets when it names `{new.name}` as its model.",
        "",
        f'description = "Imported cases: {len(new.samples)}."  # One line, for people.',
        f'prompt = "{new.name}.prompt.md"  # What every model is told first: a text file beside this one.',
        *(
            [f'input = "{new.name}.input.md"  # Makes the message of a case\'s variables: a Jinja template.']
            if with_input
            else []
        ),
        f"dataset = {json.dumps(dataset, ensure_ascii=False)}  # The cases, relative to this file.",
        f"first_incumbent = {json.dumps(new.first)}  # The model that answers until the first switch.",
        "timeout_s = 60  # Longest time for one whole answer, in seconds.",
        'record = "metadata"  # "full" keeps the text of requests too, for `changeover dataset from-traffic`.',
        "",
        "[parameters]  # Sent to the model unless the caller sets them.",
        "temperature = 0.0",
        f"max_tokens = {tokens}  # Longest answer, in tokens.",
        "",
        f"[scorer]  # How an answer becomes a score from 0 to 1: {new.scoring.about}.",
        f'name = "{new.scoring.name}"',
        *([f"options = {{ {options} }}"] if options else []),
        "",
        "[gate]  # The evidence a candidate needs before it may take over.",
        f"margin = {margin:.2f}  # Largest loss accepted, share of the score: {100 * margin:g} points, {shown}.",
        "",
        "[[steps]]  # Shares of real requests that a candidate answers on its way.",
        "canary = 0.05",
        "requests = 20",
        "",
        "[[steps]]",
        "canary = 0.25",
        "requests = 50",
    ]
    return "\n".join(lines) + "\n"


def _prompt(new: NewTask) -> str:
    """A prompt to begin with, fit to the scorer."""
    if new.scoring.name == "choice":
        named = ", ".join(str(label) for label in new.scoring.options.get("labels", ()))
        return f"Say which of these it is: {named}. Answer with that alone and nothing else."
    fixed = {
        "tool-calls": "Call the tools that answer the request. If none fits, call none.",
        "json-schema": "Answer with one JSON value and nothing else.",
        "numeric": "Answer with the number alone and nothing else.",
        "exact": "Answer with the answer alone: no sentence around it, no explanation.",
        "unit-tests": "Write the function that is asked for. Answer with one Python code block and nothing else.",
    }
    return fixed.get(new.scoring.name, "Answer the request.")


def _template(new: NewTask) -> str | None:
    """The source's own template, or one that shows every variable under its name."""
    first = next((sample.variables for sample in new.samples if sample.variables is not None), None)
    if first is None:
        return None
    if new.template is not None:
        return new.template
    return "\n\n".join(f"{name}:\n{{{{ {name} }}}}" for name in first)


def _choices(samples: Sequence[Sample]) -> dict[str, Any]:
    counted = labels(samples)
    folded = {label.casefold() for label in counted or ()}
    return {"labels": sorted(counted)} if counted is not None and 1 < len(folded) == len(counted) else {}


def _is_number(target: Any) -> bool:
    return isinstance(target, str) and _holds(float, target.replace(",", ""))


def _holds(kind: Callable[[str], object], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _most_tokens(samples: Sequence[Sample]) -> int:
    """Room for some three times the longest target: a token is three letters or more."""
    longest = max((len(text) for sample in samples for text in answers_of(sample.target)), default=0)
    return next((size for size in (16, 64, 256, 512, 1024) if 0 < longest <= size), 512 if longest == 0 else 2048)


def _toml(options: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Options as they can stand in one line: JSON's texts, numbers, lists and truth values are TOML's too."""
    return [(key, value) for key, value in options.items() if value is not None]
