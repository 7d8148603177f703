"""A model that others run, behind a real socket: its answers change under the same name, vary, or do not come."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from tests.support.projects import Running, open_written, running, write_project

from changeover.app.alias_checks import AliasChecks
from changeover.app.deploy import declared_variant, deploy
from changeover.app.installation import Installation
from changeover.app.kept import match_of_rollout
from changeover.app.prepare import prepare
from changeover.cli.main import run_command
from changeover.core.clock import SystemClock
from changeover.evals.alias_queries import AliasCheck, add_check, checks_of, recent_checks
from changeover.rollouts.actions import By, plan_of, promote, start
from changeover.rollouts.decide import Rollout
from changeover.rollouts.queries import latest_rollout
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import keep_variant
from changeover.store.engine import Store
from changeover.tasks.queries import current_route

QUIET = "ready_wait_s = 5\n[alias_checks]\nevery_s = 0\n"


class Hosted:
    """A server that others run. What it answers is up to the test."""

    def __init__(self) -> None:
        self.answer: Callable[[str], str] = lambda text: f"ok {text}"
        self.status = 200
        self.asked = 0
        self.url = ""

    async def models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    async def handle(self, request: web.Request) -> web.Response:
        self.asked += 1
        said = json.loads(await request.read())
        if self.status != 200:
            return web.json_response({"error": {"message": "no capacity"}}, status=self.status)
        content = self.answer(said["messages"][-1]["content"])
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
        return web.json_response({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})


@pytest.fixture
async def hosted() -> AsyncGenerator[Hosted]:
    it = Hosted()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", it.handle)
    app.router.add_get("/v1/models", it.models)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    it.url = f"http://{host}:{port}/v1"
    yield it
    await runner.cleanup()


def answered_by(hosted: Hosted, installation: Installation, *tasks: str) -> None:
    """Have tasks answered by the hosted model."""
    plan = EnginePlan(deployment="hosted", backend="openai", model="gpt-x", options={"base_url": hosted.url})
    deploy(installation, plan, "test")
    by = By(actor="test", reason="test", now=installation.clock.now())
    for task in tasks:
        variant = declared_variant(installation, task, "hosted")
        with installation.store.write() as connection:
            keep_variant(connection, variant, by.now)
            rollout = start(connection, variant, plan_of(installation.tasks[task].declared), None, by)
            promote(connection, rollout, None, by)


@pytest.fixture
async def up(tmp_path: Path, hosted: Hosted) -> AsyncGenerator[Running]:
    installation = open_written(write_project(tmp_path / "p", ("echo", "other", "own"), gateway=QUIET))
    answered_by(hosted, installation, "echo", "other")
    async with running(installation) as up:
        await up.ready("echo", "hosted")
        yield up


def checks(up: Running) -> AliasChecks:
    return AliasChecks(up.installation)


async def look(up: Running, times: int = 1) -> list[AliasCheck]:
    """Check the task `echo` so often."""
    made: list[AliasCheck] = []
    for _ in range(times):
        aliases = [each for each in checks(up).aliases() if each.task.name == "echo"]
        made += await checks(up).check(aliases)
    return made


def newest(store: Store, task: str) -> Rollout | None:
    with store.read() as connection:
        return latest_rollout(connection, task)


async def test_only_what_others_run_is_asked_and_what_it_costs_is_known(up: Running, hosted: Hosted) -> None:
    assert [(each.task.name, each.name) for each in checks(up).aliases()] == [("echo", "gpt-x"), ("other", "gpt-x")]
    [baseline] = await look(up)
    assert (baseline.verdict, baseline.asked, hosted.asked) == ("baseline", 24, 1 + 24), "once before it was ready"
    assert baseline.detail["cost"] == {"tokens": 24 * 13, "usd": None}
    [again] = await look(up)
    assert (again.verdict, again.asked, again.changed) == ("same", 12, 0)


async def test_another_model_under_the_same_name_opens_a_rollout_in_held_and_the_route_goes_on(
    up: Running, hosted: Hosted
) -> None:
    await look(up, 2)
    hosted.answer = lambda text: f"certainly: {text}"
    [seen] = await look(up)
    assert (seen.verdict, seen.changed) == ("changed", 12)
    for task in ("echo", "other"):
        rollout = newest(up.installation.store, task)
        assert rollout is not None
        assert (rollout.state, rollout.hold and rollout.hold.kind) == ("evaluation", "held"), task
        assert rollout.hold is not None
        assert "`gpt-x` answers 12 of 12 pinned samples of echo differently since 20" in rollout.hold.reason
        with up.installation.store.read() as connection:
            route = current_route(connection, task)
        assert route is not None
        assert (route.incumbent, route.action) == (rollout.candidate, "engine"), "it is a bundle of its own from now on"
    echo = newest(up.installation.store, "echo")
    assert echo is not None
    _, match = match_of_rollout(up.installation, echo, "ana")
    assert len(match.dataset.samples) == 12, "what was pinned is what it is measured against"
    assert match.candidate.bundle.engine.observed is not None
    [after] = await look(up)
    assert after.verdict == "baseline", "the new bundle has a baseline of its own"
    prepare(up.installation)
    assert newest(up.installation.store, "echo") == echo, "a start does not take what was observed for another engine"


async def test_a_model_that_varies_and_does_not_change_is_left_alone(up: Running, hosted: Hosted) -> None:
    # Every third request is answered in other words, whichever sample it is.
    hosted.answer = lambda text: f"ok {text}" if hosted.asked % 3 else f"ok {text} ({hosted.asked})"
    made = await look(up, 12)
    assert {each.verdict for each in made} == {"baseline", "same"}
    assert sum(each.changed for each in made) > 20, "it does vary"
    rollout = newest(up.installation.store, "echo")
    assert rollout is not None
    assert rollout.state == "baking", "the one that brought it in"


async def test_spaces_are_no_change(up: Running, hosted: Hosted) -> None:
    await look(up)
    hosted.answer = lambda text: f"  ok   {text}\n"
    [seen] = await look(up)
    assert (seen.verdict, seen.changed) == ("same", 0)


async def test_a_server_that_fails_is_written_down_and_no_alarm(up: Running, hosted: Hosted) -> None:
    await look(up)
    hosted.status = 500
    [failed] = await look(up)
    assert (failed.verdict, failed.asked) == ("failed", 1), "it ends with the first that fails"
    assert failed.detail["error"]
    hosted.status = 200
    [again] = await look(up)
    assert (again.verdict, again.changed) == ("same", 0), "the baseline is still there"


class _Later(SystemClock):
    """So far ahead of the system's."""

    def __init__(self, ahead_s: float) -> None:
        self.now = lambda: datetime.now(UTC) + timedelta(seconds=ahead_s)


async def test_a_check_that_fails_again_and_again_is_made_ever_more_rarely(tmp_path: Path, hosted: Hosted) -> None:
    installation = open_written(write_project(tmp_path / "p"))
    answered_by(hosted, installation, "echo")
    [alias] = AliasChecks(installation).aliases()
    for failures, wait_s in ((1, 900), (2, 1800), (3, 3600), (8, 86_400)):
        with installation.store.write() as connection:
            for _ in range(failures - len(checks_of(connection, alias.variant.id))):
                check = AliasCheck(
                    task="echo",
                    variant=alias.variant.id,
                    deployment="hosted",
                    asked=1,
                    changed=0,
                    evidence=0,
                    verdict="failed",
                    detail={},
                    at=installation.clock.now(),
                )
                add_check(connection, check)
        early, late = (AliasChecks(replace(installation, clock=_Later(wait_s + off))) for off in (-30, 30))
        assert (early.due(), late.due()) == ([], [alias]), failures


async def test_samples_that_ask_the_same_are_asked_once(up: Running) -> None:
    dataset = up.installation.tasks["echo"].dataset
    samples = [json.loads(line) for line in dataset.read_text().splitlines()]
    again = [{**sample, "id": f"{sample['id']}-again"} for sample in samples]
    dataset.write_text("".join(json.dumps(sample) + "\n" for sample in [*samples[:6], *again[:6]]))
    [baseline] = await look(up)
    assert (baseline.asked, baseline.detail["samples"]) == (2 * 6, 6)


async def test_the_command_shows_the_checks_and_makes_them_now(
    up: Running, hosted: Hosted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(up.installation.project.root)

    async def command(*argv: str) -> tuple[int, str]:
        status = await asyncio.to_thread(run_command, ["alias-checks", *argv])
        return status, capsys.readouterr().out

    status, said = await command("echo", "--run", "--json")
    assert (status, [each["verdict"] for each in json.loads(said)]) == (0, ["baseline"])
    hosted.status = 500
    assert (await command("echo", "--run"))[0] == 3
    hosted.status, hosted.answer = 200, lambda text: "something else"
    status, said = await command("echo", "--run")
    assert (status, "12 of 12" in said) == (1, True)
    status, said = await command("echo", "--json")
    assert (status, [each["verdict"] for each in json.loads(said)]) == (0, ["changed", "failed", "baseline"])
    assert json.loads((await command("own", "--run", "--json"))[1]) == [], "nobody else's model answers it"


async def test_the_running_system_checks_by_itself(tmp_path: Path, hosted: Hosted) -> None:
    often = "ready_wait_s = 5\n[alias_checks]\nevery_s = 0.3\nsamples = 10\n"
    installation = open_written(write_project(tmp_path / "p", gateway=often))
    answered_by(hosted, installation, "echo")

    def verdicts() -> list[str]:
        with installation.store.read() as connection:
            return [each.verdict for each in recent_checks(connection, "echo", 100)]

    async with running(installation), asyncio.timeout(15):
        while verdicts().count("same") < 2:
            await asyncio.sleep(0.1)
        hosted.answer = lambda text: "no"
        while "changed" not in verdicts():
            await asyncio.sleep(0.1)
        while (rollout := newest(installation.store, "echo")) is None or rollout.hold is None:
            await asyncio.sleep(0.1)
        assert rollout.state == "evaluation"
