"""Steering by hand on a real store: what is refused, what is written down, and that gates stand for everybody."""

from collections.abc import Generator
from datetime import UTC, datetime, timedelta

import pytest

from changeover.app import steering
from changeover.core.errors import GateError
from changeover.rollouts import actions
from changeover.rollouts.actions import By
from changeover.rollouts.begin import begin
from changeover.rollouts.decide import Plan, Step
from changeover.rollouts.queries import latest_rollout, rollout_history
from changeover.serving.bundles import Bundle
from changeover.serving.parts import EnginePart
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.tasks.queries import current_route

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(
    steps=(Step(canary=0.5, requests=1, hold_s=0),), tolerated_failures=0.03, alpha=0.01, bake_s=60, tier="high"
)


def by(actor: str = "ana", reason: str = "because") -> By:
    return By(actor=actor, reason=reason, now=NOW)


def variant(deployment: str) -> Variant:
    engine = EnginePart(backend="echo", engine="echo", engine_version="1", model=deployment)
    return Variant.of("code", deployment, Bundle(engine=engine, prompt_name="p", prompt="Be brief.", parameters={}))


OLD, NEW = variant("old"), variant("new")


@pytest.fixture
def store(store_url: str) -> Generator[Store]:
    made = Store.connect(store_url)
    migrate(made)
    with made.write() as connection:
        begin(connection, OLD, by())
    yield made
    made.close()


@pytest.mark.parametrize(
    "act",
    [steering.pause, steering.resume, steering.approve, steering.promote, steering.abort],
    ids=lambda f: f.__name__,
)
def test_without_a_rollout_under_way_there_is_nothing_to_steer(store: Store, act: object) -> None:
    assert callable(act)
    with pytest.raises(GateError, match="no rollout under way"):
        act(store, "code", by())
    with pytest.raises(GateError, match="no former incumbent"):
        steering.rollback(store, "code", by())


def test_a_proposed_rollout_waits_and_goes_on_and_the_history_names_who_said_so(store: Store) -> None:
    proposed = steering.propose(store, NEW, PLAN, by())
    assert proposed.state == "evaluation"
    assert steering.pause(store, "code", by("ben", "lunch")).hold is not None
    with pytest.raises(GateError, match="paused already: lunch"):
        steering.pause(store, "code", by("cleo"))
    assert steering.resume(store, "code", by("ben")).hold is None
    with pytest.raises(GateError, match="goes on by itself"):
        steering.resume(store, "code", by("ben"))
    with store.read() as connection:
        told = [(event.action, event.actor) for event in rollout_history(connection, proposed.id)]
    assert told == [("start", "ana"), ("pause", "ben"), ("resume", "ben")]


def test_who_leaves_out_the_steps_does_not_leave_out_the_evaluation(store: Store) -> None:
    steering.propose(store, NEW, PLAN, by())
    with pytest.raises(GateError, match="has no evaluation yet"):
        steering.promote(store, "code", by())
    made = steering.override(store, "code", "evaluation", "ben", NOW + timedelta(hours=1), by())
    assert made.override is not None
    assert steering.promote(store, "code", by()).incumbent == NEW.id


def test_who_leaves_out_the_steps_does_not_leave_out_approvals(store: Store) -> None:
    agreed = Plan(steps=(), tolerated_failures=0.03, alpha=0.01, bake_s=60, approvals=1, approvers=("ben", "cleo"))
    steering.propose(store, NEW, agreed, by())
    steering.override(store, "code", "evaluation", "ben", NOW + timedelta(hours=1), by())
    with pytest.raises(GateError, match="needs 1 approval of ben, cleo"):
        steering.promote(store, "code", by())
    assert steering.approve(store, "code", by("cleo")).state == "evaluation"
    assert steering.promote(store, "code", by()).incumbent == NEW.id


def test_an_override_whose_time_is_over_lets_nothing_pass(store: Store) -> None:
    steering.propose(store, NEW, PLAN, by())
    steering.override(store, "code", "evaluation", "ben", NOW + timedelta(hours=1), by())
    with pytest.raises(GateError, match="has no evaluation yet"):
        steering.promote(store, "code", By(actor="ana", reason="late", now=NOW + timedelta(hours=2)))


def test_a_canary_is_promoted_aborted_and_taken_back_by_hand(store: Store) -> None:
    def canary() -> None:
        proposed = steering.propose(store, NEW, PLAN, by())
        with store.write() as connection:
            actions.enter(connection, proposed, 0, {}, by())

    canary()
    assert steering.abort(store, "code", by()).candidate is None
    canary()
    assert steering.promote(store, "code", by()).incumbent == NEW.id
    assert steering.rollback(store, "code", by()).incumbent == OLD.id
    with store.read() as connection:
        route, rollout = current_route(connection, "code"), latest_rollout(connection, "code")
    assert route is not None
    assert route.incumbent == OLD.id
    assert rollout is not None
    assert rollout.state == "rolled_back"
