"""What a trial recommends: each task by its own verdict, and all of them together at the declared rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.trials import measured, table, unmeasured

from changeover.evals.queries import ComparedSample, StoredAnswer
from changeover.evals.trials import judged, percentile, ratios_of


def recommendations(*rows: object) -> dict[str, str]:
    return {row.task: row.recommendation for row in judged(rows)}  # pyright: ignore[reportArgumentType] - rows


def test_each_verdict_has_its_recommendation() -> None:
    said = recommendations(
        measured("a", "better"),
        measured("b", "no worse"),
        measured("c", "worse"),
        measured("d", "not as good"),
        measured("e", None, samples_left=1_234),
        unmeasured("f", "failed", "its dataset is gone"),
        unmeasured("g", "unfit", "it reads image"),
    )
    assert said == {
        "a": "switch",
        "b": "switch if wanted",
        "c": "keep",
        "d": "keep",
        "e": "1,234 more samples would decide",
        "f": "its dataset is gone",
        "g": "it reads image",
    }


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"samples_left": 28}, "28 more samples would decide"),
        ({"samples_left": None}, "more samples alone would not decide"),
        ({"stopped": "no scorer could score any"}, "no scorer could score any"),
        (
            {"doubt": "the judge prefers the first place", "shown": "no worse"},
            "would pass, but the judge prefers the first place",
        ),
        ({"shown": "better", "failed": 9}, "9 of 60 samples failed"),
    ],
)
def test_what_is_undecided_says_what_would_decide_it(more: dict[str, Any], said: str) -> None:
    (only,) = judged([measured("a", None, **more)])
    assert (only.recommendation, only.advice, only.verdict) == (said, "undecided", "inconclusive")


def test_a_pass_that_does_not_hold_over_all_tasks_is_no_recommendation() -> None:
    """One pass at 21 : 1 among ten tasks: 10 / 21 of such switches would be expected to be wrong."""
    losers = [measured(f"t{number}", "not as good") for number in range(9)]
    alone = {row.task: row for row in judged([measured("a", "better", no_worse=21.0), *losers])}
    assert alone["a"].recommendation == "keep: alone it does not hold at 10 %"
    assert not alone["a"].holds
    assert {row.task for row in judged([measured("a", "better", no_worse=100.0), *losers]) if row.holds} == {"a"}
    both = judged([measured("a", "better", no_worse=1e6), measured("b", "no worse", no_worse=21.0), *losers[:8]])
    assert [row.recommendation for row in both[:2]] == ["switch", "keep: not among the 1 that hold at 10 %"]


def test_passes_carry_each_other() -> None:
    """Ten passes of ten at 21 : 1 hold together, though none of them would alone."""
    assert all(row.holds for row in judged([measured(f"t{number}", "no worse", no_worse=21.0) for number in range(10)]))


def test_what_waits_or_broke_off_counts_among_the_tasks_and_what_cannot_be_served_does_not() -> None:
    passed = [measured(f"p{number}", "no worse", no_worse=21.0) for number in range(2)]
    for kind, holds in (("failed", False), ("waiting", False), ("unfit", True), ("incumbent", True)):
        others = [unmeasured(f"o{number}", kind) for number in range(3)]
        assert all(row.holds is holds for row in judged([*passed, *others]) if row.passed), kind


def test_a_large_e_value_without_a_pass_switches_nothing() -> None:
    (row,) = judged([measured("a", None, no_worse=1e6, shown="no worse", failed=20, verdict="inconclusive")])
    assert (row.holds, row.advice) == (False, "undecided")


def test_a_table_counts_what_it_shows() -> None:
    seen = table(
        measured("a", "better", calls_kept=5),
        measured("b", "worse", calls_fixed_n=None),
        unmeasured("c", "incumbent"),
        unmeasured("d", "waiting"),
    )
    assert [row.task for row in seen.tried] == ["a", "b", "d"]
    assert seen.left_out == ("c",)
    assert (seen.calls_new, seen.calls_kept, seen.calls_fixed_n, seen.seconds) == (80, 5, 438, 60.0)
    assert (seen.count("switch", "switch if wanted"), seen.count("keep"), seen.count("undecided")) == (1, 1, 1)


def answer(id: int, duration_ms: float, tokens: int | None, error: str | None = None) -> StoredAnswer:
    return StoredAnswer(
        id=id,
        bundle="b",
        sample=str(id),
        repeat=0,
        text=None if error else "x",
        error=error,
        finish_reason="stop",
        prompt_tokens=1,
        completion_tokens=tokens,
        duration_ms=duration_ms,
    )


def sample(position: int, mine: float | None = None, theirs: float | None = None) -> ComparedSample:
    costs = {"incumbent": mine, "candidate": theirs}
    return ComparedSample(
        comparison="c",
        position=position,
        sample="s",
        sample_id=str(position),
        incumbent_answer=position,
        candidate_answer=100 + position,
        incumbent_score=1.0,
        candidate_score=1.0,
        evidence={},
        cluster=None,
        usable=True,
        detail={side: {"cost_usd": cost} for side, cost in costs.items() if cost is not None},
    )


def test_ratios_are_of_the_samples_that_both_answered() -> None:
    rows = [sample(number) for number in range(20)]
    answers = {number: answer(number, 100.0, 10) for number in range(20)}
    answers |= {100 + number: answer(100 + number, 50.0 if number < 18 else 300.0, 20) for number in range(20)}
    assert ratios_of(rows, answers) == {"p95_ratio": 3.0, "cost_ratio": 2.0, "cost_by": "tokens"}
    answers[118], answers[119] = answer(118, 9e9, None, "broken"), answer(119, 9e9, None, "broken")
    assert ratios_of(rows, answers)["p95_ratio"] == 0.5
    assert ratios_of(rows[:5], answers) == {}, "five pairs say nothing"


def test_the_cost_is_by_prices_only_where_both_are_declared() -> None:
    answers = {number: answer(number, 100.0, 10) for number in (*range(8), *range(100, 108))}
    priced = [sample(number, 0.002, 0.001) for number in range(8)]
    assert (ratios_of(priced, answers)["cost_ratio"], ratios_of(priced, answers)["cost_by"]) == (0.5, "price")
    half = [sample(number, 0.002) for number in range(8)]
    assert (ratios_of(half, answers)["cost_ratio"], ratios_of(half, answers)["cost_by"]) == (1.0, "tokens")
    uncounted = {id: replace(each, completion_tokens=None) for id, each in answers.items()}
    assert ratios_of(half, uncounted) == {"p95_ratio": 1.0, "cost_ratio": None, "cost_by": None}


@pytest.mark.parametrize(("values", "expected"), [([1.0], 1.0), (list(range(1, 21)), 19), (list(range(1, 101)), 95)])
def test_the_95th_percentile_is_one_of_the_values(values: list[float], expected: float) -> None:
    assert percentile(values) == expected
