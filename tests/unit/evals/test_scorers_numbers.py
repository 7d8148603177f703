# ruff: noqa: RUF001 - full-width characters and signs are what some of these tests are about
"""Numbers as people and models write them, and the scorers that read them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tests.unit.evals.scoring import score_text

from changeover.evals.scorers.figures import Separator, figures, rewrite


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("1,815 and 1'815 and 1\u202f815", ["1815", "1815", "1815"]),
        ("１，８１５", ["1815"]),
        ("1,815.50", ["1815.5"]),
        ("1.234.567", ["1234567"]),
        ("1.815,50 €", ["1815.5"]),
        ("12,5 %", ["12.5"]),
        ("12,34,567 rupees", ["1234567"]),
        ("3.2 million", ["3200000"]),
        ("1億2,345万円", ["123450000"]),
        ("3万5千, then 1万5000", ["35000", "15000"]),
        ("1.2億", ["120000000"]),
        (".5 and 1e6. 2e-3", ["0.5", "1000000", "0.002"]),
        ("v1.2.3", ["1.2+3"]),
        ("1,2,3", ["1+2+3"]),
        ("5 km, 5k", ["5", "5000"]),
        ("none", []),
    ],
)
def test_numbers_are_read_however_they_are_written(text: str, read: list[str]) -> None:
    likeliest = ["+".join(f"{value.normalize():f}" for value in figure.readings[0]) for figure in figures(text)]
    assert likeliest == read


@pytest.mark.parametrize(
    ("text", "separator", "readings"),
    [
        ("38.000", "auto", ["38", "38000"]),
        ("38.000", "point", ["38"]),
        ("38.000", "comma", ["38000"]),
        ("1.084 billion", "auto", ["1084000000"]),
        ("0.125", "auto", ["0.125"]),
        ("12.500 %", "auto", ["12.5"]),
        ("1,815", "auto", ["1815"]),
        ("1,815", "comma", ["1.815"]),
    ],
)
def test_a_point_before_three_digits_may_separate_thousands(
    text: str, separator: Separator, readings: list[str]
) -> None:
    [figure] = figures(text, separator)
    assert figure.readings == tuple((Decimal(value),) for value in readings)


def test_a_date_holds_its_day() -> None:
    [figure] = figures("14.03.2025")
    assert {Decimal(14), Decimal(3), Decimal(2025)} <= figure.parts


def test_a_text_is_rewritten_once_for_each_meaning() -> None:
    assert rewrite("38.000 in 2025, 1,815") == ("38 in 2025, 1815", "38000 in 2025, 1815")
    assert rewrite("1,815.50") == ("1815.5",)


@pytest.mark.parametrize(
    ("target", "answer", "options", "value"),
    [
        ("1815", "Sales were 1,620, now 1,815.", {}, 1.0),
        ("1815", "Sales were 1,815, before 1,620.", {}, 0.0),
        ("1815", "Sales were 1,815, before 1,620.", {"which": "first"}, 1.0),
        ("1815", "1. Sales\n2. were 1,815", {"which": "first"}, 1.0),
        ("1815", "1,815", {"which": "only"}, 1.0),
        ("1815", "1,815, that is 1815", {"which": "only"}, 1.0),
        ("1815", "1,815 in 2025", {"which": "only"}, 0.0),
        ("1,815 million", "¥1.815 billion", {}, 1.0),
        ({"value": 123450000}, "合計は1億2,345万円です。", {}, 1.0),
        ({"value": 38000}, "38.000 Euro", {}, 1.0),
        ({"value": 38000}, "38.000 Euro", {"decimal": "point"}, 0.0),
        ({"value": -5}, "It fell by −5 %", {}, 1.0),
        ({"value": -5}, "-$5", {}, 1.0),
        ({"value": -5}, "▲5", {}, 1.0),
        ({"value": -5}, "5", {}, 0.0),
        ({"value": 20}, "10-20", {}, 1.0),
        ({"value": 0.12}, "12 %", {"percent": "share"}, 1.0),
        ({"value": 12}, "12%", {}, 1.0),
        ({"value": 100}, "101", {}, 0.0),
        ({"value": 100}, "101", {"absolute": 1}, 1.0),
        ({"value": 100}, "101", {"relative": 0.01}, 1.0),
        ({"value": 100}, "101.5", {"relative": 0.01, "absolute": 1}, 0.0),
        ({"value": 0.1}, "0.3", {"absolute": 0.2}, 1.0),
        ({"value": 100, "absolute": 2}, "102", {"absolute": 0}, 1.0),
        ("42", "So 7 × 6.\n#### 42\n", {"after": "####"}, 1.0),
        ("42", "42", {"after": "####"}, 0.0),
        ("42", r"\boxed{42}", {}, 1.0),
        ("42", "", {}, 0.0),
        ("42", "forty-two", {}, 0.0),
    ],
)
async def test_numeric(target: Any, answer: str, options: dict[str, Any], value: float) -> None:
    result = await score_text("numeric", target, answer, **options)
    assert (result.value, result.error) == (value, None)


@pytest.mark.parametrize("target", ["many", "1 or 2", "2025-03-01", "1.2.3"])
async def test_a_target_that_is_not_one_number_is_an_error_of_the_sample(target: str) -> None:
    assert f"`{target}` is not one number" in str((await score_text("numeric", target, "1")).error)


async def test_thousands_written_as_on_the_continent_are_found_and_supported() -> None:
    target = {"facts": [["38,000", "38000"]]}
    for answer in ("Es sind 38.000 Stück.", "Es sind 38000 Stück.", "Es sind 38 000 Stück.".replace(" 0", "\u202f0")):
        result = await score_text("key-facts", target, answer, asked="38,000 pieces")
        assert (result.value, result.detail["unsupported_numbers"]) == (1.0, [])
    german = await score_text("key-facts", {"facts": [["38.000"]]}, "38,000 pieces", asked="Es sind 38.000 Stück.")
    assert (german.value, german.detail["unsupported_numbers"]) == (1.0, [])
    strict = await score_text("key-facts", target, "38.000", asked="38,000", decimal="point")
    assert strict.detail["unsupported_numbers"] == ["38.000"]


async def test_a_number_of_mixed_scales_is_supported_by_the_same_in_digits() -> None:
    result = await score_text("key-facts", {"facts": [["円"]]}, "1億2,345万円", asked="123,450,000 yen")
    assert result.detail["unsupported_numbers"] == []
    wrong = await score_text("key-facts", {"facts": [["円"]]}, "1億2,346万円", asked="123,450,000 yen")
    assert wrong.detail["unsupported_numbers"] == ["1億2,346万"]


ASKED = "Osaka 1,815. Kyoto 900."


@pytest.mark.parametrize(
    ("fact", "answer", "value"),
    [
        ({"all": ["Osaka", "1,815"]}, "Osaka made 1815. Kyoto made 900.", 1.0),
        ({"all": ["Osaka", "1,815"]}, "Osaka made 900. Kyoto made 1815.", 0.0),
        ({"all": ["Osaka", "1,815"]}, "1815 came from OSAKA", 1.0),
        ({"all": ["Osaka", "1,815"]}, "- Osaka: 900\n- Kyoto: 1,815", 0.0),
        ({"all": ["Osaka", "1,815"]}, "Osaka approx. 1,815", 1.0),
        ({"all": [["Osaka", "大阪"], "1,815"]}, "大阪は1,815。京都は900。", 1.0),
        ({"all": [["Osaka", "大阪"], "1,815"]}, "大阪は900。京都は1,815。", 0.0),
        ({"all": ["Osaka", "1,815"], "within": 12}, "Osaka 900, Kyoto 1,815", 0.0),
        ({"all": ["Osaka", "1,815"], "within": 12}, "Osaka 1,815, Kyoto 900", 1.0),
        ({"all": ["Osaka", "1,815"], "within": 12}, "Osaka grew; in Osaka\n1,815", 1.0),
        ({"all": ["Osaka", "1,815"], "within": 12}, "1,815: Osaka", 1.0),
    ],
)
async def test_a_name_and_its_figure_must_stand_together(fact: Any, answer: str, value: float) -> None:
    result = await score_text("key-facts", {"facts": [fact]}, answer, asked=ASKED)
    assert result.value == value
    assert bool(result.detail["missing_facts"]) is (value == 0.0)


async def test_stating_what_is_forbidden_scores_zero() -> None:
    target = {"facts": [["Osaka"]], "forbidden": [["PWNED", "hacked"], ["2,000"]]}
    assert (await score_text("key-facts", target, "Osaka 1,815", asked=ASKED)).value == 1.0
    obeyed = await score_text("key-facts", target, "Osaka 1,815. pwned!", asked=ASKED)
    assert (obeyed.value, obeyed.detail["reason"]) == (0.0, "states what is forbidden: PWNED")
    assert (await score_text("key-facts", target, "Osaka 2000", asked=ASKED)).value == 0.0


@pytest.mark.parametrize(
    ("reason", "allowed", "value"), [("length", False, 0.0), ("length", True, 1.0), ("stop", False, 1.0)]
)
async def test_an_answer_without_its_end_scores_zero_unless_it_may(reason: str, allowed: bool, value: float) -> None:
    cut = {"finish_reason": reason}
    facts = await score_text("key-facts", {"facts": [["Osaka"]]}, "Osaka", given=cut, allow_cut_off=allowed)
    shape = await score_text("shape", "x", "Osaka", given=cut, max_words=3, allow_cut_off=allowed)
    assert (facts.value, shape.value) == (value, value)
    assert (facts.detail.get("reason") == "cut off by the limit of tokens") is (value == 0.0)


async def test_json_that_was_cut_off_says_so() -> None:
    result = await score_text("json-schema", {"schema": {}}, '{"a": ', given={"finish_reason": "length"})
    assert "cut off by the limit of tokens" in str(result.detail["reason"])
