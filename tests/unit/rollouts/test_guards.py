"""The guards of a rollout together."""

from __future__ import annotations

import itertools
import math
import random
import time

import pytest

from changeover.evals.canary import BadEvents
from changeover.rollouts.decide import Plan, Reading
from changeover.rollouts.guards import RESERVE, WEIGHTS, Guards

PLAN = Plan(steps=(), tolerated_failures=0.03, alpha=0.01, bake_s=300)


def _guards(*, answers: int = 0) -> Guards:
    guards = Guards(PLAN)
    for _ in range(answers):
        guards.incumbent(100.0)
    return guards


def _ask(
    guards: Guards, times: int = 1, *, failed: bool = False, violated: bool | None = False, ms: float = 100.0
) -> None:
    for _ in range(times):
        guards.candidate(failed=failed, violated=violated, duration_ms=ms)


def _reading(guards: Guards, name: str) -> Reading:
    return next(reading for reading in guards.readings() if reading.name == name)


def test_before_any_event_every_guard_stays_at_one_and_says_what_it_lacks() -> None:
    guards = _guards()
    assert guards.evidence == pytest.approx(1 - RESERVE)
    assert {reading.name: (reading.evidence, reading.note) for reading in guards.readings()} == {
        "errors": (pytest.approx(1.0), "nothing asked yet"),
        "violations": (pytest.approx(1.0), "no answer was checked yet"),
        "latency": (pytest.approx(1.0), "0 of 73 answers of the incumbent needed first"),
        "feedback": (pytest.approx(1.0), "no feedback yet"),
    }


def test_the_weights_leave_the_reserve_over() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1 - RESERVE)


def test_after_the_promotion_the_weights_leave_over_what_a_low_reference_may_cost() -> None:
    guards = _guards(answers=100)
    guards.promoted()
    _ask(guards)
    guards.feedback(True)
    (one,) = {round(reading.evidence, 6) for reading in guards.readings() if reading.tolerated == 0.03}
    total = sum(WEIGHTS[reading.name] * reading.evidence for reading in guards.readings())  # type: ignore[index]  # of ours
    assert one < 1
    assert guards.evidence == pytest.approx(total * (1 - RESERVE * PLAN.alpha) / (1 - RESERVE))


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_each_guard_alone_raises_the_alarm(name: str) -> None:
    guards = _guards(answers=100)
    for _ in range(30):
        _ask(guards, failed=name == "errors", violated=name == "violations", ms=1000.0 if name == "latency" else 100.0)
        guards.feedback(name != "feedback")
    assert guards.evidence >= 100
    worst = max(guards.readings(), key=lambda reading: reading.evidence)
    assert worst.name == name
    assert worst.bad == worst.events > 0


def test_a_failed_request_is_a_failure_and_nothing_else() -> None:
    guards = _guards(answers=100)
    _ask(guards, 3, failed=True, violated=True, ms=9999.0)
    assert [(reading.events, reading.bad) for reading in guards.readings()] == [(3, 3), (0, 0), (0, 0), (0, 0)]


def test_what_is_not_known_says_nothing() -> None:
    guards = _guards(answers=100)
    guards.candidate(failed=False, violated=None, duration_ms=None)
    assert [reading.events for reading in guards.readings()] == [1, 0, 0, 0]


def test_nothing_is_slow_before_the_incumbent_has_answered_often_enough() -> None:
    guards = _guards(answers=72)
    _ask(guards, 20, ms=60_000.0)
    assert _reading(guards, "latency").events == 0
    guards.incumbent(100.0)
    _ask(guards, 20, ms=60_000.0)
    latency = _reading(guards, "latency")
    assert latency.bad == latency.events == 5
    assert latency.note == "slower than 300 ms, 3 × the incumbent's slowest of 73"
    assert guards.evidence >= 100


def test_a_machine_that_slows_down_for_both_is_not_the_candidates_fault() -> None:
    guards = _guards(answers=500)
    for request in range(2000):
        slower = 1.0 + request / 50  # forty times slower in the end
        guards.incumbent(100.0 * slower)
        _ask(guards, ms=100.0 * slower)
    assert guards.evidence < 2


def test_an_alarm_stays_as_it_was_raised_until_the_promotion() -> None:
    guards = _guards()
    _ask(guards, 4, failed=True)
    raised, readings = guards.evidence, guards.readings()
    assert raised >= 100
    _ask(guards, 500)
    assert (guards.evidence, guards.readings()) == (raised, readings)
    guards.promoted()
    assert guards.evidence == 0.0
    assert _reading(guards, "errors").events == 0


def test_after_the_promotion_each_guard_is_a_drift_detector() -> None:
    guards = _guards(answers=500)
    _ask(guards, 500)
    guards.promoted()
    _ask(guards, 5000)
    assert guards.evidence < 100
    _ask(guards, 10, failed=True)
    assert guards.evidence >= PLAN.drift_requests
    assert _reading(guards, "errors").bad == 5


def test_the_former_incumbent_says_nothing_after_the_promotion() -> None:
    guards = _guards(answers=500)
    guards.promoted()
    before = _reading(guards, "latency").note
    for _ in range(600):
        guards.incumbent(9000.0)
    assert _reading(guards, "latency").note == before


def test_the_sum_is_a_fair_game_even_where_one_thing_makes_all_four_bad() -> None:
    """At the tolerated rates, with failures, broken contracts and dislikes that come together.

    An alarm keeps what it was raised at: stopping there is one of the rules that the promise is about.
    """
    plan = Plan(
        steps=(), tolerated_failures=0.1, tolerated_violations=0.1, tolerated_dislikes=0.1, alpha=0.01, bake_s=0
    )
    total = 0.0
    for events in itertools.product((False, True), repeat=8):
        guards = Guards(plan)
        for bad in events:
            guards.feedback(not bad)
            guards.candidate(failed=False, violated=bad, duration_ms=None)
        total += math.prod(0.1 if bad else 0.9 for bad in events) * guards.evidence
    assert total <= 1.0


def test_a_failure_rate_of_twice_the_tolerated_is_found_a_little_later_than_by_one_guard_alone() -> None:
    together: list[int] = []
    alone: list[int] = []
    for seed in range(40):
        rng, guards, single = random.Random(seed), _guards(), BadEvents(0.03)
        found = [0, 0]
        for request in range(1, 3001):
            failed = rng.random() < 0.1
            guards.candidate(failed=failed, violated=False, duration_ms=100.0)
            single.update(failed)
            found[0] = found[0] or (request if guards.evidence >= 100 else 0)
            found[1] = found[1] or (request if single.evidence >= 100 else 0)
            if all(found):
                break
        together.append(found[0])
        alone.append(found[1])
    assert sorted(alone)[20] <= sorted(together)[20] <= 2 * sorted(alone)[20]


def test_an_event_costs_some_microseconds() -> None:
    guards, started = _guards(answers=500), time.process_time()
    for _ in range(2000):
        guards.incumbent(100.0)
        _ask(guards)
    assert (time.process_time() - started) / 2000 < 1e-3
