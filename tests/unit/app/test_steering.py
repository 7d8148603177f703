"""Steering by hand on a real store: what is refused, what is written down, and that gates stand for everybody."""

from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection
from tests.support import stores
from tests.support.exchanges import exchange

from changeover.app import steering
from changeover.app.steering import Seen
from changeover.core.clock import SystemClock
from changeover.core.errors import GateError
from changeover.evals.queries import Comparison, add_comparison, end_comparison
from changeover.rollouts import actions
from changeover.rollouts.actions import By
from changeover.rollouts.begin import begin
from changeover.rollouts.decide import Evidence, Plan, Step
from changeover.rollouts.loop import Controller
from changeover.rollouts.overrides import end_overrides
from changeover.rollouts.queries import find_rollout, latest_rollout, rollout_history
from changeover.serving.bundles import Bundle
from changeover.serving.parts import EnginePart
from changeover.serving.queries import add_deployment, keep_variant
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.tasks.exchanges import Outcomes
from changeover.tasks.queries import add_exchanges, current_route

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
    made = stores.made(store_url)
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


def test_no_override_lets_terms_pass_and_nobody_leaves_them_out_by_hand(store: Store) -> None:
    def against(connection: Connection, task: str, variant: str) -> str | None:
        return f"clause 5(c) keeps it from `{task}`" if variant == NEW.id else None

    steering.propose(store, NEW, PLAN, by())
    steering.override(store, "code", "evaluation", "ben", NOW + timedelta(hours=1), by())
    steering.pause(store, "code", by())
    for act in (steering.promote, steering.resume):
        with pytest.raises(GateError, match=r"stays where it is\. clause 5\(c\) keeps it from `code`"):
            act(store, "code", by(), against)
    with store.read() as connection:
        route = current_route(connection, "code")
    assert route is not None
    assert route.incumbent == OLD.id


def test_the_controller_puts_a_rollout_on_hold_that_terms_stand_in_the_way_of(store: Store) -> None:
    said = {"terms": "the licence text has changed"}
    with store.write() as connection:
        add_deployment(connection, name="new", backend="echo", model="new", options={}, engine={}, actor="a", now=NOW)
    controller = Controller(store, lambda _: True, SystemClock(), terms=lambda *_: said["terms"])
    steering.propose(store, NEW, PLAN, by())
    steering.override(store, "code", "evaluation", "ben", SystemClock().now() + timedelta(hours=1), by())
    controller.tick()
    with store.read() as connection:
        held = latest_rollout(connection, "code")
    assert held is not None
    assert held.hold is not None
    assert (held.state, held.hold.reason) == ("evaluation", "the licence text has changed")


def test_an_override_whose_time_is_over_lets_nothing_pass(store: Store) -> None:
    steering.propose(store, NEW, PLAN, by())
    steering.override(store, "code", "evaluation", "ben", NOW + timedelta(hours=1), by())
    with pytest.raises(GateError, match="has no evaluation yet"):
        steering.promote(store, "code", By(actor="ana", reason="late", now=NOW + timedelta(hours=2)))


def beyond_the_evaluation(store: Store, comparison: str | None = None) -> int:
    """A rollout in its canary by an override of an hour; gives its number."""
    proposed = steering.propose(store, NEW, PLAN, by())
    steering.override(store, "code", "evaluation", "ben", NOW + timedelta(hours=1), by())
    with store.write() as connection:
        actions.enter(connection, proposed, 0, {}, by())
        if comparison is not None:
            keep_comparison(connection, comparison)
    return proposed.id


def keep_comparison(connection: Connection, verdict: str, id: str = "cmp_1") -> None:
    kept = Comparison(
        id=id, task="code", incumbent=OLD.id, candidate=NEW.id, dataset="d", scorer="s", plan={}, actor="ana",
        started_at=NOW, pool=None, verdict=None, summary=None, ended_at=None,
    )  # fmt: skip
    add_comparison(connection, kept)
    end_comparison(connection, id, verdict=verdict, summary={"verdict": verdict}, now=NOW)


def late(hours: float = 2) -> By:
    return By(actor="ana", reason="late", now=NOW + timedelta(hours=hours))


class Later(SystemClock):
    """Two hours after the rollout began."""

    def now(self) -> datetime:
        return NOW + timedelta(hours=2)


def test_what_went_on_by_leave_stays_where_it_is_once_the_leave_is_over(store: Store) -> None:
    id = beyond_the_evaluation(store)
    for act in (steering.resume, steering.promote):
        with pytest.raises(GateError, match="The override of the evaluation has ended"):
            act(store, "code", late())
    # Leave to have no approval is none to have no evaluation.
    end_overrides(store, late())
    steering.override(store, "code", "approval", "ben", NOW + timedelta(days=1), late())
    with store.read() as connection:
        found = find_rollout(connection, id)
    assert found is not None
    assert found.hold is not None
    assert found.hold.kind == "held"
    with pytest.raises(GateError, match="has none that passed"):
        steering.promote(store, "code", late())
    steering.override(store, "code", "evaluation", "ben", NOW + timedelta(days=1), late())
    assert steering.promote(store, "code", late()).incumbent == NEW.id


def test_evidence_that_came_after_all_takes_the_place_of_a_leave_that_is_over(store: Store) -> None:
    beyond_the_evaluation(store, comparison="pass")
    assert steering.promote(store, "code", late()).incumbent == NEW.id


def test_a_controller_that_was_away_promotes_nothing_by_leave_that_ended_meanwhile(store: Store) -> None:
    beyond_the_evaluation(store)
    with store.read() as connection:
        route = current_route(connection, "code")
        assert route is not None
    with store.append() as connection:
        add_exchanges(
            connection,
            [exchange("req_1", task="code", variant=NEW.id, side="candidate", revision=route.revision, started_at=NOW)],
        )
    Controller(store, lambda _: True, Later()).tick()
    with store.read() as connection:
        route, rollout = current_route(connection, "code"), latest_rollout(connection, "code")
    assert route is not None
    assert rollout is not None
    assert (route.incumbent, rollout.state) == (OLD.id, "canary")
    assert rollout.hold is not None
    assert "its time is over" in rollout.hold.reason


def test_an_override_does_not_undo_a_pause(store: Store) -> None:
    steering.propose(store, NEW, PLAN, by())
    steering.pause(store, "code", by("ben", "quarter end"))
    for gate in ("approval", "evaluation"):
        made = steering.override(store, "code", gate, "ben", NOW + timedelta(hours=1), by())
        assert made.hold is not None
        assert made.hold.reason == "quarter end"


@pytest.mark.parametrize(("approver", "reason"), [(" ", "why"), ("b" * 81, "why"), ("ben", " ")])
def test_an_override_needs_a_name_that_the_history_can_hold_and_a_reason(
    store: Store, approver: str, reason: str
) -> None:
    steering.propose(store, NEW, PLAN, by())
    with pytest.raises(GateError, match="An override needs"):
        steering.override(store, "code", "evaluation", approver, NOW + timedelta(hours=1), by("ana", reason))


def test_evidence_that_passed_is_not_asked_for_again_after_a_pause(store: Store) -> None:
    agreed = replace(PLAN, steps=(), approvals=1)
    with store.write() as connection:
        keep_variant(connection, NEW, NOW)
        keep_comparison(connection, "pass")
        keep_comparison(connection, "inconclusive", "cmp_2")
        rollout = actions.start(connection, NEW, agreed, "cmp_1", by())
    steering.pause(store, "code", by())
    assert steering.resume(store, "code", by()).id == rollout.id
    with store.write() as connection:
        found = find_rollout(connection, rollout.id)
        assert found is not None
        assert found.comparison == "cmp_1"
        actions.evaluated(connection, found, "cmp_2", "inconclusive", by())
    steering.pause(store, "code", by())
    steering.resume(store, "code", by())
    with store.read() as connection:
        found = find_rollout(connection, rollout.id)
    assert found is not None
    assert found.comparison is None, "what decided nothing is measured anew"


def test_a_pause_between_a_decision_and_its_deed_is_not_lost(store: Store) -> None:
    proposed = steering.propose(store, NEW, PLAN, by())
    steering.pause(store, "code", by("ben", "quarter end"))
    nothing = Evidence(
        whole=Outcomes(asked=0, failed=0), step=Outcomes(asked=0, failed=0), guard=1, candidate_ready=True
    )
    deeds: list[Callable[[Connection], object]] = [
        lambda connection: actions.advance(connection, proposed, 0, nothing, by()),
        lambda connection: actions.promote(connection, proposed, nothing, by()),
        lambda connection: actions.refuse(connection, proposed, nothing, by()),
    ]
    for deed in deeds:
        with pytest.raises(GateError, match="was paused meanwhile: quarter end"), store.write() as connection:
            deed(connection)
    with store.read() as connection:
        found = latest_rollout(connection, "code")
    assert found is not None
    assert found.hold is not None


def test_no_rollout_begins_while_engines_are_exchanged(store: Store) -> None:
    exchanging = replace(PLAN, steps=(), exchange=True)
    with store.write() as connection:
        for name in ("old", "new"):
            add_deployment(
                connection, name=name, backend="echo", model=name, options={}, engine={}, actor="ana", now=NOW
            )
        keep_variant(connection, NEW, NOW)
        rollout = actions.start(connection, NEW, exchanging, None, by())
        actions.promote(connection, rollout, None, by())
    with pytest.raises(GateError, match="is exchanging engines"):
        steering.propose(store, variant("third"), PLAN, by())
    with store.read() as connection:
        found = latest_rollout(connection, "code")
    assert found is not None
    assert (found.id, found.state) == (rollout.id, "baking"), "it still has somebody who brings the former one back"


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


@pytest.mark.parametrize(
    "act",
    [steering.pause, steering.resume, steering.approve, steering.promote, steering.abort, steering.rollback],
    ids=lambda f: f.__name__,
)
def test_a_deed_on_a_rollout_that_was_replaced_meanwhile_touches_neither(
    store: Store, act: Callable[..., object]
) -> None:
    old = steering.propose(store, NEW, PLAN, by())
    steering.abort(store, "code", by("ben"))
    new = steering.propose(store, NEW, PLAN, by("ben"))
    with pytest.raises(GateError, match=f"Rollout {new.id} of `code` began after this one"):
        act(store, "code", by(), seen=Seen(rollout=old.id))
    with store.read() as connection:
        assert latest_rollout(connection, "code") == new


def test_a_rollback_of_a_rollout_that_has_ended_or_of_an_older_revision_brings_nobody_back(store: Store) -> None:
    seen = steering.propose(store, NEW, PLAN, by())
    steering.override(store, "code", "evaluation", "ben", NOW + timedelta(hours=1), by())
    promoted = steering.promote(store, "code", by(), seen=Seen(rollout=seen.id))
    assert promoted.incumbent == NEW.id
    with pytest.raises(GateError, match="Nothing was done: look at what happened"):
        steering.rollback(store, "code", by(), Seen(revision=promoted.revision - 1))
    back = steering.rollback(store, "code", by(), Seen(rollout=seen.id, revision=promoted.revision))
    assert back.incumbent == OLD.id
    with pytest.raises(GateError, match=r"has ended meanwhile \(rolled_back\)"):
        steering.rollback(store, "code", by("ben"), Seen(rollout=seen.id))
    with store.read() as connection:
        assert current_route(connection, "code") == back
