"""What every importer takes and gives: drafts of samples, with where each comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from changeover.core.errors import DatasetError

FIELDS = ("id", "input", "target", "tags", "cluster", "tools")
"""Of a sample, that a column or a key can be taken for."""

USUAL: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "case_id", "sample_id", "question_id", "case", "uid", "uuid", "key", "nr", "no", "number"),
    "input": (
        "input", "inputs", "question", "prompt", "query", "messages", "instruction", "user_input", "request", "text",
        "message", "document", "content", "body", "email", "ticket", "utterance", "sentence", "article", "passage",
    ),
    "target": (
        "target", "targets", "expected", "expected_output", "ideal", "ideal_answer", "answer", "answers", "reference",
        "reference_answer", "ground_truth", "gold", "label", "labels", "output", "completion", "response", "category",
        "class", "intent", "team", "summary", "solution",
    ),
    "tags": ("tags", "tag", "slice", "slices", "category", "topic", "difficulty", "language", "lang"),
    "cluster": ("cluster", "group", "document_id", "doc_id", "conversation_id", "conversation", "thread_id", "session_id"),
    "tools": ("tools", "functions"),
}  # fmt: skip
"""Names under which people keep these, the likeliest first."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A sample as an importer read it, not checked yet."""

    fields: Mapping[str, Any]
    """As in a dataset's line; `id` may be missing."""
    where: str
    """File and row, for messages and for the sample's source."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a person says about the source. Empty where the importer shall guess."""

    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Field of a sample: the columns that it is taken from. Several for `input` are variables of a template."""
    paths: Mapping[str, str] = field(default_factory=dict[str, str])
    """Field of a sample, or `input.NAME` for a variable: a dotted path in each row."""
    skip_bad: bool = False
    """Leave out rows that cannot be used, and count them; otherwise the first is an error."""


@dataclass(kw_only=True)
class Imported:
    """What an importer made of its sources."""

    choice: Choice
    drafts: list[Draft] = field(default_factory=list[Draft])
    notes: list[str] = field(default_factory=list[str])
    """What was taken for what, and what was left out, for the person who asked."""
    bad: list[str] = field(default_factory=list[str])
    """Rows that were skipped: where and why."""
    scorer: str | None = None
    """That the source's own scoring suggests."""
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    prompt: str | None = None
    """System prompt that the source has."""
    template: str | None = None
    """Input template that the source has."""

    def skip(self, where: str, reason: str) -> None:
        """Leave a row out.

        Raises:
            DatasetError: Nobody said that bad rows may be skipped.
        """
        said = f"{where}: {reason}"
        if not self.choice.skip_bad:
            raise DatasetError(f"{said} Mend it, or leave such rows out with `--skip-bad`.")
        self.bad.append(said)

    def note(self, said: str) -> None:
        """Say something, once."""
        if said not in self.notes:
            self.notes.append(said)


def as_table(value: Any) -> dict[str, Any]:
    """An object's keys and values; none where it is no object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """A list's items; none where it is no list."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def plain_name(name: str) -> str:
    """A column's or key's name as the usual names are written."""
    return "_".join("".join(char if char.isalnum() else " " for char in name.casefold()).split())


def usual(field_name: str, names: list[str], taken: set[str]) -> str | None:
    """The likeliest of some names for a field, of those not taken for another."""
    free = {plain_name(name): name for name in reversed(names) if name not in taken}
    return next((free[likely] for likely in USUAL[field_name] if likely in free), None)


def target_of(value: Any) -> Any:
    """A target in our shape: several right answers become `any`, numbers and truth values their text."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("{") and text.endswith("}"):
            try:
                read = json.loads(text)
            except ValueError:
                return text
            return as_table(read) or text
        return text
    if isinstance(value, list):
        values = as_list(value)
        if len(values) == 1:
            return target_of(values[0])
        return None if not values else {"any": [text_of(item) for item in values]}
    if isinstance(value, dict):
        return as_table(value)
    return None if value is None else text_of(value)


def text_of(value: Any) -> str:
    """A value as text: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def tags_of(value: Any, name: str = "") -> list[str]:
    """Tags of a cell or a list: `a, b; c` are three. A column that is not called tags gives `name=value`."""
    if value in (None, "", []):
        return []
    parts = (
        cast("list[Any]", value)
        if isinstance(value, list)
        else str(value).replace(";", ",").replace("|", ",").split(",")
    )
    texts = [text_of(part).strip() for part in parts]
    return [text for text in texts if text]
