"""What changed between two versions of a dataset, sample by sample."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from changeover.evals.datasets.dataset import Dataset
from changeover.evals.datasets.samples import Sample
from changeover.evals.datasets.write import line_of

SHOWN = 60
"""Characters of a value that a difference shows."""
BEFORE_IT = 15
"""Of them, before the first that differs."""


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """One field of one sample that is another one now."""

    field: str
    """Such as `target` or, of a template's variables, `input.document`."""
    before: str
    """Short: around the first place that differs. Empty where there was nothing."""
    after: str


@dataclass(frozen=True, kw_only=True)
class SampleChange:
    """A sample that both versions hold, but not alike."""

    id: str
    fields: tuple[FieldChange, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """From one version to another; ids in their files' order."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[SampleChange, ...]
    unchanged: int

    @property
    def same(self) -> bool:
        """Whether both hold the same samples."""
        return not (self.added or self.removed or self.changed)


def diff(old: Dataset, new: Dataset) -> Difference:
    """What must be done to the old samples to get the new ones; the order in the file does not matter."""
    before = {sample.id: sample for sample in old.samples}
    after = {sample.id: sample for sample in new.samples}
    both = [(before[id], sample) for id, sample in after.items() if id in before]
    changed = tuple(
        SampleChange(id=one.id, fields=tuple(_changes(one, other))) for one, other in both if one.digest != other.digest
    )
    return Difference(
        added=tuple(id for id in after if id not in before),
        removed=tuple(id for id in before if id not in after),
        changed=changed,
        unchanged=len(both) - len(changed),
    )


def _changes(one: Sample, other: Sample) -> Iterator[FieldChange]:
    before, after = _flat(one), _flat(other)
    if before == after:
        # The file says the same; the template that makes the message of it was changed.
        before, after = {"input (by the template)": one.text}, {"input (by the template)": other.text}
    for field in {**before, **after}:
        old, new = _text(before.get(field)), _text(after.get(field))
        if old != new:
            start = _first_difference(old, new)
            yield FieldChange(field=field, before=_around(old, start), after=_around(new, start))


def _flat(sample: Sample) -> dict[str, Any]:
    line = line_of(sample)
    if sample.variables is None:
        return line
    return {**{f"input.{name}": value for name, value in sample.variables.items()}, **line, "input": None}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _first_difference(old: str, new: str) -> int:
    pairs = enumerate(zip(old, new, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(old), len(new)))


def _around(text: str, place: int) -> str:
    start = max(0, place - BEFORE_IT) if len(text) > SHOWN else 0
    piece = text[start : start + SHOWN]
    return ("…" if start else "") + " ".join(piece.split()) + ("…" if start + SHOWN < len(text) else "")
