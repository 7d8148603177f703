"""Sheets in which people judge: CSV files for any spreadsheet program, blind and in random order."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from changeover.core.cells import inert
from changeover.core.errors import DatasetError, nearest
from changeover.evals.answers import Answer
from changeover.evals.judges.blind import same_words, shown, text_digest, without_identity
from changeover.evals.judges.labels import Label, PairLabel, Preferred, ScoreLabel

Kind = Literal["pairs", "answers"]
Item = TypeVar("Item")

PAIR_COLUMNS = ("sample", "input", "answer_a", "answer_b", "preferred", "a", "b")
"""`preferred` is filled in with a, b or tie. `a` and `b` are digests of the texts: the key that unblinds."""
ANSWER_COLUMNS = ("sample", "input", "answer", "level", "digest")
"""`level` is filled in with a number of the rubric's scale, 1 is its first level."""

CELL_LIMIT = 32_000
"""Characters: spreadsheet programs cut cells at 32,767 without a word."""
_PREFERRED: dict[str, Preferred] = {"a": "a", "b": "b", "tie": "tie", "t": "tie", "=": "tie", "equal": "tie"}
_DELIMITERS = ",;\t"


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One sample with the answers of both sides."""

    sample: str
    asked: str
    """What the models were told."""
    incumbent: Answer
    candidate: Answer


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What stands in a sheet that came back."""

    labels: tuple[Label, ...]
    empty: int
    """Rows that nobody filled in."""


def pair_sheet(
    answered: Sequence[Answered], *, most: int, seed: str, known: Set[frozenset[str]] = frozenset()
) -> tuple[str, int]:
    """A sheet of pairs, and how many there are in it. Pairs of the same text are left out: nobody needs to judge them.

    Which samples, their order and which answer is A depend on the seed and the sample alone.

    Args:
        answered: All samples to draw from.
        most: Rows at most.
        seed: Of the draw.
        known: Pairs of digests that have a label already.
    """
    rows = [
        _pair_row(each, seed)
        for each in answered
        if same_words(_blind(each.incumbent)) != same_words(_blind(each.candidate))
        and frozenset((text_digest(each.incumbent), text_digest(each.candidate))) not in known
    ]
    drawn = _drawn(rows, most, seed, lambda row: row["sample"])
    return _csv(PAIR_COLUMNS, drawn), len(drawn)


def answer_sheet(
    answered: Sequence[Answered], *, most: int, seed: str, known: Set[str] = frozenset()
) -> tuple[str, int]:
    """A sheet of single answers, and how many there are in it: both sides of each drawn sample, apart from each other.

    Args:
        answered: All samples to draw from.
        most: Samples at most; each has two rows, or one where both sides say the same.
        seed: Of the draw.
        known: Digests that have a label already.
    """
    fresh = [each for each in answered if not {text_digest(each.incumbent), text_digest(each.candidate)} <= known]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for each in _drawn(fresh, most, seed, lambda one: one.sample):
        for answer in (each.incumbent, each.candidate):
            digest = text_digest(answer)
            if digest not in known:
                row = {"sample": each.sample, "input": each.asked, "answer": _blind(answer), "digest": digest}
                rows[each.sample, digest] = row
    ordered = sorted(rows.values(), key=lambda row: _ticket(seed, "row", row["sample"] + row["digest"]))
    return _csv(ANSWER_COLUMNS, ordered), len(ordered)


def read_sheet(path: Path, *, by: str, levels: int | None, samples: Set[str]) -> Filled:
    """Labels from a sheet that people filled in. Any delimiter that spreadsheet programs write is read.

    Args:
        path: The sheet.
        by: Who judged.
        levels: Of the rubric's scale; None where the task has no rubric.
        samples: Ids that the task's dataset has.

    Raises:
        DatasetError: The file is no such sheet, or the first row that is filled in wrongly, with its number.
    """
    rows = _rows(path)
    columns = set(rows[0][1]) if rows else set[str]()
    pairs, answers = set(PAIR_COLUMNS) <= columns, set(ANSWER_COLUMNS) <= columns
    if rows and not pairs and not answers:
        raise DatasetError(f"{path}: no sheet of `changeover labels export`: columns {', '.join(sorted(columns))}.")
    if answers and levels is None:
        raise DatasetError(f"{path}: the sheet has levels, but the task has no scorer `rubric`. Import it for another.")
    labels: list[Label] = []
    for number, row in rows:
        where = f"{path}: row {number}"
        if not row["preferred" if pairs else "level"].strip():
            continue
        if row["sample"] not in samples:
            raise DatasetError(f"{where}: the task's dataset has no sample `{row['sample']}`. Name the right task.")
        try:
            labels.append(_pair(row, by, where) if pairs else _score(row, by, where, levels or 2))
        except ValidationError as exc:
            raise DatasetError(f"{where}: {exc.errors(include_url=False)[0]['msg']}. Export the sheet anew.") from exc
    return Filled(labels=tuple(labels), empty=len(rows) - len(labels))


def _pair(row: Mapping[str, str], by: str, where: str) -> PairLabel:
    said = row["preferred"].strip().casefold()
    if said not in _PREFERRED:
        raise DatasetError(f"{where}: `preferred` is `{row['preferred']}`. Write a, b or tie.")
    return PairLabel(sample=row["sample"], a=row["a"].strip(), b=row["b"].strip(), preferred=_PREFERRED[said], by=by)


def _score(row: Mapping[str, str], by: str, where: str, levels: int) -> ScoreLabel:
    try:
        level = float(row["level"].strip().replace(",", "."))
    except ValueError:
        level = 0.0
    if not 1.0 <= level <= levels:
        raise DatasetError(f"{where}: `level` is `{row['level']}`. Write a number from 1 to {levels}.")
    score = (level - 1.0) / (levels - 1.0)
    return ScoreLabel(sample=row["sample"], answer=row["digest"].strip(), score=score, by=by)


def _pair_row(each: Answered, seed: str) -> dict[str, str]:
    first, second = each.incumbent, each.candidate
    if _ticket(seed, "side", each.sample)[0] % 2:
        first, second = second, first
    return {
        "sample": each.sample,
        "input": each.asked,
        "answer_a": _blind(first),
        "answer_b": _blind(second),
        "a": text_digest(first),
        "b": text_digest(second),
    }


def _blind(answer: Answer) -> str:
    return without_identity(shown(answer))


def _drawn(items: Sequence[Item], most: int, seed: str, name: Callable[[Item], str]) -> list[Item]:
    """Some of the items, at random, in a random order that does not tell in which order they were drawn."""
    chosen = sorted(items, key=lambda item: _ticket(seed, "drawn", name(item)))[:most]
    return sorted(chosen, key=lambda item: _ticket(seed, "row", name(item)))


def _ticket(seed: str, kind: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{kind}\0{name}".encode()).digest()


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\r\n")
    writer.writeheader()
    # Ids and digests come back and stay as they are; texts are only read.
    writer.writerows(
        {key: value if key in ("sample", "a", "b", "digest") else _cell(value) for key, value in row.items()}
        for row in rows
    )
    return text.getvalue()


def _cell(text: str) -> str:
    """A text that a spreadsheet program neither cuts nor runs: models write it, and it opens on somebody's desk."""
    if len(text) > CELL_LIMIT:
        text = f"{text[:CELL_LIMIT]} … [{len(text) - CELL_LIMIT} more characters]"
    return inert(text)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows with their numbers as a spreadsheet program shows them, the header being row 1."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(f"No sheet `{path}`. Name the file that was filled in.") from None
    except OSError as exc:
        raise DatasetError(f"{path}: the sheet cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise DatasetError(f"{path}: not UTF-8 text. Save the sheet as `CSV UTF-8`.") from exc
    header = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=header.count)
    reader: csv.DictReader[str] = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [(number, _row(path, number, row)) for number, row in enumerate(reader, start=2)]
    except csv.Error as exc:
        raise DatasetError(f"{path}: the sheet cannot be read: {exc}. Save it as `CSV UTF-8`.") from exc
    columns = [name.strip() for name in reader.fieldnames or ()]
    missing = "preferred" if "preferred" not in columns and "level" not in columns else None
    if missing is not None:
        raise DatasetError(f"{path}: no column `preferred` or `level`. {nearest(missing, columns)}")
    return rows


def _row(path: Path, number: int, row: Mapping[str | Any, Any]) -> dict[str, str]:
    if None in row or None in row.values():
        raise DatasetError(f"{path}: row {number} has another number of cells than the header. Save it as `CSV UTF-8`.")
    return {str(key).strip(): str(value) for key, value in row.items()}
