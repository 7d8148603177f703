"""The floor under a task's scores."""

import random

from changeover.evals.comparison import checked_verdict
from changeover.evals.floor import Floor


def test_without_a_floor_everything_is_above_it() -> None:
    assert Floor(None).add(0.0, None) == "above"


def test_a_mean_at_the_floor_has_reached_it() -> None:
    floor = Floor(0.5)
    for score in (0.0, 1.0):
        standing = floor.add(score, None)
    assert standing == "reached"


def test_one_bad_score_says_nothing_yet() -> None:
    assert Floor(0.5).add(0.0, None) == "open"


def test_whoever_is_at_the_floor_is_hardly_ever_said_to_be_below_it_however_often_one_looks() -> None:
    seeded = random.Random(7)
    wrong = 0
    for _ in range(60):
        floor = Floor(0.5)
        wrong += any(floor.add(float(seeded.random() < 0.5), None) == "below" for _ in range(60))
    assert wrong <= 6, "5 % are promised; 6 of 60 leave room for chance"


def test_whoever_is_below_the_floor_is_hardly_ever_said_to_be_above_it_however_often_one_looks() -> None:
    seeded = random.Random(11)
    wrong = 0
    for _ in range(60):
        floor = Floor(0.8)
        wrong += any(floor.add(float(seeded.random() < 0.75), None) == "above" for _ in range(60))
    assert wrong <= 6, "at most 5 % are promised to whoever is at the floor"


def test_below_the_floor_is_a_fail_whatever_the_test_says_and_open_is_no_pass() -> None:
    def verdict(test: str, standing: str) -> str:
        return checked_verdict(test, {}, failed=0, drawn=30, doubtful=None, standing=standing)  # type: ignore[arg-type]

    assert verdict("pass", "below") == verdict("inconclusive", "below") == "fail"
    assert verdict("pass", "open") == "inconclusive"
    assert verdict("fail", "open") == "fail"
    assert verdict("pass", "above") == verdict("pass", "reached") == "pass"
