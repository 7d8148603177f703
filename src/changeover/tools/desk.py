"""The desk of tools: answers every route of tools and jobs, for callers that the door knows already."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, cast
from urllib.parse import parse_qsl

import msgspec

from changeover.core.errors import ChangeoverError, RequestError, StoreError, nearest
from changeover.core.ids import new_id
from changeover.core.threads import in_thread
from changeover.gateway.envelope import envelope
from changeover.gateway.http import EVENTS_TYPE, Headers, Reply, send_json
from changeover.gateway.keys import Key
from changeover.gateway.routes import JOBS, TOOLS
from changeover.gateway.visit import Visit
from changeover.tools.access import find_usable, usable
from changeover.tools.declarations import Tool, Tools
from changeover.tools.describe import describe
from changeover.tools.inputs import read_inputs
from changeover.tools.jobs import Jobs, shown
from changeover.tools.multipart import read_body
from changeover.tools.queries import UNDER_WAY
from changeover.tools.runs import Asked, Runs, result_of
from changeover.tools.values import Outcome, Progress

log = logging.getLogger(__name__)

As = Literal["result", "stream", "job"]
WAYS: tuple[As, ...] = ("result", "stream", "job")
LARGE_BODY_BYTES = 256 << 10
"""A body of so much is read in a thread: nobody else's answer waits for it."""
PING_S = 15.0
"""A stream that has nothing to say says so after this time: proxies close silent connections."""
LOOK_S = 0.3
"""Between two looks at a job whose caller listens."""
MOST_LOOKS_A_S = 60
"""Of all of them together."""
MOST_KEPT = 200
"""Descriptions that are kept."""


class JobCancelledError(ChangeoverError):
    """Somebody ended the job."""

    status = 409
    code = "job_cancelled"


class Desk:
    """Answers. See `gateway.tool_desk.ToolDesk`."""

    def __init__(self, *, tools: Callable[[], Tools], runs: Runs, jobs: Jobs) -> None:
        self.jobs = jobs
        self._tools = tools
        self._runs = runs
        self._described: dict[tuple[str, str, bool], Mapping[str, Any]] = {}
        self._closing = False
        self._watchers = 0

    async def run(self) -> None:
        """Run jobs until cancelled."""
        await self.jobs.run()

    def state(self) -> dict[str, Any]:
        """How many jobs wait, and run, over all gateways as it was seen last; and how many run here."""
        seen = self.jobs.standing
        return {"jobs_running_here": self.jobs.running, "jobs_running": seen.running, "jobs_waiting": seen.waiting}

    def stop(self) -> None:
        """Take no more jobs, and end the streams of those who only watch one."""
        self._closing = True
        self.jobs.stop()

    async def close(self) -> None:
        """End the processes that read documents, and the threads that compute."""
        await self._runs.close()

    async def answer(self, visit: Visit, reply: Reply) -> None:
        """Answer one request. See `ToolDesk`."""
        route, key, headers = visit.route, visit.key, _id_header(visit)
        assert route is not None
        assert key is not None, "no route of tools is open to anybody"
        method, path = visit.head.method, visit.head.path
        if path == TOOLS:
            may = usable(key, self._tools())
            said = [await self._said_of(tool) for tool in may.values()]
            send_json(reply, 200, {"object": "list", "data": said}, headers)
        elif path.startswith(f"{TOOLS}/"):
            tool = find_usable(key, self._tools(), path.removeprefix(f"{TOOLS}/"))
            if method == "GET":
                send_json(reply, 200, await self._said_of(tool, whole=True), headers)
            else:
                await self._run(visit, key, tool, reply)
        elif path == JOBS:
            listed = [shown(job) for job in await self.jobs.all_of(key)]
            send_json(reply, 200, {"object": "list", "data": listed}, headers)
        else:
            id, _, events = path.removeprefix(f"{JOBS}/").partition("/")
            await self._answer_job(visit, key, id, bool(events), reply)

    async def _answer_job(self, visit: Visit, key: Key, id: str, events: bool, reply: Reply) -> None:
        headers = _id_header(visit)
        if events:
            self._watchers += 1
            try:
                await self._watch(visit, key, id, reply)
            finally:
                self._watchers -= 1
        elif visit.head.method == "DELETE":
            job = await self.jobs.cancel(id, key)
            said = {"object": "tool.job.deleted", "id": id, "deleted": True} if job is None else shown(job)
            send_json(reply, 200, said, headers)
        else:
            send_json(reply, 200, shown(await self.jobs.find(id, key)), headers)

    async def _said_of(self, tool: Tool, *, whole: bool = False) -> Mapping[str, Any]:
        place = (tool.name, tool.digest, whole)
        said = self._described.get(place)
        if said is None:
            said = await in_thread(partial(describe, tool, whole=whole))
            if len(self._described) >= MOST_KEPT:
                self._described.clear()
            self._described[place] = said
        return said

    async def _run(self, visit: Visit, key: Key, tool: Tool, reply: Reply) -> None:
        wanted = wanted_of(visit.head.query)
        given = await self._inputs(visit, tool)
        if wanted == "job":
            job = await self.jobs.submit(tool, given, key)
            place = (b"location", f"{JOBS}/{job.id}".encode())
            send_json(reply, 202, shown(job), [place, *_id_header(visit)])
            return
        asked = partial(Asked, id=new_id("run"), tool=tool, given=given, key=key.id, headers=visit.head.headers)
        if wanted == "stream":
            await self._stream(visit, asked, reply)
        else:
            run = asked(on_progress=_nobody_hears)
            send_json(reply, 200, result_of(run.id, await self._runs.run(run)), _id_header(visit))

    async def _inputs(self, visit: Visit, tool: Tool) -> dict[str, Any]:
        """The inputs in its body, which is let go: it would take as much again as its files for as long as they run."""
        read = partial(_inputs, tool, visit.head.header(b"content-type") or b"", visit.body)
        large = len(visit.body) > LARGE_BODY_BYTES
        visit.body = b""
        return await in_thread(read) if large else read()

    async def _stream(self, visit: Visit, asked: Callable[..., Asked], reply: Reply) -> None:
        """Run a tool, and tell how far it is. What is wrong before it has begun is an error like any other."""
        events = Events(reply, _id_header(visit))

        def hear(progress: Progress) -> None:
            if progress.text is not None:
                events.send("text", {"piece": progress.text})
            elif not reply.full:  # who reads slowly is told less of it
                events.send("progress", progress)

        run = asked(on_progress=hear, stream=True)
        running = asyncio.create_task(self._runs.run(run))
        try:
            while not running.done():
                await asyncio.wait([running], timeout=PING_S)
                if not running.done():
                    events.ping()
        finally:
            running.cancel()
            await asyncio.wait([running])
        try:
            outcome: Outcome = running.result()
        except ChangeoverError as error:
            if not events.started:
                raise
            events.end("error", envelope(error, visit.id))
        except Exception:
            if not events.started:
                raise
            log.exception("request %s", visit.id)
            broke = ChangeoverError(f"The gateway itself failed. Its log says why, under `{visit.id}`.")
            events.end("error", envelope(broke, visit.id))
        else:
            events.end("result", result_of(run.id, outcome))

    async def _watch(self, visit: Visit, key: Key, id: str, reply: Reply) -> None:
        """Tell how far a job is, until it ends."""
        job = await self.jobs.find(id, key)
        events, told, quiet_s = Events(reply, _id_header(visit)), None, 0.0
        while job.state in UNDER_WAY and not self._closing:
            if job.progress is not None and job.progress != told:
                events.send("progress", job.progress)
                told, quiet_s = job.progress, 0.0
            elif quiet_s > PING_S or not events.started:
                events.ping()
                quiet_s = 0.0
            pause_s = between_looks_s(self._watchers)
            await asyncio.sleep(pause_s)
            quiet_s += pause_s
            if reply.full:
                await reply.drain()
            try:
                job = await self.jobs.find(id, self.jobs.holder_now(key))
            except StoreError:
                continue  # the job goes on without it, or waits for it
            except ChangeoverError as error:  # it was deleted meanwhile, or the key revoked
                events.end("error", envelope(error, visit.id))
                return
        if job.state in UNDER_WAY:
            events.close()
        elif job.state == "done":
            events.end("result", cast("Any", job.outcome))
        else:
            error = job.error or envelope(JobCancelledError("The job was cancelled."), visit.id)["error"]
            events.end("error", {"type": "error", "error": error})


def between_looks_s(watchers: int) -> float:
    """How long each of so many watchers of jobs waits between two looks: together they leave the store in peace."""
    return max(LOOK_S, watchers / MOST_LOOKS_A_S)


class Events:
    """Server-sent events on a reply; it begins with the first."""

    def __init__(self, reply: Reply, headers: Headers) -> None:
        self._reply = reply
        self._headers = headers
        self.started = False

    def send(self, name: str, value: Any) -> None:
        """Send one."""
        self._begin()
        self._reply.write(_event(name, value))

    def ping(self) -> None:
        """Send what means nothing."""
        self._begin()
        self._reply.write(b": still here\n\n")

    def end(self, name: str, value: Any) -> None:
        """Send the last one."""
        self._begin()
        self._reply.end(_event(name, value))

    def close(self) -> None:
        """Send no more."""
        self._begin()
        self._reply.end()

    def _begin(self) -> None:
        if not self.started:
            self.started = True
            self._reply.start([EVENTS_TYPE, (b"cache-control", b"no-cache"), *self._headers])


def wanted_of(query: str) -> As:
    """How a result is wanted.

    Raises:
        RequestError: The query says something else.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=8)
    except ValueError as exc:
        raise RequestError("The address's query cannot be read. Write `?as=stream`, or leave it out.") from exc
    for name, _ in pairs:
        if name != "as":
            raise RequestError(f"`?{name[:80]}=`: unknown. Only `as` is asked for: `?as=stream`.")
    values = [value for _, value in pairs] or ["result"]
    for way in WAYS:
        if values == [way]:
            return way
    raise RequestError(f"`?as={values[-1][:80]}`: {nearest(values[-1][:80], WAYS)}")


def _inputs(tool: Tool, content_type: bytes, body: bytes) -> dict[str, Any]:
    """A body's inputs, checked: a job is refused when it is sent, and not when its turn comes."""
    return read_inputs(tool, read_body(content_type, body))


def _event(name: str, value: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(value))


def _id_header(visit: Visit) -> list[tuple[bytes, bytes]]:
    return [(b"x-changeover-request-id", visit.id.encode())]


def _nobody_hears(progress: Progress) -> None:
    del progress
