"""The state machine as a whole: whatever happens, in whatever order, what must never happen does not happen.

`CHANGEOVER_MACHINE=2000` tries so many stories instead of some dozens.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.support.rollouts import (
    BAD,
    DEPLOYMENTS,
    OUTCOMES,
    Facts,
    InterruptedStore,
    Killed,
    World,
)

from changeover.app import steering
from changeover.core.actors import SYSTEM
from changeover.core.errors import GateError, StoreError
from changeover.rollouts import actions
from changeover.rollouts.begin import follow_engine
from changeover.rollouts.decide import ACTIVE, BEFORE_PROMOTION, Plan, Reading, Rollout, Step, alarm_at
from changeover.rollouts.exchange import exchange_plan
from changeover.rollouts.loop import Controller
from changeover.rollouts.observing import Observer
from changeover.serving.queries import find_variants, keep_variant, note_state
from changeover.tasks.applied import append_applied
from changeover.tasks.feedback import Feedback, add_feedback

TASKS = ("code", "mail")
GUARD = {"tolerated_failures": 0.03, "alpha": 0.01, "drift_requests": 200, "bake_s": 120.0}
CANARIES = (Step(canary=0.2, requests=2, hold_s=0), Step(canary=0.5, requests=3, hold_s=60))
PLANS = {
    "canaries": Plan(steps=CANARIES, **GUARD),
    "shadow": Plan(steps=(Step(shadow=0.5, requests=2, hold_s=0), CANARIES[0]), **GUARD),
    "no steps": Plan(steps=(), **GUARD),
    "agreed": Plan(steps=CANARIES[:1], tier="high", approvals=1, **GUARD),
    "agreed late": Plan(steps=CANARIES, approvals=1, approvers=("ben",), approve_before="promotion", **GUARD),
    "exchange": exchange_plan(Plan(steps=CANARIES, **GUARD), 90),
}
PEOPLE = ("ana", "ben")
BY_HAND = ("pause", "resume", "resume", "approve", "approve", "override", "promote", "abort", "rollback")
DISTURBANCES = (
    *("ready", "restarting", "failed"),
    *("another engine", "clock", "clock", "other declarations", "store opened again", "store gone"),
)
HURRIED = 8
"""Requests that fail in a row; fewer raise the alarm of every plan."""

some_task = st.sampled_from((*TASKS[:1] * 4, *TASKS[1:]))
some_plan = st.sampled_from(sorted(PLANS))
somebody = st.sampled_from(PEOPLE)
some_outcome = st.sampled_from((*["good"] * 4, *OUTCOMES))


class Machine(RuleBasedStateMachine):
    """Rollouts of two tasks; after each step everything that holds always is checked."""

    url: Callable[[Path], str]

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="changeover-machine-"))
        self.world = World(type(self).url(self.directory), TASKS)
        self.controllers = [self._controller(), self._controller()]
        self.watcher = self._observer()
        self.before = self.world.facts()
        self.gone = False
        self.ahead = False
        """Whether the clock is a day ahead."""
        self.back = False
        """The clock has gone back: what was slow before and after it cannot be told apart any more."""

    def teardown(self) -> None:
        self.world.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def somebody_is(self, *states: str) -> bool:
        return any(row.state in states for row in self.before.rollouts)

    # What people do.

    @initialize(to=st.sampled_from(DEPLOYMENTS[1:]), plan=some_plan, measured=st.booleans())
    def begin(self, to: str, plan: str, measured: bool) -> None:
        self.start(TASKS[0], to, plan, PEOPLE[0], measured)

    @rule(task=some_task, to=st.sampled_from(DEPLOYMENTS), plan=some_plan, who=somebody, measured=st.booleans())
    def start(self, task: str, to: str, plan: str, who: str, measured: bool) -> None:
        candidate, by = self.world.present(task, to), self.world.by(who)
        if not measured or PLANS[plan].exchange:
            with self._allowed():
                steering.propose(self.world.store, candidate, PLANS[plan], by)
            return
        comparison = self.world.compared(task, self.world.route(task).incumbent, candidate.id, "pass")
        with self._allowed(), self.world.store.write() as connection:
            actions.start(connection, candidate, PLANS[plan], comparison, by)

    @rule(task=some_task, verdict=st.sampled_from(("pass", "pass", "fail", "inconclusive")))
    def evaluate(self, task: str, verdict: str) -> None:
        rollout = self.world.active(task)
        if rollout is None or rollout.state != "evaluation" or rollout.comparison or rollout.hold:
            return
        comparison = self.world.compared(task, rollout.incumbent, rollout.candidate, verdict)
        with self._allowed(), self.world.store.write() as connection:
            actions.evaluated(connection, rollout, comparison, verdict, self.world.by(SYSTEM))

    @rule(task=some_task, who=somebody, act=st.sampled_from(BY_HAND), gate=st.sampled_from(("evaluation", "approval")))
    def steer(self, task: str, who: str, act: str, gate: Any) -> None:
        by = self.world.by(who)
        with self._allowed():
            if act == "override":
                steering.override(self.world.store, task, gate, "ben", by.now + timedelta(minutes=5), by)
            else:
                getattr(steering, act)(self.world.store, task, by)

    # What comes in.

    @precondition(lambda self: self.somebody_is("canary"))
    @rule(task=some_task, outcomes=st.lists(some_outcome, min_size=1, max_size=4), late=st.sampled_from((0, 0, 0, 1)))
    def candidate_is_asked(self, task: str, outcomes: list[str], late: int) -> None:
        route = self.world.route(task, late)
        if route.candidate_weight > 0:
            for outcome in outcomes:
                self.world.asked(route, outcome, candidate=True)

    @rule(task=some_task, outcomes=st.lists(some_outcome, min_size=1, max_size=4), late=st.sampled_from((0, 0, 0, 1)))
    def incumbent_is_asked(self, task: str, outcomes: list[str], late: int) -> None:
        route = self.world.route(task, late)
        for outcome in outcomes:
            self.world.asked(route, outcome, candidate=False)

    @precondition(lambda self: self.somebody_is("shadow"))
    @rule(task=some_task, outcomes=st.lists(some_outcome, min_size=1, max_size=4))
    def copies_are_put_to_the_candidate(self, task: str, outcomes: list[str]) -> None:
        route = self.world.route(task)
        if route.shadow_share > 0:
            for outcome in outcomes:
                self.world.asked(route, outcome, candidate=True, copy=True)

    @rule(task=some_task, goods=st.lists(st.booleans(), min_size=1, max_size=3))
    def answers_are_rated(self, task: str, goods: list[bool]) -> None:
        route = self.world.route(task)
        for good in goods:
            rated = self.world.asked(route, "good", candidate=route.candidate_weight > 0)
            assert rated.variant is not None
            now = self.world.clock.now()
            with self.world.store.write() as connection:
                add_feedback(
                    connection,
                    Feedback(
                        id=0,
                        exchange=rated.id,
                        task=task,
                        variant=rated.variant,
                        good=good,
                        comment=None,
                        key="k",
                        at=now,
                    ),
                )

    # What happens to machines.

    @rule(seconds=st.sampled_from((1, 61, 130)))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.passes(seconds)

    @rule(name=st.sampled_from(DEPLOYMENTS), what=st.sampled_from(DISTURBANCES))
    def something_happens(self, name: str, what: str) -> None:
        if what in ("ready", "restarting", "failed"):
            (self.world.down.discard if what == "ready" else self.world.down.add)(name)
            with self.world.store.write() as connection:
                note_state(connection, name, state=what, detail=what, now=self.world.clock.now())
        elif what == "another engine":
            self._another_engine(name)
        elif what == "clock":
            self.ahead = not self.ahead
            self.back = self.back or not self.ahead
            self.world.clock.jumps(timedelta(days=1 if self.ahead else -1))
        elif what == "other declarations":
            self._apply()
        elif what == "store opened again":
            self.world.store.close()
            self.world.store = InterruptedStore.connect(self.world.url)
            self.controllers = [self._controller() for _ in self.controllers]
            self.watcher = self._observer()
        elif self.world.url.startswith("sqlite"):
            self._store_is_gone_for_a_while()

    def _another_engine(self, name: str) -> None:
        self.world.versions[name] += 1
        now = self.world.clock.now()
        with self.world.store.write() as connection:
            new = {task: keep_variant(connection, self.world.present(task, name), now) for task in TASKS}
            replaced = {old.id: new[old.task] for old in find_variants(connection, name)}
            follow_engine(connection, replaced, {"code": PLANS["canaries"]}, self.world.by(SYSTEM, "upgrade"))

    def _store_is_gone_for_a_while(self) -> None:
        self.world.store.close()
        aside = self.world.file.with_suffix(".aside")
        self.world.file.rename(aside)
        for controller in self.controllers:
            with pytest.raises(StoreError):
                controller.tick()
        self.world.store.close()
        aside.rename(self.world.file)

    def _apply(self) -> None:
        """Other declarations: a task is taken out, or put back."""
        self.gone = not self.gone
        document = {"tasks": {task: {} for task in TASKS if not self.gone or task != TASKS[0]}}
        with self.world.store.write() as connection:
            append_applied(connection, document, actor="ana", changes=(), now=self.world.clock.now())

    # What controllers do.

    @rule(which=st.sampled_from((0, 0, 1)))
    def controller_looks(self, which: int) -> None:
        alarmed = self._alarmed()
        self.controllers[which].tick()
        self._gone_back(alarmed)

    @rule(which=st.sampled_from((0, 1)))
    def controller_is_started_again(self, which: int) -> None:
        self.controllers[which] = self._controller()

    @rule(which=st.sampled_from((0, 1)), committed=st.booleans())
    def controller_is_killed_in_the_deed(self, which: int, committed: bool) -> None:
        self.world.store.dies = committed
        with contextlib.suppress(Killed):
            self.controllers[which].tick()
        self.world.store.dies = None
        self.controllers[which] = self._controller()

    @precondition(lambda self: self.somebody_is("canary", "baking"))
    @rule(
        which=st.sampled_from((0, 1)),
        failing=st.booleans(),
        first=st.sampled_from(("controller", "abort", "abort", "rollback", "promote", "pause")),
        to=st.sampled_from(DEPLOYMENTS),
    )
    def somebody_is_faster(self, which: int, failing: bool, first: str, to: str) -> None:
        """Between a controller's look and its deed the other one does it, or somebody ends this and begins another."""
        task, known = TASKS[0], len(self.world.facts().rollouts)
        route = self.world.route(task)
        for _ in range(HURRIED if failing and route.candidate_weight > 0 else 0):
            self.world.asked(route, "failed", candidate=True)

        def meanwhile() -> None:
            if first == "controller":
                self.controllers[1 - which].tick()
            else:
                with self._allowed():
                    getattr(steering, first)(self.world.store, task, self.world.by("ana"))
            with self._allowed(), self.world.store.write() as connection:
                actions.start(
                    connection, self.world.present(task, to), PLANS["canaries"], "cmp_1", self.world.by("ben")
                )

        self.world.store.before = meanwhile
        self.controllers[which].tick()
        self.world.store.before = None
        for begun in self.world.facts().rollouts[known:]:
            assert begun.state in ACTIVE, f"what nobody looked at yet was ended: {begun}"

    @precondition(lambda self: self.somebody_is(*BEFORE_PROMOTION))
    @rule(number=st.sampled_from((1, 1, 2, 4)), outcome=some_outcome)
    def all_goes_well_for_a_while(self, number: int, outcome: str) -> None:
        """What leads deep into a rollout, which otherwise few stories reach."""
        task = TASKS[0]
        rollout = self.world.active(task)
        self.world.down.clear()
        if rollout is not None and rollout.state == "evaluation" and rollout.hold is None and not rollout.comparison:
            self.evaluate(task, "pass")
        route = self.world.route(task)
        for each in (*["good"] * (number - 1), outcome):
            if route.candidate is not None:
                self.world.asked(route, each, candidate=True, copy=route.shadow_share > 0)
        self.world.clock.passes(61)
        self.controller_looks(0)

    @precondition(lambda self: self.somebody_is(*BEFORE_PROMOTION))
    @rule(number=st.sampled_from((1, 1, 2, 4)))
    def all_goes_well_again(self, number: int) -> None:
        self.all_goes_well_for_a_while(number, "good")

    @precondition(lambda self: self.somebody_is("canary", "baking"))
    @rule(task=some_task, outcome=st.sampled_from(BAD))
    def candidate_fails_again_and_again(self, task: str, outcome: str) -> None:
        """Whatever else is true, and whatever the clock says: it goes back at the next look."""
        route, rollout = self.world.route(task), self.world.active(task)
        if rollout is None or rollout.state not in ("canary", "baking"):
            return
        baking = rollout.state == "baking"
        for _ in range(HURRIED):
            self.world.asked(route, outcome, candidate=not baking)
        if baking and (route.incumbent != rollout.candidate or route.former is None):
            return
        self.controllers[0].tick()
        ended = self.world.now(rollout)
        assert ended.state == "rolled_back", f"{HURRIED} failed and nothing happened: {ended}"
        now = self.world.route(task)
        assert now.incumbent == (route.former if baking else route.incumbent)
        assert now.candidate is None

    # What holds always.

    @invariant()
    def nothing_is_wrong(self) -> None:
        now = self.world.facts()
        check_history(self.before, now)
        for task in TASKS:
            check_task(now, task)
        for rollout in now.rollouts:
            check_rollout(now, rollout)
        self._check_restart()
        self.before = now

    def _check_restart(self) -> None:
        """Who was started just now knows what the one knows that was there all the time."""
        running = self._look(self.watcher)
        restarted = self._look(self._observer())
        for id, (rollout, evidence) in running.items():
            again = restarted[id][1]
            assert (evidence.whole, evidence.step) == (again.whole, again.step), rollout
            if evidence.guard >= alarm_at(rollout) and again.guard >= alarm_at(rollout):
                continue  # an alarm stays as it was raised, which was in another order
            if not self.back:
                assert evidence.guard == pytest.approx(again.guard), rollout
            assert _seen(evidence.guards) == _seen(again.guards), rollout

    def _look(self, observer: Observer) -> dict[int, tuple[Rollout, Any]]:
        rollouts = [rollout for task in TASKS if (rollout := self.world.active(task)) is not None]
        observer.look(rollouts)
        return {rollout.id: (rollout, observer.evidence(rollout)) for rollout in rollouts}

    def _alarmed(self) -> list[Rollout]:
        seen = self._look(self._observer())
        return [rollout for rollout, evidence in seen.values() if evidence.guard >= alarm_at(rollout)]

    def _gone_back(self, alarmed: list[Rollout]) -> None:
        for rollout in alarmed:
            ended = self.world.now(rollout)
            can = rollout.state in BEFORE_PROMOTION or self.world.route(rollout.task).former is not None
            assert ended.state == "rolled_back" or not can, ended

    def _controller(self) -> Controller:
        return Controller(self.world.store, self.world.is_ready, self.world.clock)

    def _observer(self) -> Observer:
        return Observer(self.world.store, self.world.is_ready, self.world.clock)

    @contextlib.contextmanager
    def _allowed(self) -> Iterator[None]:
        """What is refused changes nothing: the invariants look."""
        with contextlib.suppress(GateError):
            yield


def _seen(readings: tuple[Reading, ...]) -> list[tuple[str, int, int]]:
    return [(each.name, each.events, each.bad) for each in readings if each.name != "latency"]


def check_history(before: Facts, now: Facts) -> None:
    """Nothing that was written is gone or different."""
    assert now.routes[: len(before.routes)] == before.routes
    assert now.events[: len(before.events)] == before.events
    assert now.approvals[: len(before.approvals)] == before.approvals
    assert len(now.exchanges) >= len(before.exchanges)
    assert [row.revision for row in now.routes] == sorted({row.revision for row in now.routes})
    new = now.events[len(before.events) :]
    for old, row in zip(before.rollouts, now.rollouts, strict=False):
        assert (old.id, old.task, old.plan, old.actor, old.created_at) == (
            row.id,
            row.task,
            row.plan,
            row.actor,
            row.created_at,
        )
        if old.state in ACTIVE:
            continue
        same = old._asdict() | {"override": None, "hold": None} == row._asdict() | {"override": None, "hold": None}
        undone = (old.state, row.state) == ("done", "rolled_back")
        assert same or (undone and any((each.rollout, each.action) == (row.id, "rollback") for each in new)), (old, row)


def check_task(now: Facts, task: str) -> None:
    """One incumbent, by a chain in which each has its reason; a candidate only where a rollout has brought it."""
    chain = [route for route in now.routes if route.task == task]
    assert chain[0].action == "start"
    for before, route in pairwise(chain):
        rollout = None if route.rollout is None else now.rollouts[route.rollout - 1]
        if route.action == "promote":
            assert rollout is not None
            assert (route.incumbent, route.former) == (rollout.candidate, before.incumbent)
        elif route.action == "rollback":
            assert route.incumbent in (before.incumbent, before.former)
        elif route.action != "engine":
            assert route.incumbent == before.incumbent
        if route.rollout == before.rollout and route.candidate is not None:
            assert route.candidate_weight >= before.candidate_weight, "callers move towards the candidate only"
            assert route.salt == before.salt
        assert route.candidate is not None or (route.candidate_weight, route.shadow_share) == (0, 0)
    under_way = [row for row in now.rollouts if row.task == task and row.state in ACTIVE]
    assert len(under_way) <= 1, under_way
    newest = chain[-1]
    steps = [row for row in under_way if row.state in ("shadow", "canary")]
    assert (newest.candidate is not None) == bool(steps), (newest, under_way)
    for row in steps:
        step = row.plan["steps"][row.step]
        assert (newest.rollout, newest.candidate) == (row.id, row.candidate)
        assert newest.candidate_weight == (step["canary"] or 0 if row.state == "canary" else 0)
        assert newest.shadow_share == (step["shadow"] or 0 if row.state == "shadow" else 0)
    for row in under_way:
        if row.state == "baking" and newest.incumbent == row.candidate and newest.former is not None:
            assert newest.action in ("promote", "engine"), newest


def check_rollout(now: Facts, row: Any) -> None:
    """Each revision with its event; no traffic before its gates, no promotion without its requests."""
    revisions = [route.revision for route in now.routes_of(row.id)]
    events = now.events_of(row.id)
    assert sorted(event.revision for event in events if event.revision is not None) == revisions
    assert events[0].action == "start"
    assert (row.ended_at is None) == (row.state in ACTIVE)
    began = [route for route in now.routes_of(row.id) if route.action in ("shadow", "canary", "promote")]
    overridden = {each.gate for each in now.overrides if each.rollout == row.id}
    agreed = {each.actor for each in now.approvals if each.rollout == row.id} - {row.actor}
    if row.plan["approvers"]:
        agreed &= set(row.plan["approvers"])
    for route in began:
        if not any(event.action == "start" and event.revision for event in events):
            verdicts = {each.id: each.verdict for each in now.comparisons}
            assert verdicts.get(route.comparison) == "pass" or "evaluation" in overridden, route
        if route.action == "promote" or (route.action == "canary" and row.plan["approve_before"] == "canary"):
            assert len(agreed) >= row.plan["approvals"] or "approval" in overridden, route
    by_itself = {event.revision for event in events if event.actor == SYSTEM}
    if any(route.action == "promote" and route.revision in by_itself for route in began):
        assert len(began) == len(row.plan["steps"]) + 1, "no step was left out"
    for step, route, after in zip(row.plan["steps"], began, began[1:], strict=False):
        if after.revision in by_itself:
            seen = _asked_between(now, row, route.revision, after.revision)
            assert seen >= step["requests"], f"{seen} of {step['requests']} in {step}"


def _asked_between(now: Facts, row: Any, first: int, after: int) -> int:
    """Requests that the candidate was asked under a step's route and that say something."""
    asked = 0
    for each in now.exchanges:
        failed = row.candidate in each.failed_variants.split()
        mine = each.task == row.task and (failed or each.variant == row.candidate)
        says = failed or each.status >= 500 or each.truncated or (each.status < 300 and not each.abandoned)
        asked += mine and says and first <= each.revision < after
    return asked


BATCH = 4
STORIES = int(os.environ.get("CHANGEOVER_MACHINE", "40"))


def _tell(url: Callable[[Path], str], stories: int) -> None:
    """Tell them in small batches: of many at once, most would be alike."""
    for number in range(0, stories, BATCH):
        told = type("Told", (Machine,), {"url": staticmethod(url)})
        if "CHANGEOVER_MACHINE" not in os.environ:
            seed(number)(told)
        run_state_machine_as_test(
            told,
            settings=settings(
                max_examples=BATCH,
                stateful_step_count=40,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink),
            ),
        )


def test_whatever_happens_in_whatever_order_there_is_one_incumbent_and_a_whole_history() -> None:
    _tell(lambda directory: f"sqlite:///{directory / 'test.db'}", STORIES)


def test_the_same_holds_on_postgresql(request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("postgres_server")
    _tell(lambda _: server.fresh(), max(STORIES // 20, 2))
