import pytest

from changeover.gateway.breaker import Breakers


class Engine:
    """Stands for one start of an engine."""


class HandClock:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> None:
        raise NotImplementedError

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def breakers(clock: HandClock) -> Breakers:
    return Breakers(failures=3, open_s=5, clock=clock)  # pyright: ignore[reportArgumentType]


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not(clock: HandClock) -> None:
    all_, engine = breakers(clock), Engine()
    for _ in range(5):
        all_.failed(engine)
        all_.failed(engine)
        all_.succeeded(engine)
    assert all_.closed_in(engine) == 0
    for _ in range(3):
        all_.failed(engine)
    assert all_.closed_in(engine) == 5
    assert all_.is_open(engine)


def test_after_its_time_one_request_tries_and_the_others_wait_for_what_it_finds(clock: HandClock) -> None:
    all_, engine = breakers(clock), Engine()
    for _ in range(3):
        all_.failed(engine)
    clock.at = 5.0
    assert all_.closed_in(engine) == 0
    assert all_.closed_in(engine) == 5, "one is trying"
    all_.failed(engine)
    clock.at = 9.0
    assert all_.closed_in(engine) == 1
    clock.at = 10.0
    assert all_.closed_in(engine) == 0
    all_.succeeded(engine)
    assert all_.closed_in(engine) == 0
    assert not all_.is_open(engine)


def test_one_that_tried_and_never_came_back_does_not_keep_it_open_for_ever(clock: HandClock) -> None:
    all_, engine = breakers(clock), Engine()
    for _ in range(3):
        all_.failed(engine)
    clock.at = 5.0
    assert all_.closed_in(engine) == 0
    clock.at = 10.0
    assert all_.closed_in(engine) == 0


def test_an_engine_that_was_started_again_begins_with_a_clean_record(clock: HandClock) -> None:
    all_, engine = breakers(clock), Engine()
    for _ in range(3):
        all_.failed(engine)
    assert all_.closed_in(Engine()) == 0
