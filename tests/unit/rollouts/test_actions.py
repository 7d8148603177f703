"""The actions on a real store: what each writes, and what it refuses."""

from collections.abc import Generator
from datetime import UTC, datetime, timedelta

import pytest

from changeover.core.errors import GateError
from changeover.rollouts.actions import By, abort, advance, finish, promote, roll_back, start
from changeover.rollouts.begin import begin, follow_engine
from changeover.rollouts.decide import Evidence, Plan, Step
from changeover.rollouts.queries import active_rollouts, find_rollout, rollout_history
from changeover.serving.bundles import Bundle
from changeover.serving.parts import EnginePart
from changeover.serving.queries import keep_variant
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.tasks.exchanges import Outcomes
from changeover.tasks.queries import current_route, route_history

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(
    steps=(Step(canary=0.05, requests=1, hold_s=0), Step(canary=0.5, requests=1, hold_s=0)),
    tolerated_failures=0.03,
    alpha=0.01,
    bake_s=60,
)
NOTHING = Evidence(whole=Outcomes(asked=0, failed=0), step=Outcomes(asked=0, failed=0), guard=1.0, candidate_ready=True)


def by(seconds: int = 0, reason: str = "test") -> By:
    return By(actor="ana", reason=reason, now=NOW + timedelta(seconds=seconds))


def variant(deployment: str, *, version: str = "1", prompt: str = "Be brief.") -> Variant:
    engine = EnginePart(
        backend="echo",
        engine="echo",
        engine_version=version,
        model=deployment,
        weights_digest=None,
        quantisation=None,
        flags={},
    )
    return Variant.of("code", deployment, Bundle(engine=engine, prompt_name="p", prompt=prompt, parameters={}))


OLD, NEW = variant("old"), variant("new")


@pytest.fixture
def store(store_url: str) -> Generator[Store]:
    made = Store.connect(store_url)
    migrate(made)
    with made.write() as connection:
        begin(connection, OLD, by())
        keep_variant(connection, NEW, NOW)
    yield made
    made.close()


def test_a_switch_is_a_chain_of_immutable_revisions(store: Store) -> None:
    with store.write() as connection:
        rollout = start(connection, NEW, PLAN, "cmp_1", by())
        advance(connection, rollout, 1, NOTHING, by(1))
    with store.write() as connection:
        moved = find_rollout(connection, rollout.id)
        assert moved is not None
        promote(connection, moved, NOTHING, by(2))
    with store.read() as connection:
        chain = route_history(connection, "code")
        events = [event.action for event in rollout_history(connection, rollout.id)]
    assert [(route.action, route.incumbent, route.candidate_weight) for route in reversed(chain)] == [
        ("start", OLD.id, 0.0),
        ("canary", OLD.id, 0.05),
        ("canary", OLD.id, 0.5),
        ("promote", NEW.id, 0.0),
    ]
    assert chain[0].former == OLD.id
    assert chain[1].salt == chain[2].salt != "", "the same callers stay with the candidate"
    assert {route.comparison for route in chain[:3]} == {"cmp_1"}
    assert events == ["start", "advance", "promote"]


def test_a_rollback_after_promotion_brings_the_former_incumbent_back_whole(store: Store) -> None:
    with store.write() as connection:
        rollout = start(connection, NEW, PLAN, "cmp_1", by())
        promote(connection, rollout, None, by(1))
        revised = roll_back(connection, "code", by(2, "complaints"))
        ended = find_rollout(connection, rollout.id)
    assert revised.incumbent == OLD.id
    assert revised.former is None
    assert revised.reason == "complaints"
    assert ended is not None
    assert ended.state == "rolled_back"
    with store.write() as connection, pytest.raises(GateError, match="no former incumbent"):
        roll_back(connection, "code", by(3))


def test_a_rollback_or_an_abort_in_the_canary_leaves_the_incumbent(store: Store) -> None:
    for action, state in ((abort, "aborted"), (None, "rolled_back")):
        with store.write() as connection:
            rollout = start(connection, NEW, PLAN, None, by())
            revised = roll_back(connection, "code", by()) if action is None else action(connection, rollout, by())
            ended = find_rollout(connection, rollout.id)
        assert (revised.incumbent, revised.candidate, revised.candidate_weight) == (OLD.id, None, 0.0)
        assert ended is not None
        assert ended.state == state
        assert ended.ended_at is not None


def test_two_rollouts_of_one_task_and_a_switch_to_oneself_are_refused(store: Store) -> None:
    with store.write() as connection, pytest.raises(GateError, match="already answers"):
        start(connection, OLD, PLAN, None, by())
    with store.write() as connection:
        start(connection, NEW, PLAN, None, by())
    with store.write() as connection, pytest.raises(GateError, match="is under way"):
        start(connection, NEW, PLAN, None, by())


def test_who_comes_second_is_told_and_changes_nothing(store: Store) -> None:
    with store.write() as connection:
        rollout = start(connection, NEW, PLAN, None, by())
        abort(connection, rollout, by())
    for late in (
        lambda connection: promote(connection, rollout, None, by()),
        lambda connection: advance(connection, rollout, 1, NOTHING, by()),
        lambda connection: finish(connection, rollout, NOTHING, by()),
    ):
        with pytest.raises(GateError, match="nothing was changed"), store.write() as connection:
            late(connection)
    with store.read() as connection:
        route = current_route(connection, "code")
        assert route is not None
        assert route.action == "abort"
        assert active_rollouts(connection) == []


def test_a_new_rollout_ends_the_bake_of_the_one_before(store: Store) -> None:
    with store.write() as connection:
        first = start(connection, NEW, PLAN, None, by())
        promote(connection, first, None, by(1))
        second = start(connection, OLD, PLAN, None, by(2))
        ended = find_rollout(connection, first.id)
        assert ended is not None
        assert ended.state == "done"
        assert [rollout.id for rollout in active_rollouts(connection)] == [second.id]


def test_another_engine_under_a_variant_is_a_revision_that_says_nobody_measured_it(store: Store) -> None:
    upgraded = variant("old", version="2")
    with store.write() as connection:
        rollout = start(connection, NEW, PLAN, "cmp_1", by())
        [revised] = follow_engine(connection, {OLD.id: upgraded}, by(1, "engine version 1 → 2; not measured"))
        ended = find_rollout(connection, rollout.id)
    assert (revised.incumbent, revised.candidate, revised.comparison) == (upgraded.id, None, None)
    assert "not measured" in revised.reason
    assert ended is not None
    assert ended.state == "aborted"


def test_the_same_variant_is_written_once_and_a_changed_prompt_is_another(store: Store) -> None:
    assert variant("old").id == OLD.id
    assert variant("old", prompt="Be long.").id != OLD.id
    with store.write() as connection:
        keep_variant(connection, OLD, NOW)
        keep_variant(connection, OLD, NOW)
