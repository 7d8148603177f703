"""What the desk of tools owes the store."""

from changeover.tools.desk import LOOK_S, MOST_LOOKS_A_S, between_looks_s


def test_many_who_watch_their_jobs_look_more_rarely_each() -> None:
    assert between_looks_s(1) == LOOK_S
    for watchers in (10, 200, 5_000):
        assert watchers / between_looks_s(watchers) <= MOST_LOOKS_A_S
