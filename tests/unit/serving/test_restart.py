from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from changeover.serving.restart import (
    HEALTHY_S,
    LONGEST_DELAY_S,
    REMEMBERED,
    Failure,
    GiveUp,
    Restart,
    next_restart,
    remember,
)


def failures(*ready: float | None, every_s: float = 1.0) -> tuple[Failure, ...]:
    """Failures so many seconds apart, each of an engine that had been ready for so long (None: never)."""
    return tuple(
        Failure(at=100.0 + number * every_s, ready_s=ready_s, reason=f"end {number}")
        for number, ready_s in enumerate(ready)
    )


@pytest.mark.parametrize(
    ("ready", "delay_s"),
    [
        ((None,), 0.2),
        ((None, None), 0.4),
        ((None, None, None), 0.8),
        ((None, None, None, None), 1.6),
        ((3.0,), 0.2),
        ((3.0, 3.0, 3.0, 3.0, 3.0, 3.0), 6.4),
        ((3.0, None, None, None, None, None), 6.4),
        ((3.0,) * 7, 10.0),
        ((3.0,) * 2000, 10.0),
        ((3.0, 3.0, 3.0, HEALTHY_S), 0.2),
        ((3.0, 3.0, HEALTHY_S, 3.0), 0.4),
        ((3.0, 3.0, HEALTHY_S - 0.1), 0.8),
    ],
)
def test_the_delay_doubles_to_a_limit_and_starts_over_after_a_healthy_minute(
    ready: tuple[float | None, ...], delay_s: float
) -> None:
    history = failures(*ready)

    decision = next_restart(history, now=history[-1].at)

    assert isinstance(decision, Restart)
    assert decision.delay_s == pytest.approx(delay_s)


def test_five_starts_that_all_failed_end_the_attempts_and_say_why() -> None:
    history = failures(None, None, None, None, None)

    decision = next_restart(history, now=104.0)

    assert decision == GiveUp("gave up: 5 starts failed within 4 s and none became ready; end 4")


def test_slow_starts_are_given_up_too() -> None:
    assert isinstance(next_restart(failures(*[None] * 5, every_s=90.0), now=500.0), GiveUp)


def test_an_engine_that_once_was_ready_is_never_given_up() -> None:
    history: tuple[Failure, ...] = ()
    for failure in failures(3.0, *[None] * 500):
        history = remember(history, failure)
        assert isinstance(next_restart(history, now=failure.at), Restart)


def test_time_that_has_passed_since_the_failure_is_taken_off() -> None:
    history = failures(None)

    assert next_restart(history, now=100.15) == Restart(pytest.approx(0.05))
    assert next_restart(history, now=107.0) == Restart(0.0)


def test_a_restart_without_a_failure_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="follows a failure"):
        next_restart((), now=0.0)


def test_a_healthy_minute_makes_what_came_before_irrelevant() -> None:
    history = failures(None, None, 3.0)
    recovered = Failure(at=300.0, ready_s=HEALTHY_S, reason="killed")

    assert remember(history, recovered) == (recovered,)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.none() | st.floats(0, 200), min_size=1, max_size=60))
def test_whatever_happened_the_delay_is_bounded_and_so_is_what_is_remembered(ready: list[float | None]) -> None:
    history: tuple[Failure, ...] = ()
    for failure in failures(*ready):
        history = remember(history, failure)
        decision = next_restart(history, now=failure.at)

        assert len(history) <= REMEMBERED
        assert history[-1] == failure
        assert isinstance(decision, GiveUp) or 0.2 <= decision.delay_s <= LONGEST_DELAY_S
