"""What is known of a judge: its leanings, its agreement with itself and with people."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from changeover.evals.judges.bias import (
    ENOUGH_LABELS,
    Judgement,
    doubt,
    judgements_of,
    judging_of_answers,
    judging_of_pairs,
    rank_correlation,
)
from changeover.evals.judges.labels import PairLabel, Preferred, ScoreLabel
from changeover.evals.judges.parse import Place


def digest(name: str) -> str:
    return name.encode().hex().zfill(64)[-64:]


def pair(
    number: int,
    places: tuple[Place, Place] = ("second", "first"),
    *,
    lengths: tuple[int, int] = (10, 10),
    again: tuple[Place, Place] | None = None,
) -> Judgement:
    worth = {"first": 0.0, "tie": 0.5, "second": 1.0}
    return Judgement(
        sample=f"s{number}",
        value=(worth[places[0]] + 1 - worth[places[1]]) / 2,
        digests=(digest(f"i{number}"), digest(f"c{number}")),
        lengths=lengths,
        places=places,
        again=again,
    )


def same(number: int) -> Judgement:
    both = digest(f"i{number}")
    return Judgement(sample=f"s{number}", value=0.5, digests=(both, both), lengths=(9, 9), identical=True)


def label(number: int, preferred: Preferred = "b", *, turned: bool = False) -> PairLabel:
    """What somebody says of the incumbent (a) and the candidate (b); turned: with the sides of the sheet the other way."""
    a, b = digest(f"i{number}"), digest(f"c{number}")
    if turned:
        turned_to: dict[Preferred, Preferred] = {"a": "b", "b": "a", "tie": "tie"}
        return PairLabel(sample=f"s{number}", a=b, b=a, preferred=turned_to[preferred], by="kim")
    return PairLabel(sample=f"s{number}", a=a, b=b, preferred=preferred, by="kim")


CANDIDATE: tuple[Place, Place] = ("second", "first")
INCUMBENT: tuple[Place, Place] = ("first", "second")
NEITHER: tuple[Place, Place] = ("tie", "tie")


@pytest.mark.parametrize(
    ("places", "bias", "flipped"),
    [
        ([CANDIDATE, INCUMBENT], 0.0, 0.0),
        ([("first", "first")] * 4, 1.0, 1.0),
        ([("second", "second")] * 4, -1.0, 1.0),
        ([("first", "first"), ("second", "second"), CANDIDATE, CANDIDATE], 0.0, 0.5),
        ([("first", "tie"), NEITHER, CANDIDATE, CANDIDATE], 0.0, 0.25),
        ([("first", "first"), CANDIDATE, CANDIDATE, NEITHER], 0.25, 0.25),
    ],
)
def test_position_bias(places: list[tuple[Place, Place]], bias: float, flipped: float) -> None:
    found = judging_of_pairs("judge", [pair(number, each) for number, each in enumerate(places)])
    assert (found.position_bias, found.flipped, found.judged) == (bias, flipped, len(places))


def test_pairs_of_the_same_text_are_counted_and_not_judged() -> None:
    found = judging_of_pairs("judge", [pair(1), same(2), same(3)])
    assert (found.judged, found.identical, found.flipped) == (1, 2, 0.0)
    nothing = judging_of_pairs("judge", [same(1)])
    assert (nothing.judged, nothing.position_bias, nothing.flipped, nothing.agreement) == (0, None, None, None)


def test_a_judge_that_prefers_the_longer_answer_shows_it() -> None:
    longer = [pair(n, CANDIDATE if n % 2 else INCUMBENT, lengths=(20, 20 + (n if n % 2 else -n))) for n in range(1, 20)]
    shorter = [
        pair(n, INCUMBENT if n % 2 else CANDIDATE, lengths=(20, 20 + (n if n % 2 else -n))) for n in range(1, 20)
    ]
    high, low = (judging_of_pairs("judge", each).length_bias for each in (longer, shorter))
    assert high is not None
    assert low is not None
    assert high > 0.8
    assert low < -0.8


@pytest.mark.parametrize(
    ("values", "others", "expected"),
    [
        ([1, 2, 3, 4, 5], [10, 20, 30, 40, 50], 1.0),
        ([1, 2, 3, 4, 5], [5, 4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4, 5], [1, 3, 2, 5, 4], 0.8),
        ([0, 0, 1, 1, 0.5], [1, 2, 3, 4, 5], 0.632455532),
        ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], None),
        ([1, 2, 3, 4], [1, 2, 3, 4], None),
    ],
)
def test_rank_correlation(values: list[float], others: list[float], expected: float | None) -> None:
    """The fourth by scipy.stats.spearmanr."""
    found = rank_correlation(values, others)
    assert found == (None if expected is None else pytest.approx(expected))


def test_self_consistency_is_the_share_of_repeated_judgements_that_came_out_the_same() -> None:
    said = [pair(1, again=CANDIDATE), pair(2, again=("second", "second")), pair(3), pair(4, again=CANDIDATE)]
    assert judging_of_pairs("judge", said).self_consistency == pytest.approx(2 / 3)
    assert judging_of_pairs("judge", [pair(1)]).self_consistency is None


def test_people_are_agreed_with_whichever_side_of_the_sheet_an_answer_stood_on() -> None:
    said = [pair(1), pair(2), pair(3, INCUMBENT), pair(4, NEITHER), pair(5, ("second", "second"))]
    labels = [label(1), label(2, turned=True), label(3, "b"), label(4, "tie"), label(5, "tie"), label(99)]
    found = judging_of_pairs("judge", said, labels)
    assert (found.labels, found.agreement) == (5, 0.8)
    assert found.corrected is None, "five labels correct nothing"


def test_labels_of_other_texts_are_left_out() -> None:
    other = PairLabel(sample="s1", a=digest("i1"), b=digest("something else"), preferred="a", by="kim")
    assert judging_of_pairs("judge", [pair(1)], [other]).labels == 0


def test_a_judge_that_favours_the_candidate_is_corrected() -> None:
    """People prefer either in half of the cases; the judge prefers the candidate in two thirds of the rest, too."""
    generator = np.random.default_rng(5)
    truth = generator.random(600) < 0.5
    judge = truth | (generator.random(600) < 1 / 3)
    said = [pair(number, CANDIDATE if each else INCUMBENT) for number, each in enumerate(judge)]
    labels = [label(number, "b" if truth[number] else "a") for number in range(100)]
    found = judging_of_pairs("judge", said, labels)
    assert found.corrected is not None
    middle, low, high = found.corrected
    plain = float(np.mean(2 * judge - 1))
    assert plain > 0.25
    assert low < 0 < high < plain
    labels_only = 2 * 1.96 * float(np.std(2 * truth[:100] - 1)) / 10
    assert high - low < 0.9 * labels_only
    assert middle == pytest.approx((low + high) / 2)


def test_the_same_text_counts_as_no_difference_without_anybody_judging_it() -> None:
    said = [pair(number, CANDIDATE if number % 4 else INCUMBENT) for number in range(60)]
    labels = [label(number, "b" if number % 4 else "a") for number in range(40)]
    alone = judging_of_pairs("judge", said, labels).corrected
    mixed = judging_of_pairs("judge", [*said, *(same(number) for number in range(60, 120))], labels).corrected
    assert alone is not None
    assert mixed is not None
    assert mixed[0] == pytest.approx(alone[0] / 2)
    assert alone[2] - alone[1] > mixed[2] - mixed[1] > (alone[2] - alone[1]) / 2


def test_labels_that_all_say_the_same_correct_nothing() -> None:
    """Their spread is not known, and an interval without width would be a lie."""
    said = [pair(number) for number in range(40)]
    assert judging_of_pairs("judge", said, [label(number) for number in range(30)]).corrected is None
    varied = [label(number, "a" if number == 0 else "b") for number in range(ENOUGH_LABELS)]
    assert judging_of_pairs("judge", said, varied).corrected is not None
    assert judging_of_pairs("judge", said, varied[1:]).corrected is None


def answer(number: int, side: str, level: int, *, length: int = 10, again: float | None = None) -> Judgement:
    return Judgement(
        sample=f"s{number}",
        value=(level - 1) / 4,
        digests=(digest(f"{side}{number}"),),
        lengths=(length,),
        again=again,
        levels=5,
    )


def score(number: int, side: str, value: float) -> ScoreLabel:
    return ScoreLabel(sample=f"s{number}", answer=digest(f"{side}{number}"), score=value, by="kim")


def test_scores_of_single_answers_have_no_position() -> None:
    pairs = [([answer(n, "i", 1 + n % 5, length=n % 5)], [answer(n, "c", 5, length=9)]) for n in range(10)]
    found = judging_of_answers("judge", pairs)
    assert (found.judged, found.identical, found.position_bias, found.flipped) == (20, 0, None, None)
    assert found.length_bias == pytest.approx(1.0, abs=0.1)


def test_a_score_meets_a_label_within_half_a_level() -> None:
    pairs = [
        ([answer(1, "i", 3)], [answer(1, "c", 4, again=0.75)]),
        ([answer(2, "i", 2)], [answer(2, "c", 2, again=0.5)]),
    ]
    labels = [score(1, "i", 0.625), score(1, "c", 0.5), score(2, "i", 0.25), score(7, "i", 0.0)]
    found = judging_of_answers("judge", pairs, labels)
    assert (found.labels, found.agreement, found.self_consistency) == (3, pytest.approx(2 / 3), 0.5)


def test_a_lenient_judge_of_the_candidate_is_corrected() -> None:
    generator = np.random.default_rng(6)
    levels = generator.integers(1, 5, 300)
    pairs = [([answer(n, "i", int(level))], [answer(n, "c", int(level) + 1)]) for n, level in enumerate(levels)]
    noise = generator.choice([-0.25, 0.0, 0.25], 60)
    people = [score(n, "i", (int(levels[n]) - 1) / 4) for n in range(60)]
    people += [score(n, "c", min(1.0, max(0.0, (int(levels[n]) - 1) / 4 + noise[n]))) for n in range(60)]
    found = judging_of_answers("judge", pairs, people)
    assert found.corrected is not None
    assert found.corrected[1] < 0.05 < 0.25, "people see no difference where the judge sees a level"
    assert found.corrected[2] < 0.2
    assert judging_of_answers("judge", pairs, people[:60]).corrected is None, "one side alone is no difference"


PAIR_DETAIL: dict[str, Any] = {
    "judge": "judge",
    "identical": False,
    "digests": [digest("i1"), digest("c1")],
    "lengths": [4, 7],
    "places": ["second", "tie"],
    "reasons": ["x", "y"],
    "repeated": ["second", "first"],
}
ANSWER_DETAIL: dict[str, Any] = {
    "judge": "judge",
    "levels": 5,
    "digests": [digest("c1")],
    "lengths": [7],
    "level": 4.0,
    "reasons": ["x"],
    "repeated": 3.0,
}


def test_judgements_are_read_back_from_what_is_kept() -> None:
    (found,) = judgements_of("s1", PAIR_DETAIL)
    assert found.value == 0.75
    assert (found.places, found.again) == (("second", "tie"), ("second", "first"))
    (single,) = judgements_of("s1", ANSWER_DETAIL)
    assert (single.value, single.again, single.levels) == (0.75, 0.5, 5)
    (alike,) = judgements_of("s1", {**PAIR_DETAIL, "identical": True, "places": None})
    assert (alike.identical, alike.value, alike.places) == (True, 0.5, None)


@pytest.mark.parametrize(
    ("detail", "how_many"),
    [
        ({"mean of": [{"score": 0.5, **PAIR_DETAIL}, {"score": 1.0, **PAIR_DETAIL}]}, 2),
        (
            {
                "parts": [
                    {"scorer": "rubric", "score": 0.75, "detail": ANSWER_DETAIL},
                    {"scorer": "exact", "score": 1.0},
                ]
            },
            1,
        ),
        ({"model failed": "timeout"}, 0),
        ({"missing_facts": ["x"]}, 0),
        ({"judge": "judge", "identical": False, "digests": ["x", "y"], "lengths": [1, 2]}, 0),
    ],
)
def test_judgements_are_found_wherever_they_stand(detail: dict[str, Any], how_many: int) -> None:
    assert len(judgements_of("s1", detail)) == how_many


FIRST: tuple[Place, Place] = ("first", "first")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([FIRST] * 19, "turned with the order in 19 of 19 pairs"),
        ([FIRST, CANDIDATE] * 10, "turned with the order in 10 of 20 pairs"),
        ([FIRST] * 4 + [CANDIDATE] * 16, None),
        ([("tie", "first"), ("first", "tie")] * 5, "turned with the order in 10 of 10 pairs"),
        ([NEITHER] * 8, "called all 8 pairs a tie"),
        ([NEITHER] * 8 + [CANDIDATE], None),
        ([CANDIDATE] * 8, None),
        ([], None),
    ],
)
def test_a_judge_that_cannot_tell_answers_apart_is_no_evidence(
    said: list[tuple[Place, Place]], why: str | None
) -> None:
    """Its differences are all 0, which a test for "no worse" takes for equality."""
    found = doubt([pair(number, each) for number, each in enumerate(said)])
    assert (found is None) is (why is None)
    assert why is None or why in str(found)


def test_a_few_turned_pairs_among_many_of_the_same_text_are_no_doubt() -> None:
    assert doubt([pair(0, FIRST), *(same(number) for number in range(1, 40))]) is None
    assert doubt([same(number) for number in range(40)]) is None


def test_a_rubric_whose_judge_always_gives_the_same_level_is_no_evidence() -> None:
    alike = [answer(n, side, 4) for n in range(10) for side in ("i", "c")]
    assert doubt(alike) == "the judge gave all 20 answers the same level"
    assert doubt([*alike, answer(11, "i", 3)]) is None
    assert doubt(alike[:4]) is None
