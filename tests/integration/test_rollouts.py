"""Rollouts on the running system: given a canary, when requests come (or do not), then it is here or there."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from tests.support.postgres import keep_in
from tests.support.projects import QUICK_STEPS, Running, deploy_echo, open_written, running, write_project

from changeover.app.installation import Installation
from changeover.core.actors import SYSTEM
from changeover.core.clock import SystemClock
from changeover.core.errors import GateError
from changeover.gateway.keys import revoke_key
from changeover.rollouts.actions import By, abort, plan_of, promote, roll_back, start
from changeover.rollouts.decide import Rollout, State
from changeover.rollouts.loop import Controller
from changeover.rollouts.queries import Event, find_rollout, latest_rollout, rollout_history
from changeover.tasks.queries import route_history
from changeover.tasks.routes import Route

PATIENCE_S = 20
HALF = "[[steps]]\ncanary = 0.5\nrequests = 3\nhold_s = 0\n"


class Tomorrow(SystemClock):
    """A clock on which every hold and bake time is over."""

    def now(self) -> datetime:
        return super().now() + timedelta(days=1)


@dataclass
class Story:
    """One running system, and what its callers saw."""

    up: Running
    users: Iterator[int] = field(default_factory=itertools.count)
    statuses: list[int] = field(default_factory=list[int])
    cut: int = 0
    answered_by: dict[int, str] = field(default_factory=dict[int, str])
    """Deployment by user."""

    async def given_a_canary(self, name: str, **options: object) -> Rollout:
        variant = deploy_echo(self.up.installation, name, **options)
        await self.up.ready(name)
        plan = plan_of(self.up.installation.tasks["echo"].declared)
        with self.up.installation.store.write() as connection:
            return start(connection, variant, plan, None, self.by(f"try {name}"))

    async def when_requests_come_until(
        self, rollout: Rollout, state: State, *, stream: bool = False, patience_s: float = PATIENCE_S
    ) -> None:
        """Ask, each time as another user, until the rollout is in that state."""
        async with asyncio.timeout(patience_s):
            while self.now(rollout).state != state:
                await self.when_requests_come(4, stream=stream)

    async def when_requests_come(self, count: int, *, stream: bool = False) -> None:
        async with aiohttp.ClientSession(self.up.address, headers=self.up.headers()) as http:
            await asyncio.gather(*(self._ask(http, stream) for _ in range(count)))

    async def _ask(self, http: aiohttp.ClientSession, stream: bool) -> None:
        user = next(self.users)
        messages = [{"role": "user", "content": "one two three"}]
        asked = {"model": "echo", "messages": messages, "user": f"user {user}", "stream": stream}
        async with http.post("/v1/chat/completions", json=asked) as response:
            text = await response.text()
            self.answered_by[user] = response.headers.get("x-changeover-deployment", "")
        self.statuses.append(response.status)
        self.cut += stream and not text.endswith("data: [DONE]\n\n")

    async def when_the_gateway_follows(self) -> None:
        """Wait until the gateway answers with the newest revision."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.up.route() != self.routes()[0].revision:
                await asyncio.sleep(0.02)

    def when_the_controller_looks(self, times: int) -> None:
        """Look as the running controller does, at a time when nothing but evidence can be missing."""
        controller = Controller(self.up.installation.store, lambda _: True, Tomorrow())
        for _ in range(times):
            controller.tick()

    async def then_it_becomes(self, rollout: Rollout, state: State) -> None:
        """Wait, without another request, until the running controller has seen what there is to see."""
        async with asyncio.timeout(PATIENCE_S):
            while self.now(rollout).state != state:
                await asyncio.sleep(0.02)

    def then_nobody_saw_an_error(self) -> None:
        assert self.statuses, "nobody asked"
        assert set(self.statuses) == {200}
        assert self.cut == 0

    def then_it_is_answered_by(self, deployment: str) -> None:
        snapshot = self.up.system.snapshot.tasks["echo"]
        assert snapshot.variants[snapshot.route.incumbent].deployment == deployment
        assert snapshot.route.candidate is None

    def now(self, rollout: Rollout) -> Rollout:
        with self.up.installation.store.read() as connection:
            found = find_rollout(connection, rollout.id)
        assert found is not None
        return found

    def events(self, rollout: Rollout) -> list[Event]:
        with self.up.installation.store.read() as connection:
            return rollout_history(connection, rollout.id)

    def routes(self) -> list[Route]:
        """Newest first."""
        with self.up.installation.store.read() as connection:
            return route_history(connection, "echo")

    def by(self, reason: str) -> By:
        return By(actor="somebody", reason=reason, now=self.up.installation.clock.now())


@asynccontextmanager
async def told(installation: Installation) -> AsyncGenerator[Story]:
    async with running(installation) as up:
        await up.ready("echo")
        yield Story(up)


@pytest.fixture
async def story(tmp_path: Path, store_url: str) -> AsyncGenerator[Story]:
    async with told(open_written(keep_in(write_project(tmp_path / "p"), store_url))) as it:
        yield it


async def test_a_canary_advances_with_traffic_and_promotes(story: Story) -> None:
    rollout = await story.given_a_canary("new")
    await story.when_requests_come_until(rollout, "baking")
    await story.when_the_gateway_follows()
    story.then_nobody_saw_an_error()
    story.then_it_is_answered_by("new")
    began, advanced, promoted = story.events(rollout)
    assert [began.action, advanced.action, promoted.action] == ["start", "advance", "promote"]
    assert [began.actor, advanced.actor, promoted.actor] == ["somebody", SYSTEM, SYSTEM]
    assert advanced.evidence["step"]["asked"] >= 3
    assert promoted.evidence["step"]["asked"] >= 5
    assert promoted.evidence["whole"]["failed"] == 0
    weights = [(route.action, route.candidate_weight) for route in reversed(story.routes())]
    assert weights == [("start", 0), ("canary", 0.2), ("canary", 0.5), ("promote", 0)]
    assert [event.revision for event in story.events(rollout)] == [2, 3, 4]


async def test_no_traffic_never_advances(story: Story) -> None:
    rollout = await story.given_a_canary("new")
    story.when_the_controller_looks(50)
    assert (story.now(rollout).state, story.now(rollout).step) == ("canary", 0)
    assert [event.action for event in story.events(rollout)] == ["start"]


async def test_a_caller_stays_on_the_side_where_the_canary_put_it(tmp_path: Path) -> None:
    steps = "[[steps]]\ncanary = 0.5\nrequests = 10_000\nhold_s = 0\n"
    async with told(open_written(write_project(tmp_path / "p", steps=steps))) as story:
        await story.given_a_canary("new")
        await story.when_the_gateway_follows()
        await story.when_requests_come(20)
        first, story.answered_by = story.answered_by, {}
        story.users = itertools.count()
        await story.when_requests_come(20)
        story.then_nobody_saw_an_error()
        assert story.answered_by == first
        assert set(first.values()) == {"echo", "new"}


@pytest.mark.parametrize(("fault", "stream"), [("error_500", False), ("cut_before_first", True)])
async def test_a_candidate_that_fails_is_rolled_back_by_itself_and_no_caller_sees_it(
    story: Story, fault: str, stream: bool
) -> None:
    rollout = await story.given_a_canary("bad", fault=fault)
    await story.when_requests_come_until(rollout, "rolled_back", stream=stream)
    await story.when_the_gateway_follows()
    await story.when_requests_come(8, stream=stream)
    story.then_nobody_saw_an_error()
    story.then_it_is_answered_by("echo")
    last = story.events(rollout)[-1]
    assert (last.action, last.actor) == ("rollback", SYSTEM)
    assert "requests to the candidate failed" in last.reason
    assert last.evidence["whole"]["failed"] == last.evidence["whole"]["asked"] >= 2
    assert last.evidence["guard"] >= 1 / rollout.plan.alpha
    newest = story.routes()[0]
    assert (newest.action, newest.reason, newest.actor) == ("rollback", last.reason, SYSTEM)


async def test_a_candidate_that_breaks_after_its_promotion_is_taken_back(tmp_path: Path) -> None:
    """Its fourth request is the first that fails; three are enough for the promotion."""
    async with told(open_written(write_project(tmp_path / "p", steps=HALF))) as story:
        rollout = await story.given_a_canary("tired", fault="error_500", fault_rate=0.3)
        await story.when_the_gateway_follows()
        while list(story.answered_by.values()).count("tired") < 3:
            await story.when_requests_come(1)
        await story.then_it_becomes(rollout, "baking")
        await story.when_requests_come_until(rollout, "rolled_back")
        await story.when_the_gateway_follows()
        story.then_nobody_saw_an_error()
        story.then_it_is_answered_by("echo")
        assert [event.action for event in story.events(rollout)] == ["start", "promote", "rollback"]


async def test_the_guard_watches_a_task_that_records_no_content(tmp_path: Path) -> None:
    """What is kept for people is the owner's choice; what protects callers is not."""
    async with told(open_written(write_project(tmp_path / "p", record="metadata"))) as story:
        rollout = await story.given_a_canary("bad", fault="error_500")
        await story.when_requests_come_until(rollout, "rolled_back", patience_s=5)
        story.then_nobody_saw_an_error()


async def test_an_abort_gives_everything_back_to_the_incumbent(story: Story) -> None:
    rollout = await story.given_a_canary("new")
    with story.up.installation.store.write() as connection:
        abort(connection, rollout, story.by("not today"))
    await story.when_the_gateway_follows()
    await story.when_requests_come(8)
    story.then_nobody_saw_an_error()
    story.then_it_is_answered_by("echo")
    assert story.now(rollout).state == "aborted"
    assert story.events(rollout)[-1].reason == "not today"
    with story.up.installation.store.write() as connection, pytest.raises(GateError, match="is over"):
        promote(connection, rollout, None, story.by("too late"))


async def test_a_promotion_by_hand_skips_the_remaining_steps_and_can_be_taken_back_and_made_again(
    story: Story,
) -> None:
    first = await story.given_a_canary("new")
    with story.up.installation.store.write() as connection:
        promote(connection, first, None, story.by("agreed"))
    await story.when_the_gateway_follows()
    story.then_it_is_answered_by("new")
    with story.up.installation.store.write() as connection:
        roll_back(connection, "echo", story.by("complaints"))
    await story.when_the_gateway_follows()
    story.then_it_is_answered_by("echo")
    assert story.now(first).state == "rolled_back"
    again = await story.given_a_canary("new")
    await story.when_requests_come_until(again, "baking")
    await story.when_the_gateway_follows()
    story.then_it_is_answered_by("new")
    story.then_nobody_saw_an_error()


async def test_a_second_rollout_of_a_task_is_refused_while_one_is_under_way(story: Story) -> None:
    first = await story.given_a_canary("new")
    with pytest.raises(GateError, match=f"Rollout {first.id} of `echo` is under way"):
        await story.given_a_canary("newer")
    assert len(story.routes()) == 2, "nothing was written"


async def test_a_rollback_undoes_the_promotion_and_not_the_attempt_that_was_given_up_since(story: Story) -> None:
    promoted = await story.given_a_canary("new")
    with story.up.installation.store.write() as connection:
        promote(connection, promoted, None, story.by("agreed"))
    given_up = await story.given_a_canary("newer")
    with story.up.installation.store.write() as connection:
        abort(connection, given_up, story.by("not today"))
        roll_back(connection, "echo", story.by("complaints about new"))
    await story.when_the_gateway_follows()
    story.then_it_is_answered_by("echo")
    assert story.now(given_up).state == "aborted", "it was over before"
    assert [event.action for event in story.events(given_up)] == ["start", "abort"]
    assert story.now(promoted).state == "rolled_back"
    assert story.routes()[0].rollout == promoted.id


async def test_the_bake_time_ends_by_itself(tmp_path: Path) -> None:
    async with told(open_written(write_project(tmp_path / "p", bake_s=0, steps=HALF))) as story:
        rollout = await story.given_a_canary("new")
        await story.when_requests_come_until(rollout, "done")
        assert [event.action for event in story.events(rollout)] == ["start", "promote", "finish"]


async def test_a_restart_in_the_middle_goes_on_where_the_rows_say(tmp_path: Path) -> None:
    directory = write_project(tmp_path / "p", steps=QUICK_STEPS)
    async with told(open_written(directory)) as story:
        rollout = await story.given_a_canary("new")
        async with asyncio.timeout(PATIENCE_S):
            while story.now(rollout).step == 0:
                await story.when_requests_come(2)
        story.then_nobody_saw_an_error()
    installation = open_written(directory)
    with installation.store.write() as connection:
        before = latest_rollout(connection, "echo")
        assert before is not None
        assert (before.id, before.state, before.step) == (rollout.id, "canary", 1)
        revoke_key(connection, "first", installation.clock.now())
    async with told(installation) as story:
        await story.up.ready("new")
        route = story.up.system.snapshot.tasks["echo"].route
        assert (route.candidate, route.candidate_weight) == (rollout.candidate, 0.5)
        await story.when_requests_come_until(rollout, "baking")
        await story.when_the_gateway_follows()
        story.then_nobody_saw_an_error()
        story.then_it_is_answered_by("new")
        assert [event.action for event in story.events(rollout)] == ["start", "advance", "promote"]
