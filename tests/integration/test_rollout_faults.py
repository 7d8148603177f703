"""Engines that fail while a rollout is under way: it goes back by itself or stays, and no caller sees it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import statistics
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import psutil
import pytest
import pytest_asyncio
from tests.support.callers import PATIENCE_S, Callers
from tests.support.projects import Running, deploy_echo, open_written, running, write_project

from changeover.app.deploy import declared_variant
from changeover.rollouts.actions import plan_of
from changeover.rollouts.decide import BEFORE_PROMOTION, Plan, Rollout, Step
from changeover.serving.queries import find_deployment
from changeover.tasks.observed import newest_seq, observed_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

HALF = Step(canary=0.5, requests=1_000_000, hold_s=0)
"""It never ends by itself."""
FAULTY: dict[str, dict[str, Any]] = {
    "error_500": {"fault": "error_500"},
    "hang": {"fault": "hang"},
    "wrong_json": {"fault": "wrong_json"},
    "wrong_shape": {"fault": "wrong_shape"},
    "empty_answer": {"fault": "empty_answer"},
    "cut_before_first": {"fault": "cut_before_first"},
    "slow": {"delay_s": 0.25},
}
STEADY = ("crashing", "full", "steady")
TASKS = (*FAULTY, *STEADY, "timed", "left-alone")


@dataclass(frozen=True)
class Stage:
    """The running system; each test has a task of its own."""

    up: Running

    def callers(self, task: str) -> Callers:
        return Callers(self.up, task)

    async def canary(self, callers: Callers, candidate: str, step: Step = HALF) -> Rollout:
        installation = self.up.installation
        await self.up.ready(candidate, timeout_s=PATIENCE_S)
        variant = declared_variant(installation, callers.task, candidate)
        return await callers.begin(variant, replace(self.plan(callers.task), steps=(step,)))

    def plan(self, task: str) -> Plan:
        return plan_of(self.up.installation.tasks[task].declared)

    async def engine(self, name: str) -> int:
        """Process id of an engine that can answer, once it is written down."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with self.up.installation.store.read() as connection:
                    pid = find_deployment(connection, name).pid
                if pid is not None and psutil.pid_exists(pid):
                    return pid
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    project = write_project(tmp_path_factory.mktemp("faults") / "p", TASKS)
    impatient = project / "tasks" / "hang.toml"
    impatient.write_text(impatient.read_text().replace("timeout_s = 20", "timeout_s = 20\nfirst_token_s = 0.3"))
    installation = open_written(project)
    async with running(installation) as up:
        for name, options in {**FAULTY, **{name: {} for name in STEADY}}.items():
            deploy_echo(installation, name, task=name, **options)
        await up.ready("echo", *FAULTY, *STEADY, timeout_s=2 * PATIENCE_S)
        yield Stage(up)


@pytest.mark.parametrize("fault", FAULTY)
async def test_a_candidate_that_answers_badly_or_not_at_all_goes_back_by_itself(stage: Stage, fault: str) -> None:
    callers = stage.callers(fault)
    # What is ten times slower is seen beside what the incumbent takes.
    if fault == "slow":
        for _ in range(10):
            await callers.ask(8)
    rollout = await stage.canary(callers, fault)
    await callers.ask_until(lambda: callers.state(rollout) != "canary", at_once=8 if fault == "slow" else 4)
    assert callers.state(rollout) == "rolled_back"
    await callers.are_answered_by("echo")
    callers.saw_no_error()
    said = callers.events(rollout)[-1].reason
    assert ("were too slow" if fault == "slow" else "requests to the candidate failed") in said
    assert [event.revision for event in callers.events(rollout)] == [route.revision for route in callers.routes()][
        -2::-1
    ]


async def test_a_candidate_that_crashes_costs_no_answer_and_goes_back_or_comes_again(stage: Stage) -> None:
    callers = stage.callers("crashing")
    rollout = await stage.canary(callers, "crashing")
    await callers.ask_until(lambda: "crashing" in callers.answered_by)
    for _ in range(2):
        os.kill(await stage.engine("crashing"), signal.SIGKILL)
        before = len(callers.statuses)
        await callers.ask_until(lambda before=before: len(callers.statuses) > before + 8)
        await stage.up.ready("crashing", timeout_s=PATIENCE_S)
        await callers.ask_until(lambda: stage.up.system.fleet.is_ready("crashing"))
    callers.saw_no_error()
    await unharmed(callers, rollout)


async def test_a_candidate_that_runs_out_of_memory_costs_no_answer(stage: Stage) -> None:
    """The kernel gives it no more than it has, or, where tests may not ask for that, ends it as it would then."""
    callers = stage.callers("full")
    rollout = await stage.canary(callers, "full")
    await callers.ask_until(lambda: "full" in callers.answered_by)
    callers.text = "word " * 200_000
    engine = psutil.Process(await stage.engine("full"))
    most = engine.memory_info().vms + 100_000
    try:
        resource.prlimit(engine.pid, resource.RLIMIT_AS, (most, most))
    except PermissionError:
        engine.kill()
    await callers.ask_until(lambda: callers.state(rollout) == "rolled_back" or not engine.is_running())
    callers.saw_no_error()
    callers.text = "one two three"
    await unharmed(callers, rollout)


async def test_an_incumbent_that_dies_in_the_canary_is_stood_in_for(stage: Stage) -> None:
    callers = stage.callers("left-alone")
    variant = deploy_echo(stage.up.installation, "mortal", task="left-alone")
    await stage.up.ready("mortal", timeout_s=PATIENCE_S)
    first = await callers.begin(
        variant, replace(stage.plan("left-alone"), steps=(Step(canary=0.5, requests=1, hold_s=0),))
    )
    await callers.ask_until(lambda: callers.state(first) == "baking")
    rollout = await stage.canary(callers, "steady")
    assert callers.state(first) == "done", "its former incumbent gave way"
    async with callers.asking():
        for _ in range(2):
            pid = await stage.engine("mortal")
            os.kill(pid, signal.SIGKILL)
            before = len(callers.statuses)
            async with asyncio.timeout(PATIENCE_S):
                while len(callers.statuses) < before + 20 or not stage.up.system.fleet.is_ready("mortal"):
                    await asyncio.sleep(0.05)
    callers.saw_no_error()
    assert callers.state(rollout) == "canary", "it was not the candidate's fault"
    await unharmed(callers, rollout)


async def unharmed(callers: Callers, rollout: Rollout) -> None:
    """Whatever became of it: one incumbent, a history that goes on, and the task can be switched again."""
    found = callers.now(rollout)
    route = callers.routes()[0]
    assert route.incumbent == rollout.incumbent
    assert (route.candidate is not None) == (found.state in BEFORE_PROMOTION)
    assert (found.state == "rolled_back") == (callers.events(rollout)[-1].action == "rollback")
    revisions = [each.revision for each in callers.routes()]
    assert revisions == sorted(revisions, reverse=True)
    await callers.ask(4)
    callers.saw_no_error()


async def test_a_rollback_is_written_within_a_second_of_the_request_that_decides_it(
    stage: Stage, record_property: Any
) -> None:
    callers = stage.callers("timed")
    took: list[float] = []
    for _ in range(5):
        rollout = await stage.canary(callers, "error_500")
        await callers.ask_until(lambda rollout=rollout: callers.state(rollout) == "rolled_back", at_once=2)
        took.append(after_the_deciding_request(stage, callers, rollout).total_seconds())
        await callers.followed()
    callers.saw_no_error()
    record_property("seconds_to_rollback", took)
    print(f"seconds from the deciding answer to the rollback: {sorted(round(each, 3) for each in took)}")
    # The sum of what is waited for: a batch of records, the controller's tick, two transactions. The rest is the machine.
    assert statistics.median(took) < 2.0


def after_the_deciding_request(stage: Stage, callers: Callers, rollout: Rollout) -> timedelta:
    """From the end of the request that raised the alarm to the revision that takes the candidate out."""
    last = callers.events(rollout)[-1]
    deciding = next(reading["events"] for reading in last.evidence["guards"] if reading["name"] == "errors")
    with stage.up.installation.store.read() as connection:
        seen = observed_of(connection, callers.task, rollout.created_at, None, newest_seq(connection))
    failed = [each for each in seen if rollout.candidate in each.failed_variants]
    decided = failed[deciding - 1]
    [written] = [route for route in callers.routes() if route.revision == last.revision]
    return written.created_at - (decided.started_at + timedelta(milliseconds=decided.duration_ms))
