"""When a worker counts as hung: by what it says, and by the time in which its parent could have heard it."""

from changeover.app.worker import HEARD_S
from changeover.app.workers import FIRST_WORD_S, MOST_STEP_S, SILENT_S, TELL_S, Silence


def looks(silence: Silence, for_s: float, every_s: float = TELL_S) -> list[bool]:
    """What each look says, over a time in which nothing is heard."""
    return [silence.too_long(every_s) for _ in range(round(for_s / every_s))]


def spoke() -> Silence:
    silence = Silence()
    silence.end()
    return silence


def test_a_worker_that_says_something_now_and_then_never_hangs() -> None:
    silence = spoke()
    for late_s in (HEARD_S, 5.0, SILENT_S - 1.0) * 20:
        assert not any(looks(silence, late_s))
        silence.end()


def test_a_worker_that_says_nothing_hangs_after_the_bound_and_not_before() -> None:
    silence = spoke()
    assert not any(looks(silence, SILENT_S - 2 * TELL_S))
    assert any(looks(silence, 4 * TELL_S))


def test_the_first_word_may_take_longer() -> None:
    silence = Silence()
    assert not any(looks(silence, FIRST_WORD_S - 1))
    assert any(looks(silence, 2))
    silence = Silence()
    assert not any(looks(silence, SILENT_S + 1))
    silence.end()
    assert any(looks(silence, SILENT_S + 1)), "from then on the shorter bound holds"


def test_a_parent_that_slept_does_not_take_its_own_silence_for_theirs() -> None:
    silence = spoke()
    looks(silence, HEARD_S)
    assert not silence.too_long(24 * 3600.0)
    assert not any(looks(silence, SILENT_S - MOST_STEP_S - 1)), "there is time to read what they said meanwhile"
    assert any(looks(silence, 2)), "and one that really hangs is still found"


def test_a_parent_that_is_slow_itself_still_finds_one_that_hangs() -> None:
    assert any(looks(spoke(), 10 * SILENT_S, every_s=3 * MOST_STEP_S))
