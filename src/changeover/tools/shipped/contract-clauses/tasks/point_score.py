"""Scores pointers: F1 of the sentences found, each with its kind.

A target holds `found`, pairs of a sentence's number and its kind; `either`, pairs that a good answer may have or leave out; and
`never`, numbers of sentences that no good answer points at.
"""

import json
from typing import Any, cast

from changeover.evals.answers import Answer
from changeover.evals.datasets import Sample


def score(answer: Answer, sample: Sample) -> float:
    """2 right / (given + wanted); 1 where nothing was to be found and nothing was."""
    try:
        said: Any = json.loads(answer.text)
        given: set[tuple[Any, ...]] = {(found["sentence"], found["kind"]) for found in said["found"]}
    except (ValueError, KeyError, TypeError):
        return 0.0
    target = cast("dict[str, Any]", sample.target)
    if any(number in target.get("never", []) for number, _ in given):
        return 0.0
    wanted: set[tuple[Any, ...]] = {tuple(pair) for pair in target["found"]}
    given -= {tuple(pair) for pair in target.get("either", [])} - wanted
    return 2 * len(given & wanted) / (len(given) + len(wanted)) if given or wanted else 1.0
