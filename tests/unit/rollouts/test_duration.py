"""The changeover time, from the rows that a trial, a comparison and a rollout leave."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta

import pytest
from tests.support import stores

from changeover.evals.queries import Comparison, add_comparison, end_comparison
from changeover.evals.trial_queries import Trial, add_trial
from changeover.rollouts.actions import By, abort, evaluated, promote, propose, roll_back, start
from changeover.rollouts.begin import begin
from changeover.rollouts.decide import Plan, Rollout, Step
from changeover.rollouts.duration import changeover_line, changeover_time, course_line, courses_of
from changeover.rollouts.queries import find_rollout
from changeover.serving.bundles import Bundle
from changeover.serving.parts import EnginePart
from changeover.serving.queries import keep_variant
from changeover.serving.variants import Variant
from changeover.store.engine import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(steps=(Step(canary=0.5, requests=1, hold_s=0),), tolerated_failures=0.03, alpha=0.01, bake_s=60)


def at(seconds: int) -> datetime:
    return NOW + timedelta(seconds=seconds)


def by(seconds: int) -> By:
    return By(actor="ana", reason="test", now=at(seconds))


def variant(deployment: str) -> Variant:
    engine = EnginePart(backend="echo", engine="echo", engine_version="1", model=deployment)
    return Variant.of("code", deployment, Bundle(engine=engine, prompt_name="p", prompt="", parameters={}))


OLD, NEW = variant("old"), variant("new")


@pytest.fixture
def store(store_url: str) -> Generator[Store]:
    made = stores.made(store_url)
    with made.write() as connection:
        begin(connection, OLD, by(0))
        keep_variant(connection, NEW, NOW)
    yield made
    made.close()


def compared(store: Store, started: int, ended: int) -> str:
    comparison = Comparison(
        id=f"cmp_{started}",
        task="code",
        incumbent=OLD.id,
        candidate=NEW.id,
        dataset="d",
        scorer="s",
        plan={},
        actor="ana",
        verdict=None,
        summary=None,
        started_at=at(started),
        ended_at=None,
    )
    with store.write() as connection:
        add_comparison(connection, comparison)
        end_comparison(connection, comparison.id, verdict="pass", summary={}, now=at(ended))
    return comparison.id


def tried(store: Store, started: int) -> int:
    trial = Trial(id=0, candidate="new", plan={}, actor="ana", started_at=at(started), ended_at=None)
    with store.write() as connection:
        return add_trial(connection, trial).id


def promoted(store: Store, began: int, comparison: str | None, trial: int | None, seconds: int) -> Rollout:
    with store.write() as connection:
        rollout = start(connection, NEW, PLAN, comparison, by(began), trial=trial)
        promote(connection, rollout, None, by(seconds))
        found = find_rollout(connection, rollout.id)
    assert found is not None
    return found


def parts(store: Store, rollout: Rollout) -> tuple[float, float, float, float]:
    with store.read() as connection:
        time = changeover_time(connection, rollout)
    assert time is not None
    return time.measuring_s, time.waiting_s, time.steps_s, time.total_s


def test_it_counts_from_the_trial_to_the_promotion(store: Store) -> None:
    rollout = promoted(store, 200, compared(store, 110, 160), tried(store, 100), 500)
    assert parts(store, rollout) == (60, 40, 300, 400)


def test_a_verdict_from_before_the_trial_took_no_time(store: Store) -> None:
    rollout = promoted(store, 120, compared(store, 10, 20), tried(store, 100), 150)
    assert parts(store, rollout) == (0, 20, 30, 50)


def test_without_a_trial_it_counts_from_the_comparison_or_else_from_the_rollout(store: Store) -> None:
    rollout = promoted(store, 70, compared(store, 10, 60), None, 100)
    assert parts(store, rollout) == (50, 10, 30, 90)
    with store.write() as connection:
        roll_back(connection, "code", by(110))
    assert parts(store, promoted(store, 200, None, None, 230)) == (0, 0, 30, 30)


def test_the_evaluation_of_a_proposed_rollout_is_measuring_and_nothing_waits(store: Store) -> None:
    with store.write() as connection:
        rollout = propose(connection, NEW, PLAN, by(10))
    comparison = compared(store, 20, 60)
    with store.write() as connection:
        evaluated(connection, rollout, comparison, "pass", by(61))
        promote(connection, rollout, None, by(100))
        found = find_rollout(connection, rollout.id)
    assert found is not None
    assert parts(store, found) == (50, 0, 40, 90)


def test_what_was_not_promoted_has_none(store: Store) -> None:
    trial = tried(store, 0)
    with store.write() as connection:
        rollout = start(connection, NEW, PLAN, None, by(10), trial=trial)
        assert changeover_time(connection, rollout) is None
        assert course_line(courses_of(connection, trial)["code"]) == f"rollout {rollout.id}: canary"
        abort(connection, rollout, by(20))
        assert course_line(courses_of(connection, trial)["code"]) == f"rollout {rollout.id}: aborted"


def test_a_trial_knows_what_became_of_its_switches(store: Store) -> None:
    trial = tried(store, 100)
    rollout = promoted(store, 200, compared(store, 110, 160), trial, 1_000)
    with store.write() as connection:
        course = courses_of(connection, trial)["code"]
        assert course.time is not None
        assert changeover_line(course.time) == (
            "changeover time 15 m 00 s: measuring 1 m 00 s · waiting 40 s · shadow and canary 13 m 20 s"
        )
        assert course_line(course).startswith(f"promoted by rollout {rollout.id} · changeover time 15 m 00 s")
        roll_back(connection, "code", by(1_100))
        assert course_line(courses_of(connection, trial)["code"]) == f"rollout {rollout.id}: rolled back"
