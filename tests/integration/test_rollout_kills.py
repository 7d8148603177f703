"""Whoever brings rollouts on is killed, in every state that a rollout can be in, and another one goes on from the rows."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.postgres import keep_in
from tests.support.processes import Load, Up, line_of, load, start, system, until
from tests.support.projects import deploy_echo, write_project
from tests.support.rollouts import World

from changeover.app import steering
from changeover.app.deploy import declared_variant
from changeover.app.installation import Installation
from changeover.core.actors import SYSTEM
from changeover.rollouts import actions
from changeover.rollouts.actions import By
from changeover.rollouts.decide import Plan, Rollout, Step
from changeover.rollouts.queries import events_of_task, latest_rollout
from changeover.serving.queries import keep_variant
from changeover.serving.variants import Variant
from changeover.tasks.queries import route_history

GOING_ON = ("evaluation", "shadow", "first-step", "second-step")
WAITING = ("held", "paused")
TASKS = (*GOING_ON, *WAITING, "baking")
CANARIES = (Step(canary=0.3, requests=4, hold_s=0), Step(canary=0.6, requests=8, hold_s=0))
STEPS = {
    "evaluation": CANARIES[:1],
    "shadow": (Step(shadow=0.5, requests=8, hold_s=0), CANARIES[0]),
    "second-step": (replace(CANARIES[0], requests=1), replace(CANARIES[1], requests=40)),
}
PATIENCE_S = 90.0


@dataclass(frozen=True)
class Told:
    """What the store says of one task."""

    rollout: Rollout
    events: Sequence[Any]
    routes: Sequence[Any]

    @property
    def where(self) -> str:
        return "second-step" if self.rollout.step else self.rollout.state


def told(up: Up, task: str) -> Told:
    with up.opened() as installation, installation.store.read() as connection:
        rollout = latest_rollout(connection, task)
        assert rollout is not None
        return Told(rollout, events_of_task(connection, task), route_history(connection, task)[::-1])


def begin(up: Up) -> None:
    """A rollout in each state."""
    with up.opened() as installation:
        deploy_echo(installation, "new", task=TASKS[0], delay_s=0.05)
        store = installation.store
        for task in TASKS:
            if task == "evaluation":
                continue
            candidate, plan, by = planned(installation, task)
            with store.write() as connection:
                rollout = actions.start(connection, keep_variant(connection, candidate, by.now), plan, None, by)
                if task in WAITING:
                    actions.put_on_hold(connection, rollout, task, by)
            if task == "baking":
                steering.promote(store, task, by)
    until(lambda: up.ready("new"), PATIENCE_S)
    with load(up, "second-step"):
        until(lambda: told(up, "second-step").where == "second-step", PATIENCE_S)
    with up.opened() as installation:
        # Last, so that the kill finds it being measured and not done.
        candidate, plan, by = planned(installation, "evaluation")
        steering.propose(installation.store, candidate, plan, by)


def planned(installation: Installation, task: str) -> tuple[Variant, Plan, By]:
    """What a task's rollout is about. The candidate is slow, so that a kill finds it being measured."""
    declared = actions.plan_of(installation.tasks[task].declared)
    plan = replace(declared, steps=STEPS.get(task, CANARIES), slowdown=1_000.0)
    by = By(actor="ana", reason="test", now=installation.clock.now())
    return declared_variant(installation, task, "new"), plan, by


def test_after_a_kill_in_every_state_each_rollout_goes_on_from_where_it_was(tmp_path: Path, store_url: str) -> None:
    project = keep_in(write_project(tmp_path / "p", TASKS), store_url)
    for task in TASKS:
        file = project / "tasks" / f"{task}.toml"
        file.write_text(file.read_text().replace("margin = 0.05", "margin = 0.3"))
    up = start(project)
    with killed_at_the_end(up):
        begin(up)
        until(lambda: comparing(up), PATIENCE_S)
    before = {task: told(up, task) for task in TASKS}
    states = {task: each.where for task, each in before.items()}
    assert states == {
        "evaluation": "evaluation",
        "shadow": "shadow",
        "first-step": "canary",
        "second-step": "second-step",
        "held": "canary",
        "paused": "canary",
        "baking": "baking",
    }
    with system(project, key=up.key) as again:
        until(lambda: again.ready("new") and again.ready("echo"), PATIENCE_S)
        with loads(again) as seen:
            until(lambda: all(again.routed(task) == ("new", None) for task in GOING_ON), PATIENCE_S)
            for task in WAITING:
                assert told(again, task).rollout == before[task].rollout, "it waits for a person"
                assert again.call("resume", task).status == 0
            until(lambda: all(again.routed(task) == ("new", None) for task in WAITING), PATIENCE_S)
            assert again.routed("baking") == ("new", None)
            assert again.call("rollback", "baking").status == 0
            until(lambda: again.answering("baking") == "echo", PATIENCE_S)
        assert {task: each.failed for task, each in seen.items()} == {task: [] for task in TASKS}
        for task in TASKS:
            check_history(before[task], told(again, task))


def check_history(before: Told, after: Told) -> None:
    """What was written before the kill is there, once; what came since follows from it."""
    assert after.rollout.id == before.rollout.id, "nobody began another one"
    assert after.events[: len(before.events)] == before.events
    assert after.routes[: len(before.routes)] == before.routes
    actions = [event.action for event in after.events]
    assert len(actions) == len(set(actions)) or actions.count("advance") == len(after.rollout.plan.steps) - 1
    own = [route.revision for route in after.routes if route.rollout == after.rollout.id]
    assert [event.revision for event in after.events if event.revision is not None] == own


def comparing(up: Up) -> list[psutil.Process]:
    """The process that measures a candidate for the system."""
    return [each for each in psutil.Process(up.process.pid).children() if "compare" in line_of(each).split()]


@contextmanager
def killed_at_the_end(up: Up) -> Generator[None]:
    """Without a word to anybody; whatever it had started ends too, or is ended."""
    children: list[psutil.Process] = []
    try:
        yield
        children = psutil.Process(up.process.pid).children(recursive=True)
    finally:
        up.stop(signal.SIGKILL)
        _, left = psutil.wait_procs(children, 10)
        # Who is dead, and not yet buried by the machine's first process, has ended.
        left = [each for each in left if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
        # An evaluation asks on until it sees that nobody answers: it harms nothing, and what it has asked is kept.
        engines = [each for each in left if (line := line_of(each)) and "compare" not in line.split()]
        for each in left:
            each.kill()
    assert engines == [], "engines end with whoever started them"


@contextmanager
def loads(up: Up) -> Generator[dict[str, Load]]:
    with ExitStack() as stack:
        yield {task: stack.enter_context(load(up, task, clients=1)) for task in TASKS}


CONTROLLER = """
import os, sys, time
from pathlib import Path
from changeover.core.clock import SystemClock
from changeover.rollouts.loop import Controller
from changeover.store.engine import Store
from changeover.store.lead import Lead

store = Store.connect(sys.argv[1])
lead = Lead(store, "rollouts")
controller = Controller(store, lambda _: True, SystemClock(), lead)
while True:
    controller.tick()
    if lead.held():
        (Path(sys.argv[2]) / str(os.getpid())).touch()
    time.sleep(0.05)
"""


@contextmanager
def controller(url: str, directory: Path) -> Generator[subprocess.Popen[bytes]]:
    """A process that brings rollouts on where it leads; then a file in the directory has its number."""
    process = subprocess.Popen((sys.executable, "-c", CONTROLLER, url, str(directory)))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def world(store_url: str) -> Generator[World]:
    made = World(store_url, ("code",))
    yield made
    made.close()


def test_of_two_controllers_one_leads_and_the_other_goes_on_when_it_is_killed(world: World, tmp_path: Path) -> None:
    plan = Plan(steps=CANARIES, tolerated_failures=0.03, alpha=0.01, bake_s=1e6)
    with world.store.write() as connection:
        rollout = actions.start(connection, world.present("code", "new"), plan, None, world.by("ana"))
    lead = tmp_path / "lead"
    lead.mkdir()
    with ExitStack() as stack:
        both = [stack.enter_context(controller(world.url, lead)) for _ in range(2)]
        for step in plan.steps:
            route = world.route("code")
            until(lambda: list(lead.iterdir()))
            [leads] = lead.iterdir()
            for _ in range(step.requests):
                world.asked(route, "good", candidate=True)
            until(lambda route=route: world.route("code").revision > route.revision)
            [leader] = [each for each in both if str(each.pid) == leads.name]
            leader.kill()
            leader.wait()
            leads.unlink()
    told = [(event.action, event.actor) for event in world.facts().events if event.rollout == rollout.id]
    assert told == [("start", "ana"), ("advance", SYSTEM), ("promote", SYSTEM)], "each once, and by one of them"
    assert world.route("code").incumbent == rollout.candidate
