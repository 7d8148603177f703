from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeover.evals.canary import BadEvents
from changeover.rollouts.decide import (
    Advance,
    Evidence,
    Exchanging,
    Finish,
    Plan,
    Promote,
    PutOnHold,
    Refuse,
    RollBack,
    Rollout,
    Settle,
    State,
    Step,
    Wait,
    decide,
)
from changeover.tasks.exchanges import Outcomes

START = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(
    steps=(Step(canary=0.05, requests=10, hold_s=60), Step(canary=0.25, requests=20, hold_s=0)),
    tolerated_failures=0.03,
    alpha=0.01,
    bake_s=300,
)


def rollout(state: State = "canary", step: int = 0) -> Rollout:
    return Rollout(
        id=1,
        task="code",
        incumbent="a" * 12,
        candidate="b" * 12,
        comparison="cmp",
        plan=PLAN,
        state=state,
        step=step,
        step_started_at=START,
        actor="ana",
        reason="test",
        created_at=START,
    )


def evidence(asked: int, failed: int = 0, *, ready: bool = True) -> Evidence:
    seen = Outcomes(asked=asked, failed=failed)
    watch = BadEvents(PLAN.tolerated_failures)
    for number in range(asked):
        watch.update(number < failed)
    return Evidence(whole=seen, step=seen, guard=watch.evidence, candidate_ready=ready)


@pytest.mark.parametrize(
    ("state", "step", "seen", "after_s", "expected"),
    [
        ("canary", 0, evidence(0), 3600, Wait),  # no traffic never advances
        ("canary", 0, evidence(9), 3600, Wait),  # not enough requests
        ("canary", 0, evidence(10), 59, Wait),  # not long enough
        ("canary", 0, evidence(10), 60, Advance),
        ("canary", 0, evidence(10, ready=False), 60, Wait),
        ("canary", 1, evidence(19), 3600, Wait),
        ("canary", 1, evidence(20), 0, Promote),
        ("canary", 1, evidence(20), -86_400, Promote),  # the clock was set back; nothing is to be waited for
        ("canary", 0, evidence(10), -86_400, Wait),
        ("canary", 1, evidence(20, failed=1), 0, Promote),  # one of twenty is no proof of trouble
        ("canary", 0, evidence(4, failed=4), 0, RollBack),
        ("canary", 1, evidence(30, failed=15), 3600, RollBack),
        ("baking", 1, evidence(20), 299, Wait),
        ("baking", 1, evidence(20), 300, Finish),
        ("baking", 1, evidence(40, failed=20), 300, RollBack),
    ],
)
def test_every_situation_has_its_one_decision(
    state: State, step: int, seen: Evidence, after_s: int, expected: type
) -> None:
    assert type(decide(rollout(state, step), seen, START + timedelta(seconds=after_s))) is expected


TERMS = "The licence of `x` excludes credit decisions."


@pytest.mark.parametrize(
    ("state", "seen", "expected"),
    [
        ("evaluation", replace(evidence(0), verdict="pass", terms=TERMS), PutOnHold),
        ("evaluation", replace(evidence(0), overridden=("evaluation", "approval"), terms=TERMS), PutOnHold),
        ("shadow", replace(evidence(10), terms=TERMS), PutOnHold),
        ("canary", replace(evidence(0), terms=TERMS), PutOnHold),  # at once, and not only before the next step
        ("canary", replace(evidence(20), terms=TERMS), PutOnHold),
        (
            "canary",
            replace(evidence(30, failed=15), terms=TERMS),
            RollBack,
        ),  # an alarm goes back, whatever else is true
        ("baking", replace(evidence(20), terms=TERMS), Finish),  # it answers already: that is for a person
    ],
)
def test_terms_that_stand_in_the_way_hold_a_rollout_before_its_promotion(
    state: State, seen: Evidence, expected: type
) -> None:
    decision = decide(rollout(state, step=1), seen, START + timedelta(seconds=3600))
    assert type(decision) is expected
    if isinstance(decision, PutOnHold):
        assert decision.reason == TERMS


UNDER_WAY, READY, FAILED = (
    Exchanging(state=state, seen=f"the engine is {state}") for state in ("under way", "ready", "failed")
)


@pytest.mark.parametrize(
    ("state", "seen", "after_s", "expected"),
    [
        ("evaluation", evidence(0, ready=False), 0, Wait),  # no verdict, no exchange
        ("evaluation", replace(evidence(0, ready=False), verdict="pass"), 0, Promote),  # nothing runs before it
        ("evaluation", replace(evidence(0, ready=False), verdict="fail"), 0, Refuse),
        ("baking", replace(evidence(0, ready=False), exchange=UNDER_WAY), 3600, Wait),  # the bake time has not begun
        ("baking", replace(evidence(0), exchange=READY), 3600, Settle),
        ("baking", replace(evidence(0, ready=False), exchange=FAILED), 0, RollBack),
        ("baking", replace(evidence(40, failed=20), exchange=UNDER_WAY), 0, RollBack),
        ("baking", evidence(0), 299, Wait),
        ("baking", evidence(0), 300, Finish),
        ("baking", evidence(40, failed=20), 0, RollBack),
    ],
)
def test_a_rollout_that_exchanges_engines_has_its_own_decisions(
    state: State, seen: Evidence, after_s: int, expected: type
) -> None:
    exchanging = replace(rollout(state), plan=replace(PLAN, steps=(), exchange=True))
    assert type(decide(exchanging, seen, START + timedelta(seconds=after_s))) is expected


@given(
    asked=st.integers(0, 400),
    failed_share=st.floats(0, 1),
    after_s=st.integers(0, 10_000),
    step=st.integers(0, 1),
    ready=st.booleans(),
)
def test_a_step_is_left_only_with_its_requests_and_an_alarm_always_goes_back(
    asked: int, failed_share: float, after_s: int, step: int, ready: bool
) -> None:
    seen = evidence(asked, int(asked * failed_share), ready=ready)
    decision = decide(rollout("canary", step), seen, START + timedelta(seconds=after_s))
    if seen.guard >= 1 / PLAN.alpha:
        assert isinstance(decision, RollBack)
    elif isinstance(decision, Advance | Promote):
        assert asked >= PLAN.steps[step].requests
        assert after_s >= PLAN.steps[step].hold_s
        assert ready
    if isinstance(decision, Advance):
        assert decision.step == step + 1
    if isinstance(decision, Promote):
        assert step == len(PLAN.steps) - 1
