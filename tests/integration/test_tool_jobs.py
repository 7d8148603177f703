"""Jobs over HTTP: taken in, watched, cancelled, kept and forgotten; and taken over from a gateway that was killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select, update
from tests.support import postgres
from tests.support.processes import Up, system, until
from tests.support.projects import Running, open_written, running, write_project
from tests.support.tool_calls import Caller, calling, event_of, write_tool

from changeover.app.installation import Installation
from changeover.gateway.keys import issue_key, revoke_key
from changeover.store.schema import exchanges, tool_job_files, tool_job_parts, tool_jobs
from changeover.tools import queries

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = "ready_wait_s = 5\n[jobs]\nat_once = 3\nmost_waiting = 4\n"
LINES = [f"line {number}" for number in range(8)]
FILE = {"name": "a.md", "content_base64": "IyBBIGZlcnJ5"}


@dataclass
class Stage:
    """The system, and two applications."""

    up: Running
    app: Caller
    other: Caller
    operator: Caller


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    project = write_project(tmp_path_factory.mktemp("jobs") / "p", gateway=SETTINGS)
    write_tool(project)
    write_tool(project, "slow", echo="delay_s = 0.25")
    write_tool(project, "stuck", echo="delay_s = 60.0")
    async with running(open_written(project)) as up:
        other = make_key(up.installation, "other")
        await up.ready("echo", "echo-slow.say", "echo-stuck.say", timeout_s=60)
        async with calling(up) as app, calling(up, other) as second, calling(up, up.operator) as operator:
            async with asyncio.timeout(20):
                while (await second.ask("GET", "/v1/jobs"))[0] == 401:
                    await asyncio.sleep(0.05)
            yield Stage(up, app, second, operator)


def make_key(installation: Installation, name: str) -> str:
    with installation.store.write() as connection:
        return issue_key(connection, name=name, role="application", now=installation.clock.now())


def left(installation: Installation, id: str) -> tuple[Any, int, int]:
    """Inputs, and how many files and parts, that are kept of a job."""
    with installation.store.read() as connection:
        inputs = connection.execute(select(tool_jobs.c.inputs).where(tool_jobs.c.id == id)).scalar_one()
        files = connection.execute(select(tool_job_files.c.place).where(tool_job_files.c.job == id)).all()
        parts = connection.execute(select(tool_job_parts.c.place).where(tool_job_parts.c.job == id)).all()
    return inputs, len(files), len(parts)


async def test_a_job_is_taken_in_at_once_and_its_result_is_kept_without_what_it_was_given(stage: Stage) -> None:
    async with stage.app.http.post(
        "/v1/tools/slow?as=job", json={"inputs": {"text": "one\ntwo", "notes": FILE}}, headers=stage.app.headers
    ) as response:
        assert response.status == 202
        job = await response.json()
        assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["object"], job["tool"], job["state"]) == ("tool.job", "slow", "waiting")
    done = await stage.app.until(job["id"], "done", "failed")
    assert done["state"] == "done", done
    assert done["result"]["id"] == job["id"]
    assert done["result"]["value"] == {"text": "one two", "lines": 2, "notes": "# A ferry", "papers": 0}
    assert done["progress"]["step"] == "whole"
    assert done["started_at"] <= done["ended_at"] < done["expires_at"]
    assert left(stage.up.installation, job["id"]) == ({}, 0, 0)


async def test_a_job_is_watched_until_its_result(stage: Stage) -> None:
    id = await stage.app.submit("slow", text="one\ntwo\nthree")
    events = await stage.app.events("GET", f"/v1/jobs/{id}/events")
    assert [name for name, _ in events][-1] == "result"
    assert events[-1][1]["text"] == "one two three"
    assert {value["step"] for name, value in events if name == "progress"} & {"said", "whole"}
    assert await stage.app.events("GET", f"/v1/jobs/{id}/events") == [("result", events[-1][1])]


async def test_a_job_that_fails_says_what_any_caller_would_be_told(stage: Stage) -> None:
    pdf = {"name": "a.pdf", "content_base64": "JVBERi0xLjcgbm90aGluZw=="}
    id = await stage.app.submit(text="one", notes=pdf)
    job = await stage.app.until(id, "failed", "done")
    assert (job["state"], job["error"]["code"]) == ("failed", "document_refused")
    assert "result" not in job
    events = await stage.app.events("GET", f"/v1/jobs/{id}/events")
    assert events == [("error", {"type": "error", "error": job["error"]})]


async def test_a_key_sees_its_own_jobs_and_an_operator_everybodys(stage: Stage) -> None:
    id = await stage.app.submit(text="mine")
    _, listed = await stage.app.ask("GET", "/v1/jobs")
    assert listed["data"][0]["id"] == id
    assert "result" not in listed["data"][0]
    assert id not in [job["id"] for job in (await stage.other.ask("GET", "/v1/jobs"))[1]["data"]]
    for method, path in (("GET", id), ("DELETE", id), ("GET", f"{id}/events")):
        status, said = await stage.other.ask(method, f"/v1/jobs/{path}")
        assert (status, said["error"]["code"]) == (404, "unknown_job")
    assert (await stage.operator.ask("GET", f"/v1/jobs/{id}"))[0] == 200
    await stage.app.until(id, "done")


async def test_a_running_job_is_cancelled_at_once_and_asks_nothing_any_more(stage: Stage) -> None:
    id = await stage.app.submit("stuck", text="one", notes=FILE)
    await stage.app.until(id, "running")
    async with asyncio.timeout(10):
        while not stage.up.system.gateway.admission.in_flight:
            await asyncio.sleep(0.02)
    status, job = await stage.app.ask("DELETE", f"/v1/jobs/{id}")
    assert (status, job["state"]) == (200, "cancelled")
    async with asyncio.timeout(10):
        while stage.up.system.gateway.admission.in_flight:
            await asyncio.sleep(0.02)
    assert left(stage.up.installation, id) == ({}, 0, 0)
    [(name, value)] = await stage.app.events("GET", f"/v1/jobs/{id}/events")
    assert (name, value["error"]["code"]) == ("error", "job_cancelled")
    assert await stage.app.ask("DELETE", f"/v1/jobs/{id}") == (
        200,
        {"object": "tool.job.deleted", "id": id, "deleted": True},
    )
    assert (await stage.app.ask("GET", f"/v1/jobs/{id}"))[0] == 404


async def test_whose_key_is_revoked_hears_no_more_of_a_job_that_they_watch(stage: Stage) -> None:
    installation = stage.up.installation
    id = await stage.app.submit("stuck", text="one")
    with installation.store.write() as connection:
        secret = issue_key(connection, name="leaver", role="operator", now=installation.clock.now())
    async with calling(stage.up, secret) as leaver, asyncio.timeout(20):
        while (await leaver.ask("GET", f"/v1/jobs/{id}"))[0] == 401:
            await asyncio.sleep(0.05)
        async with leaver.http.get(f"/v1/jobs/{id}/events", headers=leaver.headers) as response:
            assert response.status == 200
            await response.content.readline()
            with installation.store.write() as connection:
                revoke_key(connection, "leaver", installation.clock.now())
            last = (await response.read()).decode().split("\n\n")[-2]
    name, value = event_of(last)
    assert (name, value["error"]["code"]) == ("error", "invalid_api_key")
    assert (await stage.app.ask("DELETE", f"/v1/jobs/{id}"))[0] == 200


async def test_a_job_that_another_process_cancels_stops_here(stage: Stage) -> None:
    id = await stage.app.submit("stuck", text="one")
    await stage.app.until(id, "running")
    now = stage.up.installation.clock.now()
    with stage.up.installation.store.append() as connection:
        assert queries.cancel_job(connection, id, now, now + timedelta(hours=1))
    async with asyncio.timeout(10):
        while (await stage.operator.ask("GET", "/healthz"))[1]["jobs_running_here"]:
            await asyncio.sleep(0.05)
    assert (await stage.app.job(id))["state"] == "cancelled"


async def test_jobs_leave_a_place_for_who_stands_and_waits_and_one_too_many_is_refused(stage: Stage) -> None:
    ids = [await stage.app.submit("stuck", text="one") for _ in range(2)]
    for id in ids:
        await stage.app.until(id, "running")
    ids += [await stage.app.submit("stuck", text="one") for _ in range(4)]
    status, said = await stage.app.run(query="?as=job", text="one")
    assert (status, said["error"]["code"]) == (429, "over_capacity")
    assert (await stage.app.run(text="one"))[0] == 200
    for id in ids:
        assert (await stage.app.ask("DELETE", f"/v1/jobs/{id}"))[1]["state"] == "cancelled"


async def test_a_job_whose_key_is_revoked_fails_and_says_so(stage: Stage) -> None:
    secret = make_key(stage.up.installation, "leaving")
    async with calling(stage.up, secret) as caller:
        async with asyncio.timeout(20):
            while (await caller.ask("GET", "/v1/jobs"))[0] == 401:
                await asyncio.sleep(0.05)
        id = await caller.submit("slow", text="\n".join(map(str, range(40))))
        await caller.until(id, "running")
    with stage.up.installation.store.write() as connection:
        revoke_key(connection, "leaving", stage.up.installation.clock.now())
    job = await stage.operator.until(id, "failed", "done")
    assert (job["state"], job["error"]["code"]) == ("failed", "invalid_api_key")
    assert "revoked" in job["error"]["message"]


async def test_a_result_is_forgotten_when_its_time_is_over(stage: Stage) -> None:
    id = await stage.app.submit(text="one")
    await stage.app.until(id, "done")
    jobs: Any = stage.up.system.gateway._tools._desk
    past = stage.up.installation.clock.now() - timedelta(seconds=1)
    with stage.up.installation.store.append() as connection:
        connection.execute(update(tool_jobs).where(tool_jobs.c.id == id).values(expires_at=past))
    await asyncio.to_thread(jobs.jobs._sweep)
    assert (await stage.app.ask("GET", f"/v1/jobs/{id}"))[0] == 404


async def test_a_gateway_that_stops_leaves_its_jobs_to_the_next_one_which_asks_nothing_again(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p")
    write_tool(project, "slow", echo="delay_s = 0.1")
    async with running(open_written(project)) as up, calling(up) as caller:
        await up.ready("echo-slow.say")
        key = up.key
        id = await caller.submit("slow", text="\n".join(LINES))
        async with asyncio.timeout(20):
            while left(up.installation, id)[2] < 3:
                await asyncio.sleep(0.02)
    async with running(open_written(project), key=key) as up, calling(up) as caller:
        job = await caller.until(id, "done", "failed")
        assert job["state"] == "done", job
        assert job["result"]["text"] == " ".join(LINES)
        assert job["result"]["answered_by"][0]["calls"] == len(LINES) + 1
        async with asyncio.timeout(20):
            while not (asked := asked_about(up.installation))[" ".join(LINES)]:
                await asyncio.sleep(0.02)
    assert len([line for line in LINES if asked[line] > 1]) <= 1, "only what was under way is asked again"
    assert all(asked[line] for line in LINES)


async def test_a_worker_that_is_killed_leaves_its_job_to_the_other_which_asks_nothing_again(
    tmp_path: Path, postgres_url: str
) -> None:
    project = postgres.keep_in(write_project(tmp_path / "p", gateway="workers = 2"), postgres_url)
    released = tmp_path / "released"
    hold(write_tool(project, "slow"), released)
    with system(project) as up:
        until(lambda: up.ready("echo"))
        id = post(up, "/v1/tools/slow?as=job", {"inputs": {"text": "\n".join(LINES)}})["id"]
        with up.opened() as installation:
            until(up.functions)  # every line is asked about
            os.kill(owner_of(installation), signal.SIGKILL)
            released.touch()
            # Its lease is over in some seconds; here, at once.
            past = installation.clock.now() - timedelta(seconds=1)
            with installation.store.append() as connection:
                connection.execute(update(tool_jobs).where(tool_jobs.c.id == id).values(lease_until=past))
            job = until(lambda: ended(up, id))
            assert job["state"] == "done", job
            assert job["result"]["text"] == " ".join(LINES)
            with installation.store.read() as connection:
                assert connection.execute(select(tool_jobs.c.attempts)).scalar_one() == 2
            asked = until(lambda: found if (found := asked_about(installation))[" ".join(LINES)] else None)
    assert max(asked[line] for line in LINES) <= 1, "what is kept is not asked again"


def hold(folder: Path, until: Path) -> None:
    """Have a tool wait for a file before its last step."""
    step = '[[steps]]\nname = "held"\ndo = "function"\nfile = "hold.py"\ncall = "hold"\n'
    declared, last = folder / "tool.toml", '[[steps]]\nname = "whole"\n'
    declared.write_text(declared.read_text().replace(last, step + last))
    loop = f"while not os.path.exists({str(until)!r}):\n        time.sleep(0.02)"
    (folder / "hold.py").write_text(f"import os\nimport time\n\n\ndef hold():\n    {loop}\n")


def post(up: Up, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {up.key}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{up.address}{path}", data, headers), timeout=30) as response:
        return json.loads(response.read())


def ended(up: Up, id: str) -> Any:
    """A job that has ended; None before that, and while nobody answers."""
    try:
        job = post(up, f"/v1/jobs/{id}")
    except (urllib.error.URLError, OSError):
        return None
    return job if job["ended_at"] else None


def owner_of(installation: Installation) -> int:
    """Process of the gateway that runs the only job."""
    with installation.store.read() as connection:
        owner: str = connection.execute(select(tool_jobs.c.owner)).scalar_one()
    return int(owner.rpartition("-")[2])


def asked_about(installation: Installation) -> Counter[str]:
    """How often each text was asked about, as far as that is recorded."""
    with installation.store.read() as connection:
        found = connection.execute(select(exchanges.c.request).where(exchanges.c.task == "slow.say")).scalars().all()
    return Counter(json.loads(request)["messages"][-1]["content"] for request in found if request)
