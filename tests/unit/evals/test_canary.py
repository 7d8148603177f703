"""What watches a candidate keeps its promises: exactly for short streams, by simulation for long ones."""

from __future__ import annotations

import itertools
import math
import random
from statistics import fmean

import pytest
from scipy.stats import binom

from changeover.evals.canary import (
    RECENT,
    WINDOW,
    BadEvents,
    DriftDetector,
    LatencyReference,
    bad_event_evidence,
    durations_needed,
    tolerance_rank,
)


def _mean_over_all_streams(make: type[BadEvents | DriftDetector], rate: float, length: int) -> float:
    total = 0.0
    for events in itertools.product((False, True), repeat=length):
        watch = make(0.03)
        for bad in events:
            watch.update(bad)
        total += math.prod(rate if bad else 1 - rate for bad in events) * watch.evidence
    return total


def test_bad_events_are_a_fair_game_at_the_tolerated_rate_and_a_losing_one_below_it() -> None:
    assert _mean_over_all_streams(BadEvents, 0.03, 9) == pytest.approx(1.0, rel=1e-12)
    assert _mean_over_all_streams(BadEvents, 0.01, 9) < 1.0


def test_a_drift_detector_gains_one_an_event_at_the_tolerated_rate_and_less_below_it() -> None:
    assert _mean_over_all_streams(DriftDetector, 0.03, 9) == pytest.approx(9.0, rel=1e-12)
    assert _mean_over_all_streams(DriftDetector, 0.01, 9) < 9.0


def _events_to_alarm(watch: BadEvents | DriftDetector, limit: float, rate: float, seed: int, most: int) -> int:
    rng = random.Random(seed)
    for event in range(1, most + 1):
        if watch.update(rng.random() < rate) >= limit:
            return event
    return most + 1


def test_a_broken_candidate_is_found_within_few_requests_and_a_good_one_is_left_alone() -> None:
    broken = sorted(_events_to_alarm(BadEvents(0.03), 100, 0.5, seed, 200) for seed in range(100))
    bad = sorted(_events_to_alarm(BadEvents(0.03), 100, 0.2, seed, 400) for seed in range(100))
    assert broken[50] <= 8
    assert bad[50] <= 30
    assert sum(_events_to_alarm(BadEvents(0.03), 100, 0.02, seed, 1000) <= 1000 for seed in range(40)) <= 2


def test_false_alarms_of_a_drift_detector_are_no_closer_than_it_says() -> None:
    waits = [_events_to_alarm(DriftDetector(0.03), 200, 0.03, seed, 3000) for seed in range(150)]
    assert fmean(waits) > 200
    assert fmean(waits) < 3000  # it does raise one in the end


def test_a_good_past_does_not_keep_a_drift_from_being_found() -> None:
    watch = DriftDetector(0.03)
    for _ in range(20_000):
        watch.update(False)
    assert watch.evidence < 20_000
    needed = next(event for event in itertools.count(1) if watch.update(True) >= 20_000)
    assert needed <= 6
    process = BadEvents(0.03)
    for bad in [False] * 20_000 + [True] * needed:
        process.update(bad)
    assert process.evidence < 1e-6  # which is why there are two


def test_counts_alone_give_the_evidence_whatever_the_order() -> None:
    late, early = BadEvents(0.05), BadEvents(0.05)
    for bad in [False] * 20 + [True] * 4:
        late.update(bad)
    for bad in [True] * 4 + [False] * 20:
        early.update(bad)
    assert late.evidence == early.evidence == bad_event_evidence(0.05, events=24, bad_events=4)
    assert (late.events, late.bad_events) == (24, 4)
    assert BadEvents(0.05).evidence == pytest.approx(1.0)


def test_evidence_stays_a_number_however_bad_it_gets() -> None:
    for watch in (BadEvents(0.001), DriftDetector(0.001)):
        for _ in range(3000):
            watch.update(True)
        assert math.isfinite(watch.evidence)
        assert watch.evidence > 1e100


@pytest.mark.parametrize(("events", "bad_events"), [(3, 4), (-1, -1), (3, -1)])
def test_impossible_counts_are_refused(events: int, bad_events: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        bad_event_evidence(0.03, events=events, bad_events=bad_events)


@pytest.mark.parametrize("tolerated", [0.0, 1.0, -0.1])
@pytest.mark.parametrize("watch", [BadEvents, DriftDetector])
def test_rates_outside_0_to_1_are_refused(watch: type[BadEvents | DriftDetector], tolerated: float) -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        watch(tolerated)


@pytest.mark.parametrize("tolerated", [0.001, 0.05, 0.1, 0.3, 0.9])
@pytest.mark.parametrize("delta", [1e-3, 1e-9])
@pytest.mark.parametrize("durations", [10, 73, 500, 20_000])
def test_the_tolerance_bound_is_the_binomial_one(tolerated: float, delta: float, durations: int) -> None:
    rank = tolerance_rank(durations, tolerated, delta)
    if rank is None:
        assert binom.sf(durations - 1, durations, 1 - tolerated) > delta
        assert durations < durations_needed(tolerated, delta)
        return
    assert durations >= durations_needed(tolerated, delta)
    assert binom.sf(rank - 1, durations, 1 - tolerated) <= delta
    assert rank == 1 or binom.sf(rank - 2, durations, 1 - tolerated) > delta


def _reference(durations: list[float], *, tolerated: float = 0.1, slowdown: float = 3.0) -> LatencyReference:
    reference = LatencyReference(tolerated, slowdown, 0.001)
    for duration in durations:
        reference.add(duration)
    return reference


def test_there_is_no_threshold_before_there_are_enough_answers_and_it_says_how_many_are_missing() -> None:
    reference = _reference([100.0] * 72)
    assert reference.threshold_ms is None
    assert reference.note == "72 of 73 answers of the incumbent needed first"
    reference.add(280.0)
    assert reference.threshold_ms == pytest.approx(840.0)
    assert reference.note == "slower than 840 ms, 3 × the incumbent's slowest of 73"


def test_a_full_window_takes_the_p95() -> None:
    values = [float(value) for value in range(1, WINDOW + 1)] * 3
    random.Random(1).shuffle(values)
    reference = _reference(values)
    assert reference.threshold_ms is not None
    assert 3 * 0.95 * WINDOW - 30 <= reference.threshold_ms <= 3 * WINDOW
    assert "3 × the incumbent's p9" in reference.note


@pytest.mark.parametrize("tolerated", [0.05, 0.1])
def test_a_threshold_bounds_the_tolerated_share_as_often_as_it_says(tolerated: float) -> None:
    """With `slowdown` 1 and at every look; an unlucky reference has chance 1 in 1000 over the whole stream."""
    rng, wrong = random.Random(7), 0
    bound = -math.log(tolerated)  # that an exponential duration exceeds with the tolerated chance
    for _ in range(60):
        reference = LatencyReference(tolerated, 1.0, 0.001)
        below = False
        for _ in range(1500):
            reference.add(rng.expovariate(1.0))
            threshold = reference.threshold_ms
            below = below or (threshold is not None and threshold < bound)
        wrong += below
    assert wrong <= 1


def test_a_machine_that_gets_slower_raises_the_threshold_after_three_slow_answers() -> None:
    reference = _reference([100.0] * 600)
    assert reference.threshold_ms == pytest.approx(300.0)
    for _ in range(2):
        reference.add(1000.0)
    assert reference.threshold_ms == pytest.approx(300.0)
    reference.add(1000.0)
    assert reference.threshold_ms == pytest.approx(3000.0)
    assert reference.note == "slower than 3000 ms, 3 × the incumbent's p95"


def test_a_machine_that_gets_faster_lowers_it_within_one_and_a_half_windows() -> None:
    reference = _reference([100.0] * 600 + [10.0] * (3 * WINDOW // 2))
    assert reference.threshold_ms == pytest.approx(30.0)


def test_a_small_tolerated_share_keeps_more_answers() -> None:
    reference = _reference([1.0] * RECENT, tolerated=0.001)
    assert reference.needed == durations_needed(0.001, 0.0005) == 7598
    assert reference.window == 3 * reference.needed


@pytest.mark.parametrize("duration", [-1.0, math.nan, math.inf])
def test_what_is_no_duration_is_refused(duration: float) -> None:
    with pytest.raises(ValueError, match="no duration"):
        LatencyReference(0.1, 3.0, 0.001).add(duration)
