# ruff: noqa: RUF001 - full-width characters are what some of these tests are about
"""Scorers that look for labels and patterns in a text."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.unit.evals.scoring import score_text

from changeover.core.errors import ConfigError
from changeover.evals.scorers import ScorerSpec

LABELS: dict[str, Any] = {
    "labels": ["refund", "refund status", "exchange", "other", "解約"],
    "also": {"exchange": ["swap", "交換"]},
}


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("refund", ["refund"]),
        ("  Refund.\n", ["refund"]),
        ("**REFUND**", ["refund"]),
        ("Ｒｅｆｕｎｄ", ["refund"]),
        ("The intent is `refund`.", ["refund"]),
        ('{"intent": "refund"}', ["refund"]),
        ('```json\n{"intent": "Refund", "reason": "they want no exchange"}\n```', ["refund"]),
        ('{"refund": true}', ["refund"]),
        ('{"intent": "refund", "second": "exchange"}', ["refund", "exchange"]),
        ('{"intent": "a refund of the order"}', ["refund"]),
        ('["refund"]', ["refund"]),
        ("refund or exchange", ["refund", "exchange"]),
        ("refund, and again refund", ["refund"]),
        ("refund status", ["refund status"]),
        ("Refund\n status", ["refund status"]),
        ("It is about the refund status, not a refund.", ["refund status", "refund"]),
        ("refunds", []),
        ("another", []),
        ("商品を交換したい", ["exchange"]),
        ("意図は「解約」です", ["解約"]),
        ("swap", ["exchange"]),
        ("", []),
        ("{broken refund", ["refund"]),
    ],
)
async def test_an_answer_names_labels_whole_in_words_or_in_json(answer: str, named: list[str]) -> None:
    result = await score_text("choice", "refund", answer, **LABELS)
    assert (result.detail["named"], result.value) == (named, float(named == ["refund"]))


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('{"intent": "refund", "not": "exchange"}', 1.0),
        ('{"intent": "refunds", "not": "refund"}', 0.0),
        ('{"label": "refund"}', 0.0),
        ('["refund"]', 0.0),
        ("refund", 1.0),
    ],
)
async def test_in_json_a_key_says_where_the_choice_stands(answer: str, value: float) -> None:
    assert (await score_text("choice", "refund", answer, key="intent", **LABELS)).value == value


async def test_a_target_that_is_no_label_is_an_error_of_the_sample() -> None:
    result = await score_text("choice", {"label": "refnd"}, "refund", **LABELS)
    assert "`refnd` is none of the labels" in str(result.error)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": ["a"]}, "`labels`"),
        ({"labels": ["a", "A"]}, "stands for two labels"),
        ({"labels": ["a", "a"]}, "stands for two labels"),
        ({"labels": ["a", "b"], "also": {"a": ["B"]}}, "stands for two labels"),
        ({"labels": ["a", "b"], "also": {"c": ["d"]}}, "is no label"),
        ({"labels": ["a", " "]}, "a label is empty"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ScorerSpec(name="choice", options=options)


@pytest.mark.parametrize(
    ("target", "answer", "options", "value"),
    [
        (r"\d{4}-\d\d", "On 2025-03.", {}, 1.0),
        (r"\d{4}-\d\d", "On 2025-03.", {"whole": True}, 0.0),
        (r"\d{4}-\d\d", " 2025-03\n", {"whole": True}, 1.0),
        ("paris", "PARIS", {}, 0.0),
        ("paris", "PARIS", {"ignore_case": True}, 1.0),
        ("^b$", "a\nb", {}, 0.0),
        ("^b$", "a\nb", {"multiline": True}, 1.0),
        ("a.b", "a\nb", {}, 0.0),
        ("a.b", "a\nb", {"dot_all": True}, 1.0),
        ({"any": ["x", "b"]}, "abc", {}, 1.0),
        ({"any": ["x", "y"]}, "abc", {}, 0.0),
        ({"all": ["a", "y"]}, "abc", {}, 0.0),
        ({"all": ["a"], "none": ["c$"]}, "abc", {}, 0.0),
        ({"none": ["^As an AI"]}, "Yes.", {}, 1.0),
    ],
)
async def test_regex(target: Any, answer: str, options: dict[str, Any], value: float) -> None:
    result = await score_text("regex", target, answer, **options)
    assert (result.value, result.error) == (value, None)


async def test_a_pattern_that_would_take_years_is_stopped_and_is_no_score() -> None:
    started = time.perf_counter()
    result = await score_text("regex", r"(a|aa)+$", "a" * 80 + "b", timeout_s=0.05)
    assert time.perf_counter() - started < 5
    assert "takes more than 0.05 s" in str(result.error)


@pytest.mark.parametrize(("target", "said"), [("(", "`(` is no regular expression"), ({"any": []}, "names no pattern")])
async def test_a_pattern_that_is_none_is_an_error_of_the_sample(target: Any, said: str) -> None:
    assert said in str((await score_text("regex", target, "x")).error)
