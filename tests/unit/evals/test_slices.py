"""A comparison by tag."""

from __future__ import annotations

import pytest

from changeover.evals.interval import DifferenceInterval
from changeover.evals.slices import Row, slices_of


def row(incumbent: float, candidate: float, *tags: str, cluster: str | None = None) -> Row:
    return tags, incumbent, candidate, cluster


def test_each_tag_has_its_own_difference_and_interval() -> None:
    rows = [row(1, 0, "ja"), row(1, 1, "ja", "long"), row(0, 1, "en"), row(0, 0), row(1, 0, "ja", "ja")]
    made = slices_of(rows, alpha=0.05, beta=0.1)
    assert [(each.tag, each.samples) for each in made] == [("ja", 3), ("en", 1), ("long", 1)]
    japanese = made[0]
    assert (japanese.incumbent_score, japanese.candidate_score) == (1.0, pytest.approx(1 / 3))
    assert japanese.difference == pytest.approx(-2 / 3)
    interval = DifferenceInterval()
    for difference in (-1.0, 0.0, -1.0):
        interval.update(difference)
    assert (japanese.low, japanese.high) == (interval.low, interval.high)
    assert japanese.detectable_loss is not None
    assert made[1].detectable_loss is None, "nothing differed"


def test_a_cluster_is_one_observation() -> None:
    rows = [row(0, 1, "t", cluster="a"), row(0, 0, "t", cluster="a"), row(1, 0, "t", cluster="b")]
    (made,) = slices_of(rows, alpha=0.05, beta=0.1)
    assert (made.samples, made.difference) == (3, pytest.approx((0.5 - 1.0) / 2))


def test_without_tags_there_is_no_slice() -> None:
    assert slices_of([row(1, 1), row(0, 0)], alpha=0.05, beta=0.1) == ()
