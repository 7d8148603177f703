"""Evidence that answers have changed: what it holds while nothing changes, and how soon it finds what did."""

import math
import random
from itertools import product

import pytest

from changeover.evals.alias_evidence import ALARM_AT, CHECKS_A_YEAR, Look, changed_evidence


def looks(*changed: int, pairs: int = 12) -> list[Look]:
    return [Look(each, pairs) for each in changed]


@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.5, 0.5), (0.02, 0.9), (0.3, 0.1), (1.0, 0.05)])
def test_its_mean_is_at_most_the_number_of_looks_whatever_varies_how_often(rates: tuple[float, float]) -> None:
    # Exact, over everything that two samples can do in a baseline and three looks.
    outcomes = list(product((0, 1), repeat=2))
    mean = 0.0
    for history in product(outcomes, repeat=4):
        chance = math.prod(
            rate if changed else 1.0 - rate for each in history for changed, rate in zip(each, rates, strict=True)
        )
        mean += chance * changed_evidence([Look(sum(each), 2) for each in history])
    assert mean <= 3.0


def alarms(rng: random.Random, rates: list[float], checks: int) -> bool:
    """Whether an alias that never changes raises an alarm within so many checks."""
    seen = [Look(sum(rng.random() < rate for rate in rates), len(rates)) for _ in range(checks + 1)]
    return any(changed_evidence(seen[: number + 1]) >= ALARM_AT for number in range(1, checks + 1))


@pytest.mark.parametrize(
    "rates",
    [[0.0] * 12, [0.05] * 12, [0.3] * 12, [0.95] * 12, [0.0] * 6 + [1.0] * 6, [0.02] * 10 + [0.9] * 2],
    ids=["never", "seldom", "noisy", "always", "half of them", "two of them"],
)
def test_an_alias_that_only_varies_raises_no_alarm(rates: list[float]) -> None:
    # In 60 checks at most 60 in 36 500 may: 0.16 %. Of 300 that is more than 5 with a chance of one in a hundred thousand.
    rng = random.Random(7)
    assert sum(alarms(rng, rates, 60) for _ in range(300)) <= 5


def test_a_year_of_a_noisy_alias_raises_no_alarm() -> None:
    rng = random.Random(11)
    assert not any(alarms(rng, [0.25] * 12, CHECKS_A_YEAR) for _ in range(3))


@pytest.mark.parametrize(
    ("seen", "checks"),
    [
        ((0,), 1),  # just after the baseline
        ((0, 0, 0, 0), 1),
        ((1, 0, 2, 1, 0), 1),
        ((0,) * 100, 1),
    ],
)
def test_another_model_is_found_at_once(seen: tuple[int, ...], checks: int) -> None:
    assert changed_evidence(looks(*seen, *[12] * checks)) >= ALARM_AT


@pytest.mark.parametrize(("quiet", "changed"), [(5, 7), (30, 4), (300, 3)])
def test_the_longer_nothing_changed_the_less_is_enough(quiet: int, changed: int) -> None:
    assert changed_evidence(looks(*[0] * quiet, changed)) >= ALARM_AT


def test_a_small_change_that_stays_is_found_after_some_checks() -> None:
    assert changed_evidence(looks(*[0] * 30, 2, 2)) < ALARM_AT
    assert changed_evidence(looks(*[0] * 30, 2, 2, 2, 2)) >= ALARM_AT


def test_a_noisy_alias_that_becomes_another_is_found() -> None:
    assert changed_evidence(looks(*[3, 2, 3, 4, 2, 3, 3, 2], 11, 12, 10, 12, 11)) >= ALARM_AT


def test_answers_that_vary_less_than_before_are_no_alarm() -> None:
    assert changed_evidence(looks(*[10] * 10, *[0] * 30)) < 1.0


def test_a_baseline_alone_says_nothing() -> None:
    assert changed_evidence(looks(5)) == 0.0
