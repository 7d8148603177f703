"""People's judgements: their file, and the sheets that go out and come back."""

from __future__ import annotations

import csv
import io
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from changeover.core.errors import DatasetError
from changeover.evals.answers import Answer
from changeover.evals.judges.blind import text_digest
from changeover.evals.judges.labels import PairLabel, ScoreLabel, append_labels, merge_labels, read_labels
from changeover.evals.judges.sheets import CELL_LIMIT, Answered, answer_sheet, pair_sheet, read_sheet

A, B, C = "a" * 64, "b" * 64, "c" * 64


def pair(sample: str = "s1", a: str = A, b: str = B, preferred: str = "a", by: str = "kim") -> PairLabel:
    return PairLabel.model_validate({"sample": sample, "a": a, "b": b, "preferred": preferred, "by": by})


def answered(number: int, incumbent: str = "", candidate: str = "") -> Answered:
    return Answered(
        sample=f"s{number}",
        asked=f"question {number}",
        incumbent=Answer(text=incumbent or f"old answer {number}"),
        candidate=Answer(text=candidate or f"new answer {number}"),
    )


def rows(sheet: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(sheet)))


def test_labels_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "labels.jsonl"
    first = [pair(), ScoreLabel(sample="s2", answer=C, score=0.75, by="kim")]
    assert read_labels(path) == ()
    append_labels(path, first)
    append_labels(path, [pair("s3")])
    assert list(read_labels(path)) == [*first, pair("s3")]


def test_a_label_is_added_below_a_last_line_that_somebody_left_open(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps({"sample": "s1", "answer": A, "score": 1, "by": "kim"}))
    append_labels(path, [pair("s2")])
    assert len(read_labels(path)) == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "labels.jsonl:2: Invalid JSON"),
        ('{"sample": "s", "a": "x", "b": "y", "preferred": "a", "by": "k"}', "labels.jsonl:2: `a`: "),
        (json.dumps({"sample": "s", "a": A, "b": B, "preferred": "c", "by": "k"}), "labels.jsonl:2: `preferred`: "),
        (json.dumps({"sample": "s", "a": A, "b": A, "preferred": "a", "by": "k"}), "the same text"),
        (json.dumps({"sample": "s", "answer": A, "score": 3, "by": "k"}), "labels.jsonl:2: `score`: "),
        (json.dumps({"sample": "s", "answer": A, "score": 1, "by": "k", "why": ""}), "labels.jsonl:2: `why`: "),
    ],
)
def test_a_line_that_is_no_label_is_refused_with_its_place(line: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    append_labels(path, [pair()])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DatasetError, match=re.escape(says)):
        read_labels(path)


def test_what_is_known_is_not_added_twice() -> None:
    again = pair(a=B, b=A, preferred="b")  # the same opinion, the sides exchanged
    assert merge_labels([pair()], [again, pair("s2"), pair("s2")]) == (pair("s2"),)
    assert merge_labels([pair()], [pair(by="lee", preferred="b")]) == (pair(by="lee", preferred="b"),)


def test_nobody_says_two_things_about_the_same_texts() -> None:
    with pytest.raises(DatasetError, match="`kim` has said something else about sample `s1`"):
        merge_labels([pair()], [pair(preferred="tie")])


def test_a_sheet_is_blind_and_its_digests_unblind_it() -> None:
    samples = [answered(n, f"I am Qwen. old {n}", f"As Gemma, I say new {n}") for n in range(40)]
    sheet, how_many = pair_sheet(samples, most=30, seed="cmp-1")
    found = rows(sheet)
    assert how_many == len(found) == 30
    assert not re.search("qwen|gemma|incumbent|candidate", sheet, re.IGNORECASE)
    assert [row["sample"] for row in found] != sorted(row["sample"] for row in found)
    by_sample = {each.sample: each for each in samples}
    first_is_old = 0
    for row in found:
        digests = {
            text_digest(each): each.text
            for each in (by_sample[row["sample"]].incumbent, by_sample[row["sample"]].candidate)
        }
        assert row["answer_a"].split()[-1] == digests[row["a"]].split()[-1]
        assert row["answer_b"].split()[-1] == digests[row["b"]].split()[-1]
        assert row["preferred"] == ""
        first_is_old += "old" in row["answer_a"]
    assert 5 <= first_is_old <= 25, "either stands on either side"
    assert pair_sheet(samples[::-1], most=30, seed="cmp-1")[0] == sheet, "the draw depends on seed and samples alone"
    assert pair_sheet(samples, most=30, seed="cmp-2")[0] != sheet


def test_what_needs_nobody_is_left_out() -> None:
    same = answered(1, "yes", " yes\n")
    known = frozenset((text_digest(Answer(text="x")), text_digest(Answer(text="y"))))
    sheet, how_many = pair_sheet([same, answered(2, "x", "y"), answered(3)], most=10, seed="s", known={known})
    assert (how_many, [row["sample"] for row in rows(sheet)]) == (1, ["s3"])


def test_single_answers_stand_apart_from_each_other() -> None:
    samples = [answered(n) for n in range(20)]
    sheet, how_many = answer_sheet([*samples, answered(20, "same", "same")], most=30, seed="s")
    found = rows(sheet)
    assert how_many == len(found) == 41
    assert {row["level"] for row in found} == {""}
    neighbours = sum(a["sample"] == b["sample"] for a, b in pairwise(found))
    assert neighbours < 10
    known = {row["digest"] for row in found[:5]}
    assert answer_sheet(samples, most=30, seed="s", known=known)[1] >= 35


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-cmd", "@SUM(A1)", "\t=1"])
def test_a_spreadsheet_program_runs_nothing_that_a_model_wrote(text: str) -> None:
    (row,) = rows(pair_sheet([answered(1, text, "plain")], most=1, seed="s")[0])
    assert f"'{text}" in (row["answer_a"], row["answer_b"])


def test_a_cell_that_a_spreadsheet_program_would_cut_says_so() -> None:
    (row,) = rows(pair_sheet([answered(1, "x" * 40_000, "plain")], most=1, seed="s")[0])
    longest = max(row["answer_a"], row["answer_b"], key=len)
    assert longest.endswith("… [8000 more characters]")
    assert len(longest) < CELL_LIMIT + 100


def filled(tmp_path: Path, said: str, delimiter: str = ",", encoding: str = "utf-8-sig") -> Path:
    """A sheet of three pairs as it comes back from a spreadsheet program."""
    found = rows(pair_sheet([answered(n, "line one\nline, two; three", "日本") for n in range(3)], most=3, seed="s")[0])
    found[0]["preferred"] = said
    path = tmp_path / "back.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(found[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(found)
    return path


SAMPLES = {"s0", "s1", "s2"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(("said", "means"), [("a", "a"), (" B ", "b"), ("Tie", "tie"), ("=", "tie")])
def test_a_sheet_comes_back_as_labels(said: str, means: str, delimiter: str, tmp_path: Path) -> None:
    found = read_sheet(filled(tmp_path, said, delimiter), by="kim", levels=None, samples=SAMPLES)
    (label,) = found.labels
    assert isinstance(label, PairLabel)
    assert (label.preferred, label.by, found.empty) == (means, "kim", 2)


def test_a_level_becomes_a_score_of_the_scale(tmp_path: Path) -> None:
    found = rows(answer_sheet([answered(1)], most=1, seed="s")[0])
    path = tmp_path / "back.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows([{**found[0], "level": "4"}, {**found[1], "level": "2,5"}])
    labels = read_sheet(path, by="kim", levels=5, samples={"s1"}).labels
    assert [label.score for label in labels if isinstance(label, ScoreLabel)] == [0.75, 0.375]
    with pytest.raises(DatasetError, match="Write a number from 1 to 3"):
        read_sheet(path, by="kim", levels=3, samples={"s1"})
    with pytest.raises(DatasetError, match="no scorer `rubric`"):
        read_sheet(path, by="kim", levels=None, samples={"s1"})


def test_a_wrong_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"row 2: `preferred` is `both`\. Write a, b or tie\."):
        read_sheet(filled(tmp_path, "both"), by="kim", levels=None, samples=SAMPLES)
    with pytest.raises(DatasetError, match="row 2: the task's dataset has no sample `s"):
        read_sheet(filled(tmp_path, "a"), by="kim", levels=None, samples=set())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"sample,input\ns1,x\n", "no column `preferred` or `level`"),
        (b"preferred,input\na,x\n", "no sheet of `changeover labels export`"),
        (b"sample,preferred\ns1\n", "row 2 has another number of cells"),
        ("sample,preferred\ns1,é\n".encode("latin-1"), "Save the sheet as `CSV UTF-8`"),
        (b"", "no column `preferred` or `level`"),
        (f"sample,input,answer_a,answer_b,preferred,a,b\ns1,,,,a,{A},{A}\n".encode(), "the same text"),
        (f"sample,input,answer_a,answer_b,preferred,a,b\ns1,,,,a,{A},1e5\n".encode(), "Export the sheet anew"),
    ],
)
def test_what_is_no_sheet_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "back.csv"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=says):
        read_sheet(path, by="kim", levels=None, samples={"s1"})


def test_a_sheet_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"No sheet `.*none\.csv`"):
        read_sheet(tmp_path / "none.csv", by="kim", levels=None, samples=set())
