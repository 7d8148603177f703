# ruff: noqa: RUF001 - Japanese marks are what some of these tests are about
"""Scorers of an answer's form, of what it shares with a reference, and of what it took."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.evals.scoring import score_text

from changeover.core.errors import ConfigError
from changeover.evals.scorers import ScorerSpec
from changeover.evals.scorers.prose import count_words, sentences


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Sales rose to 1,815.", 4),
        ("well-known - and 12.5 %", 3),
        ("売上は増加した", 4),
        ("売上は1,815百万円", 4),
        ("ｱｲｳｴ", 2),
        ("안녕 하세요", 2),
        ("。、！ — …", 0),
        ("", 0),
    ],
)
def test_words_are_counted_in_any_script(text: str, words: int) -> None:
    assert count_words(text) == words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two! Three?", 3),
        ("It cost 1.5 m, approx. 12, e.g. this.", 1),
        ('He said "Yes." Then he left.', 2),
        ("売上は1.5億円。利益は減った。", 2),
        ("- one\n- two\n", 2),
        ("Dr. Smith", 2),
        ("...", 0),
    ],
)
def test_sentences_end_at_marks_and_lines(text: str, found: int) -> None:
    assert len(sentences(text)) == found


@pytest.mark.parametrize(
    ("options", "met", "broken"),
    [
        ({"min_words": 2}, "one two", "one"),
        ({"max_words": 2}, "one two", "one two three"),
        ({"min_characters": 3}, "abc ", "ab "),
        ({"max_characters": 3}, " abc ", "abcd"),
        ({"min_sentences": 2}, "One. Two.", "One."),
        ({"max_sentences": 1}, "One.", "One. Two."),
        ({"min_lines": 2}, "a\n\nb", "a\n\n"),
        ({"max_lines": 1}, "\na\n", "a\nb"),
        ({"min_bullets": 2}, "- a\n2. b", "- a\nb"),
        ({"max_bullets": 0}, "a - b", "* a"),
        ({"markdown": False}, "2 * 3 * 4, a_b_c and #1", "**a**"),
        ({"markdown": False}, "a", "# a"),
        ({"markdown": False}, "a", "see [a](b)"),
        ({"markdown": False}, "a", "| a | b |"),
        ({"markdown": True}, "```\na\n```", "a"),
        ({"starts_with": "Dear"}, " Dear all", "Hi. Dear"),
        ({"ends_with": "Regards"}, "Best Regards\n", "Regards, me"),
        ({"json_only": True}, '```json\n{"a": 1}\n```', 'Here: {"a": 1}'),
        ({"json_only": False}, "text", "[1]"),
        ({"max_words": 2, "cjk_characters_per_word": 1}, "売上", "売上は"),
    ],
)
async def test_each_condition_of_a_shape(options: dict[str, Any], met: str, broken: str) -> None:
    assert (await score_text("shape", "any", met, **options)).value == 1.0
    result = await score_text("shape", {"any": "shape"}, broken, **options)
    assert (result.value, result.error) == (0.0, None)
    assert result.detail["broken"]


async def test_a_shape_is_the_share_of_the_conditions_met() -> None:
    options: dict[str, Any] = {"max_words": 2, "max_lines": 1, "starts_with": "a", "ends_with": "c"}
    result = await score_text("shape", "x", "a b c", **options)
    assert result.value == 0.75
    assert result.detail == {"conditions": 4, "broken": ["3 words, at most 2 are allowed"]}


async def test_no_text_meets_no_condition() -> None:
    assert (await score_text("shape", "x", " \n", max_words=3)).value == 0.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no condition is given"),
        ({"allow_cut_off": True}, "no condition is given"),
        ({"min_words": 3, "max_words": 2}, "`min_words` is above `max_words`"),
    ],
)
def test_a_shape_without_conditions_or_with_impossible_ones_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ScorerSpec(name="shape", options=options)


@pytest.mark.parametrize(
    ("target", "answer", "options", "value"),
    [
        ("the cat sat on the mat", "the cat sat on the mat", {}, 1.0),
        ("the cat sat on the mat", "The cat, on a mat!", {}, 2 * 4 / 11),
        ("the cat sat on the mat", "cat", {"measure": "precision"}, 1.0),
        ("the cat sat on the mat", "cat", {"measure": "recall"}, 1 / 6),
        ("The Cat", "the cat", {"ignore_case": False}, 0.0),
        ("猫が座る", "猫は座る", {}, 0.75),
        ({"any": ["dog", "a cat"]}, "a cat", {}, 1.0),
        ("cat", "", {}, 0.0),
        ("cat", "...", {}, 0.0),
        # Values of rouge-score 0.1.2 (`rougeL`, no stemming).
        ("Sales rose to 1,815 million yen in 2025.", "In 2025 sales rose by 12 % to 1,815 million.", {}, 0.6315789474),
    ],
)
async def test_rouge_l(target: Any, answer: str, options: dict[str, Any], value: float) -> None:
    assert (await score_text("rouge-l", target, answer, **options)).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("target", "answer", "value"),
    [
        ("the cat", "the  cat ", 1.0),
        ("the cat", "", 0.0),
        # Values of sacrebleu 2.6.0 (`sentence_chrf`).
        ("Sales rose to 1,815 million yen in 2025.", "In 2025 sales rose by 12 % to 1,815 million.", 0.6337742823),
        ("売上は1,815百万円に増加した。", "売上高は1,815百万円に増えた。", 0.6403738418),
    ],
)
async def test_chrf(target: Any, answer: str, value: float) -> None:
    assert (await score_text("chrf", target, answer)).value == pytest.approx(value, abs=1e-6)


async def test_of_several_references_the_nearest_counts() -> None:
    result = await score_text("chrf", {"any": ["a dog", "the cat"]}, "the cat")
    assert (result.value, result.detail) == (1.0, {"reference": 1})


EFFORT = [
    ("latency", {"best_ms": 100, "worst_ms": 300}, "duration_ms"),
    ("tokens", {"best_tokens": 100, "worst_tokens": 300}, "completion_tokens"),
    ("tokens", {"best_tokens": 100, "worst_tokens": 300, "which": "prompt"}, "prompt_tokens"),
    ("cost", {"best_usd": 100, "worst_usd": 300}, "cost_usd"),
]


@pytest.mark.parametrize(("name", "options", "field"), EFFORT)
async def test_effort_falls_evenly_from_best_to_worst(name: str, options: dict[str, Any], field: str) -> None:
    values = [
        (await score_text(name, "any", "x", given={field: taken}, **options)).value for taken in (0, 100, 150, 300, 999)
    ]
    assert values == [1.0, 1.0, 0.75, 0.0, 0.0]


@pytest.mark.parametrize(("name", "options", "field"), EFFORT)
async def test_what_was_not_measured_is_no_score(name: str, options: dict[str, Any], field: str) -> None:
    result = await score_text(name, "any", "x", given={field: None}, **options)
    assert "not known" in str(result.error)


async def test_tokens_may_be_counted_together() -> None:
    options: dict[str, Any] = {"worst_tokens": 100, "which": "total"}
    known = await score_text("tokens", "x", "x", given={"prompt_tokens": 30, "completion_tokens": 20}, **options)
    assert known.value == 0.5
    assert (await score_text("tokens", "x", "x", given={"prompt_tokens": 30}, **options)).error is not None


@pytest.mark.parametrize(
    ("name", "options"),
    [("latency", {"best_ms": 3, "worst_ms": 3}), ("tokens", {"worst_tokens": 0}), ("cost", {"best_usd": 1})],
)
def test_a_scale_that_does_not_rise_is_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="worst_"):
        ScorerSpec(name=name, options=options)
