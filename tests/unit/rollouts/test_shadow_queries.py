"""Pairs that wait for their scores, and what is made of these, on both databases."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert
from tests.support import stores
from tests.support.exchanges import exchange

from changeover.rollouts.decide import Plan, Rollout
from changeover.rollouts.queries import add_rollout
from changeover.rollouts.shadow_queries import (
    ShadowScore,
    add_shadow_scores,
    differences_of,
    scorer_key,
    shadow_scores_of,
    unscored_pairs,
)
from changeover.store.engine import Store
from changeover.store.schema import bundles, variants
from changeover.tasks.observed import newest_seq
from changeover.tasks.queries import add_exchanges

NOW = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)


@pytest.fixture
def store(store_url: str) -> Generator[Store]:
    made = stores.made(store_url)
    yield made
    made.close()


@pytest.fixture
def rollout(store: Store) -> Rollout:
    with store.write() as connection:
        connection.execute(insert(bundles).values(digest="d", document={}, created_at=NOW))
        for id in ("var_1", "var_2"):
            row = {"id": id, "task": "echo", "deployment": id, "bundle": "d", "created_at": NOW}
            connection.execute(insert(variants).values(row))
        return add_rollout(
            connection,
            Rollout(
                id=0,
                task="echo",
                incumbent="var_1",
                candidate="var_2",
                comparison=None,
                plan=Plan(steps=(), tolerated_failures=0.1, alpha=0.01, bake_s=0),
                state="shadow",
                step=0,
                step_started_at=NOW,
                actor="test",
                reason="test",
                created_at=NOW,
            ),
        )


def copied(store: Store, number: int, *, original: dict[str, Any] | None = None, **fields: Any) -> str:
    """A request with its copy; gives the copy's id."""
    kept = {"request": "{}", "response": "{}", "started_at": NOW + timedelta(seconds=number)}
    id = f"req_copy{number}"
    copy = {"variant": "var_2", "side": "shadow", "internal": True, "shadow_of": f"req_{number}", **kept, **fields}
    with store.append() as connection:
        add_exchanges(connection, [exchange(f"req_{number}", **{**kept, **(original or {})}), exchange(id, **copy)])
    return id


def waiting(store: Store, rollout: Rollout, after: int = 0, limit: int = 10) -> list[str]:
    with store.read() as connection:
        pairs = unscored_pairs(connection, rollout, after, limit)
    assert all(copy.shadow_of == original.id for original, copy in pairs)
    return [copy.id for _, copy in pairs]


def add(store: Store, rollout: Rollout, id: str, one: float | None, other: float | None, **fields: Any) -> None:
    score = {"scorer": scorer_key(0, "a" * 64), "name": "shape", "error": None, "at": NOW, **fields}
    with store.write() as connection:
        add_shadow_scores(
            connection,
            [ShadowScore(exchange=id, rollout=rollout.id, incumbent_score=one, candidate_score=other, **score)],
        )


def test_only_pairs_with_two_answers_that_are_kept_wait_for_scores(store: Store, rollout: Rollout) -> None:
    good = copied(store, 1)
    copied(store, 2, status=502, response=None)
    copied(store, 3, original={"request": None, "response": None})
    copied(store, 4, variant="var_3")
    copied(store, 5, task="other")
    copied(store, -1)
    later = copied(store, 6)
    assert waiting(store, rollout) == [good, later]
    assert waiting(store, rollout, limit=1) == [good]
    with store.read() as connection:
        assert waiting(store, rollout, after=newest_seq(connection)) == []


def test_a_pair_that_has_any_score_waits_no_more(store: Store, rollout: Rollout) -> None:
    first, second = copied(store, 1), copied(store, 2)
    add(store, rollout, first, None, None, error="no verdict")
    assert waiting(store, rollout) == [second]


def test_differences_are_of_the_first_scorer_and_only_grow_at_their_end(store: Store, rollout: Rollout) -> None:
    add(store, rollout, "req_b", 0.5, 1.0)
    add(store, rollout, "req_b", 0.0, 1.0, scorer=scorer_key(1, "b" * 64))
    add(store, rollout, "req_c", None, None, error="no verdict")
    add(store, rollout, "req_a", 1.0, 0.25, at=NOW + timedelta(seconds=1))
    with store.read() as connection:
        known = shadow_scores_of(connection, rollout.id)
    assert differences_of(known) == [0.5, -0.75]
    add(store, rollout, "req_b", 0.0, 0.0)  # somebody else had scored it too
    add(store, rollout, "req_0", 0.0, 0.5, at=NOW - timedelta(hours=1))  # the clock went back
    with store.read() as connection:
        later = shadow_scores_of(connection, rollout.id, known[-1].at)
        assert shadow_scores_of(connection, rollout.id) == [*known, *later]
    assert differences_of(later) == [0.5], "who knows the others reads it alone"
