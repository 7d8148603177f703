"""The actions on a real store: what each writes, and what it refuses."""

from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.support import stores

from changeover.core.errors import GateError
from changeover.rollouts.actions import (
    By,
    abort,
    advance,
    evaluated,
    finish,
    promote,
    propose,
    refuse,
    resume,
    roll_back,
    start,
)
from changeover.rollouts.begin import begin, follow_engine
from changeover.rollouts.decide import Evidence, Plan, Promote, Rollout, Step, decide
from changeover.rollouts.queries import active_rollouts, find_rollout, latest_rollout, rollout_history
from changeover.serving.bundles import Bundle
from changeover.serving.parts import EnginePart
from changeover.serving.queries import keep_variant
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.tasks.exchanges import Outcomes
from changeover.tasks.queries import current_route, route_history
from changeover.tasks.routes import Route

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
    made = stores.made(store_url)
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


def follow(store: Store, replaced: Variant, new: Variant, seconds: int = 1) -> Route:
    with store.write() as connection:
        [revised] = follow_engine(connection, {replaced.id: new}, {"code": PLAN}, by(seconds, "engine version 1 → 2"))
    return revised


def newest(store: Store) -> Rollout:
    with store.read() as connection:
        found = latest_rollout(connection, "code")
    assert found is not None
    return found


def test_another_engine_under_a_variant_has_the_route_follow_and_is_held_until_it_is_measured(store: Store) -> None:
    upgraded = variant("old", version="2")
    with store.write() as connection:
        rollout = start(connection, NEW, PLAN, "cmp_1", by())
    revised = follow(store, OLD, upgraded)
    with store.read() as connection:
        ended = find_rollout(connection, rollout.id)
    assert (revised.incumbent, revised.candidate, revised.comparison) == (upgraded.id, None, None)
    assert ended is not None
    assert ended.state == "aborted"
    opened = newest(store)
    assert (opened.state, opened.incumbent, opened.candidate) == ("evaluation", OLD.id, upgraded.id)
    assert opened.plan.steps == ()
    assert opened.hold is not None
    assert opened.hold.kind == "held"
    assert "changeover resume code" in opened.hold.reason


def test_a_recheck_that_passes_confirms_the_route_and_says_on_what_evidence(store: Store) -> None:
    upgraded = variant("old", version="2")
    follow(store, OLD, upgraded)
    with store.write() as connection:
        going_on = resume(connection, newest(store), by(2))
        evaluated(connection, going_on, "cmp_9", "pass", by(3))
    measured = newest(store)
    decision = decide(measured, replace(NOTHING, verdict="pass"), NOW)
    assert isinstance(decision, Promote), "there is no step to take"
    with store.write() as connection:
        confirmed = promote(connection, measured, NOTHING, by(4, decision.reason))
    assert (confirmed.action, confirmed.incumbent, confirmed.comparison) == ("engine", upgraded.id, "cmp_9")
    assert newest(store).state == "done"
    with store.read() as connection:
        told = [event.action for event in rollout_history(connection, measured.id)]
    assert told == ["start", "hold", "resume", "evaluate", "confirm"]


def test_a_recheck_that_fails_says_that_what_is_worse_answers_on(store: Store) -> None:
    with store.write() as connection:
        follow_engine(connection, {OLD.id: variant("old", version="2")}, {"code": PLAN}, by())
        held = latest_rollout(connection, "code")
        assert held is not None
        refuse(connection, resume(connection, held, by()), NOTHING, by(reason="the evaluation failed"))
        told = rollout_history(connection, held.id)[-1]
        route = current_route(connection, "code")
    assert route is not None
    assert route.incumbent == held.candidate
    assert told.reason.startswith("the evaluation failed; it answers on: switch `code` to another")


def test_an_engine_that_changes_twice_is_rechecked_against_the_one_that_was_measured(store: Store) -> None:
    second, third = variant("old", version="2"), variant("old", version="3")
    follow(store, OLD, second)
    first = newest(store)
    with store.write() as connection:
        follow_engine(connection, {OLD.id: third, second.id: third}, {"code": PLAN}, by(2))
        ended = find_rollout(connection, first.id)
    assert ended is not None
    assert ended.state == "aborted"
    assert (newest(store).incumbent, newest(store).candidate) == (OLD.id, third.id)


def test_an_engine_that_is_again_as_it_was_measured_needs_no_recheck(store: Store) -> None:
    second = variant("old", version="2")
    follow(store, OLD, second)
    with store.write() as connection:
        [route] = follow_engine(connection, {OLD.id: OLD, second.id: OLD}, {"code": PLAN}, by(2))
    assert route.incumbent == OLD.id
    assert newest(store).state == "aborted"
    with store.write() as connection:
        assert follow_engine(connection, {OLD.id: OLD, second.id: OLD}, {"code": PLAN}, by(3)) == []


def test_to_take_back_who_is_rechecked_is_to_bring_back_who_answered_before(store: Store) -> None:
    with store.write() as connection:
        rollout = start(connection, NEW, PLAN, None, by())
        promote(connection, rollout, None, by(1))
    follow(store, NEW, variant("new", version="2"), 2)
    held = newest(store)
    with store.write() as connection:
        back = roll_back(connection, "code", by(3))
        ended = find_rollout(connection, held.id)
    assert (back.incumbent, back.action) == (OLD.id, "rollback")
    assert ended is not None
    assert ended.state == "rolled_back"


def test_a_recheck_with_nobody_to_bring_back_ends_and_changes_no_route(store: Store) -> None:
    follow(store, OLD, variant("old", version="2"))
    with store.write() as connection:
        before = current_route(connection, "code")
        assert roll_back(connection, "code", by(2)) == before
    assert newest(store).state == "rolled_back"


def test_a_candidate_whose_engine_changes_is_not_measured_as_what_it_was(store: Store) -> None:
    with store.write() as connection:
        proposed = propose(connection, NEW, PLAN, by())
        revised = follow_engine(connection, {NEW.id: variant("new", version="2")}, {"code": PLAN}, by(1))
        ended = find_rollout(connection, proposed.id)
    assert revised == [], "nobody who answers has changed"
    assert ended is not None
    assert ended.state == "aborted"


def test_the_same_variant_is_written_once_and_a_changed_prompt_is_another(store: Store) -> None:
    assert variant("old").id == OLD.id
    assert variant("old", prompt="Be long.").id != OLD.id
    with store.write() as connection:
        keep_variant(connection, OLD, NOW)
        keep_variant(connection, OLD, NOW)
