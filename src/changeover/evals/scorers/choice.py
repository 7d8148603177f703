"""The `choice` scorer: an answer that names one of several labels, as in classification."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import Field, JsonValue, model_validator

from changeover.core.toml import Declared
from changeover.evals.scorers.base import Case, Prepared, SampleTarget, Score, Scorer, Setting, pure
from changeover.evals.scorers.json_text import read_json
from changeover.evals.scorers.prose import CJK


class ChoiceOptions(Declared):
    """The labels. Case, width and white space do not matter."""

    labels: tuple[str, ...] = Field(min_length=2)
    """All that an answer may choose from, whichever the target is."""
    also: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Label: other names of it, such as those in another language."""
    key: str | None = None
    """Of an answer in JSON, the key whose value is the choice; left out: any value that is a label."""

    @model_validator(mode="after")
    def _tells_labels_apart(self) -> ChoiceOptions:
        if unknown := [label for label in self.also if label not in self.labels]:
            raise ValueError(f"`{unknown[0]}` has other names, but is no label")
        seen: dict[str, str] = {}
        for label in self.labels:
            for name in (label, *self.also.get(label, ())):
                if not _fold(name):
                    raise ValueError("a label is empty")
                if seen.setdefault(_fold(name), label) != label or (name == label and self.labels.count(label) > 1):
                    raise ValueError(f"`{name}` stands for two labels")
        return self


class ChoiceTarget(SampleTarget):
    """The right label."""

    label: str


class _Labels:
    """Finds labels in folded text: each whole, and of two that overlap the longer."""

    def __init__(self, options: ChoiceOptions) -> None:
        self.names: Mapping[str, str] = {
            _fold(name): label for label in options.labels for name in (label, *options.also.get(label, ()))
        }
        longest_first = sorted(self.names, key=len, reverse=True)
        self._pattern = re.compile("|".join(_whole(name) for name in longest_first))

    def named(self, folded: str) -> list[str]:
        """The labels that a text names, each once, in their order."""
        return list(dict.fromkeys(self.names[match.group()] for match in self._pattern.finditer(folded)))


def _fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _whole(name: str) -> str:
    """Chinese and Japanese set no space around a word, so there a label may stand anywhere."""
    letter = rf"[^\W{CJK}]"
    before = rf"(?<!{letter})" if re.match(letter, name[0]) else ""
    after = rf"(?!{letter})" if re.match(letter, name[-1]) else ""
    return before + re.escape(name) + after


def score_choice(case: Case[ChoiceOptions, ChoiceTarget]) -> Score:
    """1 if the answer names the target's label and no other, else 0.

    The label may be the whole answer, stand among other words, or be a value in JSON, as in `{"intent": "refund"}`.
    Two labels named is no choice, unless one is part of the other: then the longer counts. Whether a label is denied
    ("no refund"), this cannot see.
    """
    labels = cast("_Labels", case.prepared)
    named = _in_json(case.answer.text, labels, case.options.key)
    if named is None:
        named = labels.named(_fold(case.answer.text))
    right = named == [case.target.label]
    return Score(value=float(right), detail={"named": cast("list[JsonValue]", named)})


def _in_json(text: str, labels: _Labels, key: str | None) -> list[str] | None:
    """Labels among the values of an answer in JSON; None where it is no JSON, or the key is left out and none is."""
    start = text.lstrip()[:1]
    if start not in ("{", "[", "`", '"'):
        return None
    try:
        value = read_json(text)
    except (ValueError, RecursionError):
        return None
    if key is not None:
        chosen = cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None
        return [labels.names[_fold(chosen)]] if isinstance(chosen, str) and _fold(chosen) in labels.names else []
    found = [labels.names[_fold(inner)] for inner in _strings(value) if _fold(inner) in labels.names]
    return list(dict.fromkeys(found)) or None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in cast("dict[str, Any]", value).values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _strings(inner)


def _prepare(options: ChoiceOptions, setting: Setting) -> Prepared:
    del setting
    return Prepared(value=_Labels(options))


def _is_a_label(sample: object, target: ChoiceTarget, options: ChoiceOptions, prepared: object) -> None:
    del sample, prepared
    if target.label not in options.labels:
        known = ", ".join(f"`{label}`" for label in options.labels)
        raise ValueError(f"`{target.label}` is none of the labels {known}")


def _from_text(text: str) -> dict[str, Any]:
    return {"label": text}


SCORER = Scorer(
    version="1",
    options=ChoiceOptions,
    target=ChoiceTarget,
    from_text=_from_text,
    score=pure(score_choice),
    prepare=_prepare,
    check=_is_a_label,
)
