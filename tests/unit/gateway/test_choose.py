from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from changeover.gateway.choose import choose, order, position
from changeover.tasks.routes import Route

ROUTE = Route(
    revision=7,
    task="code",
    incumbent="incumbent",
    candidate="candidate",
    former="former",
    candidate_weight=0.25,
    salt="salt_1",
    action="canary",
    actor="ana",
    reason="test",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_raising_the_weight_only_moves_callers_to_the_candidate(sticky: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    before = choose(replace(ROUTE, candidate_weight=low), sticky)
    after = choose(replace(ROUTE, candidate_weight=high, revision=8), sticky)
    assert (before, after) != ("candidate", "incumbent")


def test_the_candidate_gets_its_share_of_callers() -> None:
    sides = [choose(ROUTE, f"user-{number}") for number in range(20_000)]
    assert abs(sides.count("candidate") / 20_000 - 0.25) < 0.015


def test_another_rollout_meets_other_callers_first() -> None:
    first = {n for n in range(2000) if position("code", "salt_1", f"user-{n}") < 0.05}
    second = {n for n in range(2000) if position("code", "salt_2", f"user-{n}") < 0.05}
    assert len(first & second) < 0.3 * len(first)


def test_without_a_candidate_the_incumbent_answers() -> None:
    assert choose(replace(ROUTE, candidate=None), "anybody") == "incumbent"
    assert choose(replace(ROUTE, candidate_weight=0.0), "anybody") == "incumbent"


def test_the_chosen_side_is_asked_first_and_nobody_twice() -> None:
    assert order(ROUTE, "candidate") == (
        ("candidate", "candidate"),
        ("incumbent", "incumbent"),
        ("former", "former"),
    )
    same = replace(ROUTE, candidate=None, former="incumbent")
    assert order(same, "incumbent") == (("incumbent", "incumbent"),)
