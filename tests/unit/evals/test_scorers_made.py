"""Scorers that are made of others or of the organisation's code, and what identifies a scorer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.evals.scoring import NO_MEANS, NoSandbox, sample, score_text

from changeover.core.errors import ConfigError, DatasetError, JudgeError
from changeover.core.toml import Declared
from changeover.evals.answers import Answer
from changeover.evals.datasets import Dataset, Message
from changeover.evals.scorers import SCORERS, Score, ScorerSpec, check_targets, prefer, score
from changeover.evals.scorers.base import Case, Means, NoTarget, Prepared, Scorer, Setting
from changeover.evals.scorers.registry import MODULES, Registry

LENGTH = {"scorer": "shape", "options": {"max_words": 2}}
WORD = {"scorer": "contains", "key": "words"}
TARGET = {"words": {"any": ["yes"]}, "label": "yes"}


@pytest.mark.parametrize(
    ("combine", "answer", "value"),
    [
        ("mean", "yes", 1.0),
        ("mean", "yes yes yes", 0.5),
        ("mean", "no", 0.5),
        ("mean", "no no no", 0.0),
        ("min", "yes", 1.0),
        ("min", "yes yes yes", 0.0),
        ("product", "yes", 1.0),
        ("product", "no", 0.0),
    ],
)
async def test_a_mix_combines_its_parts(combine: str, answer: str, value: float) -> None:
    result = await score_text("mix", TARGET, answer, parts=[LENGTH, WORD], combine=combine)
    assert (result.value, result.error) == (value, None)


async def test_a_mean_counts_by_weights_and_the_detail_keeps_the_order_of_the_declaration() -> None:
    parts = [{**WORD, "weight": 3}, LENGTH]
    result = await score_text("mix", TARGET, "yes yes yes", parts=parts)
    assert result.value == 0.75
    assert result.detail["parts"] == [
        {"scorer": "contains (words)", "score": 1.0, "detail": {"missing": [], "none_of": []}},
        {
            "scorer": "shape",
            "score": 0.0,
            "detail": {"conditions": 1, "broken": ["3 words, at most 2 are allowed"]},
        },
    ]


async def test_a_product_multiplies_and_a_minimum_takes_the_lowest() -> None:
    parts = [
        {"scorer": "shape", "options": {"max_words": 1, "starts_with": "yes"}},
        {"scorer": "shape", "options": {"max_words": 1, "starts_with": "yes", "ends_with": "yes", "max_lines": 1}},
    ]
    assert (await score_text("mix", "x", "yes yes", parts=parts, combine="product")).value == 0.5 * 0.75
    assert (await score_text("mix", "x", "yes yes", parts=parts, combine="min")).value == 0.5


async def test_mixes_may_hold_mixes() -> None:
    inner = {"scorer": "mix", "options": {"parts": [LENGTH, WORD], "combine": "min"}}
    assert (await score_text("mix", TARGET, "yes", parts=[inner])).value == 1.0


async def test_a_sample_needs_a_target_only_where_one_is_read() -> None:
    assert (await score_text("mix", "", "yes", parts=[LENGTH])).value == 1.0
    assert (await score_text("shape", "", "yes", max_words=1)).value == 1.0
    missing = await score_text("exact", "", "")
    assert missing.error == "Sample `s1`: the scorer `exact` cannot read its `target`: the sample has none."


class CountingJudge:
    """A judge that gives every answer half the points, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    async def ask(self, task: str, messages: Sequence[Message], *, repeat: int = 0) -> Answer:
        self.asked += 1
        if messages[0].content == "refuse":
            raise JudgeError(f"`{task}` did not answer.")
        return Answer(text="0.5")


class JudgeOptions(Declared):
    """Options of the judge in these tests."""

    judge: str = "judge"


async def _judged(case: Case[JudgeOptions, NoTarget], means: Means) -> Score:
    assert means.judge is not None
    said = await means.judge.ask(case.options.judge, [Message(role="user", content=case.answer.text)])
    return Score(value=float(said.text))


async def _preferred(one: Case[JudgeOptions, NoTarget], other: Case[JudgeOptions, NoTarget], means: Means) -> Score:
    assert means.judge is not None
    await means.judge.ask(one.options.judge, [Message(role="user", content=one.answer.text)])
    return Score(value=0.5 + 0.5 * ((len(other.answer.text) > len(one.answer.text)) - 0.5))


def _prepare(options: JudgeOptions, setting: Setting) -> Prepared:
    del setting
    return Prepared(judges=(options.judge,))


JUDGED = Scorer(
    version="1",
    options=JudgeOptions,
    target=NoTarget,
    needs_target=False,
    cost="judge",
    prepare=_prepare,
    score=_judged,
)
PREFERRED = Scorer(
    version="1",
    options=JudgeOptions,
    target=NoTarget,
    needs_target=False,
    cost="judge",
    prepare=_prepare,
    kind="pair",
    compare=_preferred,
)


@pytest.fixture(autouse=True)
def judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scorers that ask a judge, registered as any other."""
    monkeypatch.setattr(
        SCORERS, "_modules", {**MODULES, "judged": f"{__name__}:JUDGED", "preferred": f"{__name__}:PREFERRED"}
    )


@pytest.mark.parametrize(("combine", "asked"), [("min", 0), ("product", 0), ("mean", 1)])
async def test_where_a_zero_decides_the_dear_parts_are_not_asked(combine: str, asked: int) -> None:
    judge = CountingJudge()
    spec = ScorerSpec(name="mix", options={"parts": [{"scorer": "judged"}, LENGTH], "combine": combine})
    means = Means(sandbox=NoSandbox(), judge=judge)
    result = await score(spec, sample("x"), Answer(text="far too long"), means)
    assert judge.asked == asked
    first: Any = result.detail["parts"]
    assert first[0].get("reason", "asked") == ("asked" if asked else "not asked: the result is 0 already")
    await score(spec, sample("x"), Answer(text="short"), means)
    assert judge.asked == asked + 1


async def test_a_part_that_cannot_be_scored_leaves_no_score() -> None:
    means = Means(sandbox=NoSandbox(), judge=CountingJudge())
    spec = ScorerSpec(name="mix", options={"parts": [LENGTH, {"scorer": "judged"}]})
    result = await score(spec, sample("x"), Answer(text="refuse"), means)
    assert result.error == "judged: `judge` did not answer."
    latency = await score_text("mix", "x", "yes", parts=[{"scorer": "latency", "options": {"worst_ms": 1}}])
    assert "not known" in str(latency.error)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"label": "yes"}, r"`target\.words` is missing"),
        ("yes", r"`target\.words` is missing"),
        ({"words": 3}, r"`target\.words` must be a string or an object"),
        ({"words": {"any": []}}, "the scorer `contains` cannot read `target.words`: it names nothing to look for"),
        ({"words": {"all": [1]}}, r"cannot read `target\.words\.all\.0`: input should be a valid string"),
    ],
)
async def test_the_targets_of_all_parts_are_checked_beforehand(target: Any, said: str) -> None:
    spec = ScorerSpec(name="mix", options={"parts": [LENGTH, WORD]})
    dataset = Dataset(name="d", path=Path("d.jsonl"), samples=(sample(target),), digest="0")
    with pytest.raises(DatasetError, match=said):
        check_targets(spec, dataset)
    assert (await score(spec, sample(target), Answer(text="x"), NO_MEANS)).error is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"parts": []}, "`parts`"),
        ({"parts": [{"scorer": "exakt"}]}, r"`parts\[0\]`: No scorer named `exakt`. Did you mean `exact`\?"),
        ({"parts": [LENGTH, {"scorer": "shape"}]}, r"`parts\[1\]`: .*no condition is given"),
        ({"parts": [{"scorer": "preferred"}]}, "compares two answers"),
        ({"parts": [{**LENGTH, "weight": 0}]}, "weight"),
        ({"parts": [{**LENGTH, "weight": 2}], "combine": "min"}, "a weight means nothing"),
        ({"parts": [{**LENGTH, "wieght": 2}]}, "Did you mean `weight`"),
    ],
)
def test_a_mix_that_cannot_work_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ScorerSpec(name="mix", options=options)


def test_a_mix_is_as_dear_as_its_dearest_part_and_needs_a_target_if_one_does() -> None:
    cheap = ScorerSpec(name="mix", options={"parts": [LENGTH]})
    assert (cheap.cost, cheap.needs_target, cheap.judges) == ("pure", False, ())
    parts = [{"scorer": "exact"}, {"scorer": "unit-tests"}]
    assert ScorerSpec(name="mix", options={"parts": parts}).cost == "sandbox"
    judged = [{"scorer": "judged", "options": {"judge": name}} for name in ("b", "a", "b")]
    dear = ScorerSpec(name="mix", options={"parts": [*judged, *parts]})
    assert (dear.cost, dear.needs_target, dear.judges, dear.kind) == ("judge", True, ("b", "a"), "answer")


def test_digest_of_a_mix_sees_its_parts_options_and_judges() -> None:
    def digest(part: dict[str, Any], bundles: dict[str, str]) -> str:
        return ScorerSpec(name="mix", options={"parts": [part]}, judge_bundles=bundles).digest

    assert digest(LENGTH, {}) != digest({"scorer": "shape", "options": {"max_words": 3}}, {})
    assert digest(LENGTH, {"judge": "b1"}) == digest(LENGTH, {})
    assert digest({"scorer": "judged"}, {"judge": "b1"}) != digest({"scorer": "judged"}, {"judge": "b2"})


def test_scores_of_another_judge_never_mix_and_of_an_unknown_one_neither() -> None:
    one, other = (ScorerSpec(name="judged", judge_bundles={"judge": bundle, "x": bundle}) for bundle in ("b1", "b2"))
    assert one.digest != other.digest
    with pytest.raises(JudgeError, match="asks `judge`, which nobody answers yet"):
        _ = ScorerSpec(name="judged", judge_bundles={"x": "b1"}).digest


async def test_a_scorer_of_pairs_compares_and_does_not_score() -> None:
    spec, means = ScorerSpec(name="preferred"), Means(sandbox=NoSandbox(), judge=CountingJudge())
    assert spec.kind == "pair"
    short, long = Answer(text="a"), Answer(text="much longer")
    assert (await prefer(spec, sample("x"), short, long, means)).value > 0.5
    assert (await prefer(spec, sample("x"), long, short, means)).value < 0.5
    failed = await prefer(spec, sample("x"), Answer(text="refuse"), long, means)
    assert failed.error == "`judge` did not answer."
    assert "cannot score one" in str((await score(spec, sample("x"), short, means)).error)
    assert "cannot compare two" in str((await prefer(ScorerSpec(name="exact"), sample("x"), short, long, means)).error)


MINE = """
import asyncio
from dataclasses import dataclass
from changeover.evals.scorers import Score

@dataclass
class Kept:
    "What this file defines can be used in it."
    length: int

def score(answer, sample, most=10):
    return Kept(len(answer.text)).length <= most

async def later(answer, sample):
    await asyncio.sleep(0)
    return Score(value=0.25, detail={"tags": list(sample.tags)})

def raises(answer, sample):
    if answer.text:
        raise KeyError("gone")

def leaves(answer, sample):
    raise SystemExit(3)

def high(answer, sample): return 1.5
def none(answer, sample): return float("nan")
def text(answer, sample): return "1"
def detail(answer, sample): return Score(value=1.0, detail={"a": object()})
def given(answer, sample): return Score(value=0.0, error="not to be scored")
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A task's folder beside a file with functions."""
    (tmp_path / "scorers").mkdir()
    (tmp_path / "tasks").mkdir()
    (tmp_path / "scorers" / "mine.py").write_text(MINE)
    return tmp_path / "tasks"


def _function(directory: Path, **options: Any) -> ScorerSpec:
    return ScorerSpec(name="function", options={"path": "../scorers/mine.py", **options}, directory=directory)


@pytest.mark.parametrize(
    ("options", "answer", "value", "said"),
    [
        ({}, "short", 1.0, None),
        ({}, "rather too long", 0.0, None),
        ({"settings": {"most": 20}}, "rather too long", 1.0, None),
        ({"name": "later"}, "x", 0.25, None),
        ({"name": "raises"}, "x", 0.0, "mine.py:20: KeyError: 'gone'"),
        ({"name": "raises"}, "", 0.0, "`raises` returned `NoneType`"),
        ({"name": "leaves"}, "x", 0.0, "mine.py:23: SystemExit: 3"),
        ({"name": "high"}, "x", 0.0, "`high` returned `1.5`; a number from 0 to 1 is expected"),
        ({"name": "none"}, "x", 0.0, "`none` returned `nan`"),
        ({"name": "text"}, "x", 0.0, "`text` returned `str`"),
        ({"name": "detail"}, "x", 0.0, "a detail that is no JSON"),
        ({"name": "given"}, "x", 0.0, "not to be scored"),
        ({"settings": {"least": 1}}, "x", 0.0, "TypeError"),
    ],
)
async def test_a_function_of_the_organisation_scores(
    mine: Path, options: dict[str, Any], answer: str, value: float, said: str | None
) -> None:
    result = await score(_function(mine, **options), sample({"any": "shape"}), Answer(text=answer), NO_MEANS)
    assert result.value == value
    assert (result.error is None) is (said is None)
    assert said is None or said in str(result.error)


async def test_edited_code_is_another_scorer_and_is_run_as_it_was_identified(mine: Path) -> None:
    before = _function(mine)
    (mine.parent / "scorers" / "mine.py").write_text("def score(answer, sample): return 0.5\n")
    after = _function(mine)
    assert before.digest != after.digest
    assert (await score(before, sample("x"), Answer(text="x"), NO_MEANS)).value == 1.0
    assert (await score(after, sample("x"), Answer(text="x"), NO_MEANS)).value == 0.5


async def test_code_runs_only_when_something_is_scored(mine: Path) -> None:
    (mine.parent / "scorers" / "mine.py").write_text("open('ran', 'w')\n1 / 0\ndef score(answer, sample): return 1\n")
    spec = _function(mine)
    _ = spec.digest
    (mine.parent / "scorers" / "mine.py").write_text("raise RuntimeError\ndef score(answer, sample): return 1\n")
    spec = _function(mine)
    result = await score(spec, sample("x"), Answer(text="x"), NO_MEANS)
    assert result.error == "mine.py:1: RuntimeError: "


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "gone.py"}, "cannot read `gone.py`"),
        ({"name": "scor"}, r"defines no function `scor`\. Did you mean `score`\?"),
        ({"path": "../broken.py"}, r"broken\.py:2: no Python"),
    ],
)
def test_a_function_that_is_not_there_is_refused_when_it_is_declared(
    mine: Path, options: dict[str, Any], said: str
) -> None:
    (mine.parent / "broken.py").write_text("x = 1\ndef score(:\n")
    with pytest.raises(ConfigError, match=said):
        _function(mine, **options)


def test_a_function_needs_the_task_that_names_it() -> None:
    with pytest.raises(ConfigError, match="only a task's file may name it"):
        ScorerSpec(name="function", options={"path": "mine.py"})


def test_a_function_in_a_mix_is_found_from_the_same_task(mine: Path) -> None:
    part = {"scorer": "function", "options": {"path": "../scorers/mine.py"}}
    before = ScorerSpec(name="mix", options={"parts": [part]}, directory=mine).digest
    (mine.parent / "scorers" / "mine.py").write_text("def score(answer, sample): return 0.5\n")
    assert ScorerSpec(name="mix", options={"parts": [part]}, directory=mine).digest != before


@pytest.mark.parametrize("name", [name for name, module in MODULES.items() if module.startswith("changeover")])
def test_every_scorer_is_where_the_registry_says(name: str) -> None:
    scorer = Registry(MODULES)[name]
    assert scorer.version
    assert (scorer.compare is not None) is (scorer.kind == "pair")
    assert (scorer.score is not None) is (scorer.kind == "answer")


def test_naming_the_scorers_loads_none() -> None:
    program = (
        "import sys, changeover.evals.scorers as s; assert 'key-facts' in s.SCORERS; "
        "print([m for m in ('jsonschema', 'regex', 'fastchrf', 'rapidfuzz') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
