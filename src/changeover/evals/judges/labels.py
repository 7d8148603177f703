"""People's judgements of answers: the file they are kept in, JSONL, one a line.

    {"sample": "q3", "a": "<digest>", "b": "<digest>", "preferred": "a", "by": "kim"}
    {"sample": "q3", "answer": "<digest>", "score": 0.75, "by": "kim"}

The first compares two answers, the second scores one. Answers are named by the digest of their text, so that a label
stays good whoever gives the same answer. Written by `changeover labels import`, or by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from changeover.core.digest import canonical_json
from changeover.core.errors import DatasetError

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Preferred = Literal["a", "b", "tie"]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sample: Annotated[str, Field(min_length=1)]
    """Its id."""
    by: Annotated[str, Field(min_length=1)]
    """Who said so."""


class PairLabel(_Line):
    """Which of two answers somebody prefers."""

    a: Digest
    b: Digest
    preferred: Preferred

    @model_validator(mode="after")
    def _are_two(self) -> PairLabel:
        if self.a == self.b:
            raise ValueError("`a` and `b` are the same text")
        return self


class ScoreLabel(_Line):
    """Which score somebody gives an answer."""

    answer: Digest
    score: Annotated[float, Field(ge=0, le=1, strict=False)]


Label = PairLabel | ScoreLabel

_PAIR, _SCORE = TypeAdapter(PairLabel), TypeAdapter(ScoreLabel)


def read_labels(path: Path) -> tuple[Label, ...]:
    """All labels of a file, in its order; none where there is no file yet.

    Raises:
        DatasetError: The first line that is no label, with file and line.
    """
    if not path.exists():
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise DatasetError(f"{path}: the labels cannot be read: {exc}. Save the file as UTF-8.") from exc
    lines = ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
    return tuple(_parse(line, f"{path}:{number}") for number, line in lines)


def merge_labels(known: Sequence[Label], new: Sequence[Label]) -> tuple[Label, ...]:
    """The new labels that are not known yet.

    Raises:
        DatasetError: Somebody says two different things about the same texts.
    """
    said = {_about(label): label for label in known}
    added: list[Label] = []
    for label in new:
        before = said.setdefault(_about(label), label)
        if before is label:
            added.append(label)
        elif _opinion(before) != _opinion(label):
            raise DatasetError(
                f"`{label.by}` has said something else about sample `{label.sample}` before. "
                "Take the older line out of the labels, or give another name with --by."
            )
    return tuple(added)


def append_labels(path: Path, new: Sequence[Label]) -> None:
    """Write labels at the end of a file, which is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ends_in_line = not path.exists() or path.stat().st_size == 0 or path.read_bytes().endswith(b"\n")
    lines = "".join(canonical_json(label.model_dump(mode="json")) + "\n" for label in new)
    with path.open("a", encoding="utf-8") as file:
        file.write(("" if ends_in_line else "\n") + lines)


def _parse(line: str, where: str) -> Label:
    kind = _SCORE if '"answer"' in line else _PAIR
    try:
        return kind.validate_json(line)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise DatasetError(f"{where}: {f'`{key}`: ' if key else ''}{said}.") from exc


def _about(label: Label) -> tuple[str, ...]:
    texts = sorted((label.a, label.b)) if isinstance(label, PairLabel) else [label.answer]
    return label.by, label.sample, *texts


def _opinion(label: Label) -> str | float:
    """What was said, whichever answer stood first."""
    if isinstance(label, ScoreLabel):
        return label.score
    return "tie" if label.preferred == "tie" else label.a if label.preferred == "a" else label.b
