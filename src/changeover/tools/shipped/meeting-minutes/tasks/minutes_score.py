"""Scores minutes: how much of what was agreed they have, and how much of what they have was agreed.

A target holds `decisions` and `open_questions`, each a list of items, and `actions`, a list of objects with `what`, `owner` and
`due`. An item, or a `what` or `due`, is a list of alternatives of which any must stand in the answer's item; alternatives may be
parts of words. `owner` and `due` that are null must be empty in the answer. `never` lists what no good answer says.
"""

import json
import unicodedata
from collections.abc import Callable
from typing import Any, cast

from changeover.evals.answers import Answer
from changeover.evals.datasets import Sample


def score(answer: Answer, sample: Sample) -> float:
    """Mean over the three lists of F1, an action counting half for what is done and a quarter each for who and when."""
    try:
        given: Any = json.loads(answer.text)
        lists: dict[str, list[Any]] = {key: list(given[key]) for key in ("decisions", "actions", "open_questions")}
        said = _folded(json.dumps(given, ensure_ascii=False))
    except (ValueError, KeyError, TypeError):
        return 0.0
    target = cast("dict[str, Any]", sample.target)
    if any(_folded(text) in said for text in target.get("never", [])):
        return 0.0
    scores, weights = 0.0, 0.0
    for key, weight in (("decisions", 1.0), ("actions", 2.0), ("open_questions", 1.0)):
        wanted = target[key]
        if not wanted and not lists[key]:
            continue  # nothing was to be said, and nothing was: worth no points to those who never say anything
        match = _action if key == "actions" else _text
        scores += weight * _f1(lists[key], wanted, match)
        weights += weight
    return scores / weights if weights else 1.0


def _f1(given: list[Any], wanted: list[Any], match: Callable[[Any, Any], float]) -> float:
    """Each wanted item takes the given one that fits best, once."""
    left, found = list(range(len(given))), 0.0
    for item in wanted:
        worth = {place: match(given[place], item) for place in left}
        best = max(left, key=lambda place, worth=worth: worth[place], default=None)
        if best is not None and worth[best] > 0:
            found += worth[best]
            left.remove(best)
    return 2 * found / (len(given) + len(wanted)) if given or wanted else 1.0


def _text(given: object, alternatives: list[str]) -> float:
    return float(any(_folded(text) in _folded(str(given)) for text in alternatives))


def _action(given: object, wanted: dict[str, Any]) -> float:
    said = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    if not _text(said.get("what", ""), wanted["what"]):
        return 0.0
    owner, due = (str(said.get(key) or "").strip() for key in ("owner", "due"))
    right = 0.5
    right += 0.25 * (_folded(wanted["owner"]) in _folded(owner) if wanted["owner"] else not owner)
    return right + 0.25 * (_text(due, wanted["due"]) if wanted["due"] else not due)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
