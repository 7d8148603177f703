"""Exchanging engines on the running system: a budget that holds one, callers that go on asking, real sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import pytest
from tests.support.projects import Running, open_written, running, write_project

from changeover.app.deploy import ask_for, declared_variant, deploy
from changeover.app.exchange import exchange_plan_of, needs_exchange
from changeover.core.actors import SYSTEM
from changeover.core.errors import EngineError, GateError
from changeover.rollouts.actions import By, promote, roll_back, start
from changeover.rollouts.decide import Rollout, State
from changeover.rollouts.exchange import SETTLED
from changeover.rollouts.queries import Event, find_rollout, rollout_history
from changeover.serving.backends import describe
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import Deployment, find_deployment, keep_variant, load_variants, want
from changeover.tasks.queries import append_route, current_route

PATIENCE_S = 30
MODEL_MIB = 700
OLD = "echo-echo"
LONG = "one two three four five six seven eight"


@dataclass
class Scarce:
    """A running system whose memory holds one engine, and what its callers saw."""

    up: Running
    users: Iterator[int] = field(default_factory=itertools.count)
    statuses: list[int] = field(default_factory=list[int])
    retry_after: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list[str])
    cut: int = 0
    answered_by: list[str] = field(default_factory=list[str])

    def given_a_candidate(self, name: str, **options: float | str) -> None:
        """Ask for one that shall not run yet, as large as the incumbent."""
        engine = {"memory_mib": MODEL_MIB, **options}
        plan = EnginePlan(deployment=name, backend="echo", model=name, options=engine)
        installation = self.up.installation
        with installation.store.write() as connection:
            ask_for(connection, plan, describe(plan), "test", installation.clock.now(), desired="stopped")
        variant = declared_variant(installation, "echo", name)
        with installation.store.write() as connection:
            keep_variant(connection, variant, installation.clock.now())

    def when_it_is_promoted(self, name: str) -> Rollout:
        """As the controller does once the evidence is there."""
        installation = self.up.installation
        variant = declared_variant(installation, "echo", name)
        plan = exchange_plan_of(installation, "echo", name)
        with installation.store.write() as connection:
            rollout = start(connection, variant, plan, None, self.by(f"try {name}"))
            promote(connection, rollout, None, self.by("the evidence is there"))
        return rollout

    @asynccontextmanager
    async def while_callers_ask(self, count: int) -> AsyncGenerator[None]:
        """Have clients ask all the time, streams and whole answers in turn."""
        stop = asyncio.Event()
        async with aiohttp.ClientSession(self.up.address, headers=self.up.headers()) as http:
            clients = [asyncio.create_task(self._client(http, stop)) for _ in range(count)]
            try:
                yield
            finally:
                stop.set()
                await asyncio.gather(*clients)

    async def _client(self, http: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.ask(http, stream=next(self.users) % 2 == 0)
            await asyncio.sleep(0.01)

    async def ask(self, http: aiohttp.ClientSession, *, stream: bool = False) -> None:
        asked = {"model": "echo", "messages": [{"role": "user", "content": LONG}], "stream": stream}
        async with http.post("/v1/chat/completions", json=asked) as response:
            text = await response.text()
        self.statuses.append(response.status)
        self.answered_by.append(response.headers.get("x-changeover-deployment", ""))
        if response.status != 200:
            self.errors.append(text)
            self.retry_after.append(response.headers.get("retry-after", ""))
        self.cut += stream and not text.endswith("data: [DONE]\n\n")

    def when_it_is_rolled_back(self) -> None:
        with self.up.installation.store.write() as connection:
            roll_back(connection, "echo", self.by("by hand"))

    async def when_the_old_engine_is_gone(self) -> None:
        """Or takes no new requests, at least."""
        async with asyncio.timeout(PATIENCE_S):
            while self.up.system.fleet.is_ready(OLD):
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)  # for workers to be told

    async def then_it_becomes(self, rollout: Rollout, state: State) -> Rollout:
        async with asyncio.timeout(PATIENCE_S):
            while (now := self.now(rollout)).state != state:
                await asyncio.sleep(0.02)
        return now

    async def then_engines_are_exchanged(self, rollout: Rollout) -> Event:
        async with asyncio.timeout(PATIENCE_S):
            while (last := self.events(rollout)[-1]).action != SETTLED:
                await asyncio.sleep(0.02)
        return last

    def then_nobody_saw_an_error(self) -> None:
        assert self.statuses, "nobody asked"
        assert set(self.statuses) == {200}, self.errors
        assert self.cut == 0

    def now(self, rollout: Rollout) -> Rollout:
        with self.up.installation.store.read() as connection:
            found = find_rollout(connection, rollout.id)
        assert found is not None
        return found

    def events(self, rollout: Rollout) -> list[Event]:
        with self.up.installation.store.read() as connection:
            return rollout_history(connection, rollout.id)

    def deployment(self, name: str) -> Deployment:
        with self.up.installation.store.read() as connection:
            return find_deployment(connection, name)

    def pid(self, name: str) -> int | None:
        """Of the engine that runs under a name now."""
        return next((each.pid for each in self.up.system.fleet.statuses() if each.name == name), None)

    def incumbent(self) -> str:
        with self.up.installation.store.read() as connection:
            route = current_route(connection, "echo")
            assert route is not None
            return load_variants(connection, [route.incumbent])[route.incumbent].deployment

    def by(self, reason: str) -> By:
        return By(actor="somebody", reason=reason, now=self.up.installation.clock.now())


@asynccontextmanager
async def scarce(
    directory: Path,
    *,
    workers: int = 1,
    ready_s: float = 10,
    waiting: int = 128,
    timeout_s: float = 20,
    **incumbent: float | str,
) -> AsyncGenerator[Scarce]:
    """Run a project with a budget of 1 GiB, whose task is answered by an engine that needs 700 MiB.

    Another task is answered by an engine that needs nothing.
    """
    engine = {"memory_mib": MODEL_MIB, **incumbent}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in engine.items())
    write_project(
        directory,
        timeout_s=timeout_s,
        steps=f"[echo]\n{lines}",
        gateway=f"ready_wait_s = 0.2\nworkers = {workers}\nmax_waiting = {waiting}\n"
        f"[engines]\nmemory_gib = 1.0\nready_s = {ready_s}\n",
    )
    other = (directory / "tasks" / "echo.toml").read_text().partition("[echo]")[0]
    (directory / "tasks" / "other.toml").write_text(other)
    async with running(open_written(directory)) as up:
        await up.ready(OLD)
        yield Scarce(up)


@pytest.mark.parametrize("workers", [1, 2])
async def test_callers_wait_for_the_new_engine_and_nobody_fails(tmp_path: Path, workers: int) -> None:
    async with scarce(tmp_path / "p", workers=workers, chunk_delay_s=0.05) as it:
        it.given_a_candidate("new", ready_delay_s=1, chunk_delay_s=0.05)
        assert needs_exchange(it.up.installation, "echo", "new")
        async with it.while_callers_ask(6):
            await asyncio.sleep(0.3)
            rollout = it.when_it_is_promoted("new")
            settled = await it.then_engines_are_exchanged(rollout)
            await asyncio.sleep(0.3)
        it.then_nobody_saw_an_error()
        assert (it.answered_by[0], it.answered_by[-1]) == (OLD, "new")
        assert "first answer checked" in settled.reason
        assert it.now(rollout).state == "baking"
        assert (it.deployment(OLD).state, it.deployment("new").state) == ("stopped", "ready")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"ready_delay_s": 3600}, "was not ready within 2 s"),
        ({"fault": "error_500"}, "failed its first answer"),
        ({"fault": "hang"}, "failed its first answer"),
        ({"fault": "wrong_json"}, "failed its first answer"),
    ],
)
async def test_the_former_engine_answers_the_queue_if_the_new_one_does_not_become_ready(
    tmp_path: Path, broken: dict[str, float | str], reason: str
) -> None:
    async with scarce(tmp_path / "p", ready_s=2) as it:
        it.given_a_candidate("new", **broken)
        async with it.while_callers_ask(4):
            await asyncio.sleep(0.2)
            rollout = it.when_it_is_promoted("new")
            await it.then_it_becomes(rollout, "rolled_back")
            await it.up.ready(OLD)
            await asyncio.sleep(0.3)
        it.then_nobody_saw_an_error()
        assert set(it.answered_by) == {OLD}
        last = it.events(rollout)[-1]
        assert (last.action, last.actor) == ("rollback", SYSTEM)
        assert reason in last.reason
        assert it.incumbent() == OLD
        assert it.deployment("new").desired == "stopped"


async def test_more_than_may_wait_get_a_503_that_says_when_to_come_back(tmp_path: Path) -> None:
    async with scarce(tmp_path / "p", waiting=3) as it:
        it.given_a_candidate("new", ready_delay_s=2)
        it.when_it_is_promoted("new")
        await it.when_the_old_engine_is_gone()
        async with aiohttp.ClientSession(it.up.address, headers=it.up.headers()) as http:
            await asyncio.gather(*(it.ask(http) for _ in range(8)))
        assert sorted(it.statuses) == [200] * 3 + [503] * 5
        assert set(it.retry_after) == {"5"}
        assert "3 requests wait for an engine already" in it.errors[0]
        assert {name for name in it.answered_by if name} == {"new"}


async def test_whose_time_ends_before_the_engine_is_ready_gets_a_503_and_not_a_cut(tmp_path: Path) -> None:
    async with scarce(tmp_path / "p", timeout_s=1) as it:
        it.given_a_candidate("new", ready_delay_s=4)
        it.when_it_is_promoted("new")
        await it.when_the_old_engine_is_gone()
        async with aiohttp.ClientSession(it.up.address, headers=it.up.headers()) as http:
            await it.ask(http)
        assert it.statuses == [503]
        assert it.retry_after == ["5"]
        assert "The engine of `echo` is being exchanged" in it.errors[0]


async def test_those_who_wait_are_answered_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    async with scarce(tmp_path / "p") as it:
        it.given_a_candidate("new", ready_delay_s=1)
        it.when_it_is_promoted("new")
        await it.when_the_old_engine_is_gone()
        ended: list[int] = []
        async with aiohttp.ClientSession(it.up.address, headers=it.up.headers()) as http:

            async def caller(number: int) -> None:
                await it.ask(http)
                ended.append(number)

            callers: list[asyncio.Task[None]] = []
            for number in range(12):
                callers.append(asyncio.create_task(caller(number)))
                await asyncio.sleep(0.03)
            await asyncio.gather(*callers)
        it.then_nobody_saw_an_error()
        assert ended == sorted(ended)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_stream_is_not_cut_and_the_new_engine_waits_for_its_end(tmp_path: Path, workers: int) -> None:
    async with scarce(tmp_path / "p", workers=workers, chunk_delay_s=0.4) as it:
        it.given_a_candidate("new")
        async with aiohttp.ClientSession(it.up.address, headers=it.up.headers()) as http:
            stream = asyncio.create_task(it.ask(http, stream=True))
            await asyncio.sleep(0.5)
            rollout = it.when_it_is_promoted("new")
            async with asyncio.timeout(PATIENCE_S):
                while f"waits for the memory of {OLD}" not in it.deployment("new").detail:
                    await asyncio.sleep(0.02)
            assert not stream.done()
            await stream
        it.then_nobody_saw_an_error()
        assert it.answered_by == [OLD]
        await it.then_engines_are_exchanged(rollout)


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_engine_whose_last_stream_still_runs_is_kept_on_after_a_rollback(tmp_path: Path, workers: int) -> None:
    async with scarce(tmp_path / "p", workers=workers, chunk_delay_s=0.6) as it:
        it.given_a_candidate("new")
        pid = it.pid(OLD)
        async with aiohttp.ClientSession(it.up.address, headers=it.up.headers()) as http:
            stream = asyncio.create_task(it.ask(http, stream=True))
            await asyncio.sleep(0.5)
            rollout = it.when_it_is_promoted("new")
            await it.when_the_old_engine_is_gone()
            waiting = asyncio.create_task(it.ask(http))
            it.when_it_is_rolled_back()
            await it.up.ready(OLD)
            await waiting
            assert not stream.done()
            await stream
        it.then_nobody_saw_an_error()
        assert it.answered_by == [OLD, OLD]
        assert it.pid(OLD) == pid
        assert it.now(rollout).state == "rolled_back"
        assert it.pid("new") is None


async def test_a_rollback_by_hand_in_the_bake_time_exchanges_back(tmp_path: Path) -> None:
    async with scarce(tmp_path / "p") as it:
        it.given_a_candidate("new")
        rollout = it.when_it_is_promoted("new")
        await it.then_engines_are_exchanged(rollout)
        async with it.while_callers_ask(4):
            it.when_it_is_rolled_back()
            await it.up.ready(OLD)
            await asyncio.sleep(0.3)
        it.then_nobody_saw_an_error()
        assert it.answered_by[-1] == OLD
        assert it.deployment("new").desired == "stopped"


async def test_an_alarm_in_the_bake_time_exchanges_back(tmp_path: Path) -> None:
    async with scarce(tmp_path / "p") as it:
        it.given_a_candidate("new", fault="error_500", fault_rate=0.5)
        rollout = it.when_it_is_promoted("new")
        await it.then_engines_are_exchanged(rollout)
        async with it.while_callers_ask(8):
            # Of those that are alone on a machine, what fails is seen: nobody is there to step in.
            await it.then_it_becomes(rollout, "rolled_back")
            await it.up.ready(OLD)
        assert "requests to the candidate failed" in it.events(rollout)[-1].reason
        assert it.incumbent() == OLD


async def test_an_engine_that_another_task_needs_is_not_exchanged(tmp_path: Path) -> None:
    async with scarce(tmp_path / "p") as it:
        it.given_a_candidate("new")
        installation = it.up.installation
        other = declared_variant(installation, "other", OLD)
        with installation.store.write() as connection:
            keep_variant(connection, other, installation.clock.now())
            route = current_route(connection, "other")
            assert route is not None
            append_route(connection, replace(route, incumbent=other.id))
        with pytest.raises(GateError, match=f"`{OLD}` answers `other` besides `echo`"):
            needs_exchange(installation, "echo", "new")
        with pytest.raises(GateError, match=f"`{OLD}` answers `other` too"):
            it.when_it_is_promoted("new")
        assert it.incumbent() == OLD
        assert (it.deployment(OLD).desired, it.deployment("new").desired) == ("running", "stopped")


async def test_what_does_not_fit_is_refused_with_the_figures_and_what_could_be_stopped(tmp_path: Path) -> None:
    async with scarce(tmp_path / "p") as it:
        installation = it.up.installation
        kept = {"memory_mib": 200, "idle_unload_s": 0}
        small = EnginePlan(deployment="small", backend="echo", model="small", options=kept)
        deploy(installation, small, "test")
        new = EnginePlan(deployment="new", backend="echo", model="new", options={"memory_mib": 300})
        with pytest.raises(
            EngineError, match=r"`new` needs 0.3 GiB beside 0.9 GiB running; the budget is 1.0 GiB"
        ) as no:
            deploy(installation, new, "test")
        assert "No route names `small`: `changeover undeploy small`, then ask again." in no.value.message
        with installation.store.write() as connection:
            want(connection, "small", "stopped", installation.clock.now())
        deploy(installation, new, "test")
        large = EnginePlan(deployment="large", backend="echo", model="large", options={"memory_mib": 1100})
        with pytest.raises(EngineError, match="It would not fit alone"):
            deploy(installation, large, "test")
