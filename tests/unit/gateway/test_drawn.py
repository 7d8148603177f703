"""Which requests are drawn for a shadow."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

from changeover.gateway.choose import choose, position
from changeover.gateway.shadow import drawn
from changeover.tasks.routes import Route

ROUTE = Route(
    revision=1,
    task="echo",
    incumbent="var_1",
    candidate="var_2",
    salt="salt_1",
    action="shadow",
    actor="test",
    reason="test",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
REQUESTS = [f"req_{number:010d}-00000000" for number in range(4_000)]


def drawn_at(share: float, route: Route = ROUTE) -> set[str]:
    return {id for id in REQUESTS if drawn(replace(route, shadow_share=share), id)}


def test_a_larger_share_holds_the_smaller_one() -> None:
    shares = [0, 0.01, 0.2, 0.5, 0.9, 1]
    samples = [drawn_at(share) for share in shares]
    for smaller, larger in pairwise(samples):
        assert smaller < larger
    assert samples[0] == set()
    assert samples[-1] == set(REQUESTS)


def test_the_share_is_met() -> None:
    # Four standard deviations of a binomial: fails for one salt of 16,000, and the salt is fixed.
    assert abs(len(drawn_at(0.2)) - 800) < 4 * (4_000 * 0.2 * 0.8) ** 0.5


def test_each_rollout_draws_anew_and_apart_from_its_canary() -> None:
    other = replace(ROUTE, salt="salt_2")
    assert drawn_at(0.5) != drawn_at(0.5, other)
    in_canary = {id for id in REQUESTS if position(ROUTE.task, ROUTE.salt, id) < 0.5}
    both = len(drawn_at(0.5) & in_canary)
    assert abs(both - 1_000) < 4 * (4_000 * 0.25 * 0.75) ** 0.5


def test_a_candidate_in_its_shadow_answers_nobody() -> None:
    assert {choose(replace(ROUTE, shadow_share=1.0), id) for id in REQUESTS[:100]} == {"incumbent"}
