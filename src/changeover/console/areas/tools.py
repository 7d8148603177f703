"""Tools as forms and conversations, and their jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, cast
from urllib.parse import quote

import msgspec
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from changeover.client import ClientError, Job, Progress, Tool, ToolFailed
from changeover.client.values import ENDED, Citation, JobState
from changeover.console.failures import missing
from changeover.console.following import following
from changeover.console.forms import Field, fields_of, inputs_of, refilled
from changeover.console.languages import ENGLISH, translated
from changeover.console.routes import Page
from changeover.console.sessions import Session
from changeover.console.texts import shown
from changeover.console.visit import Visit
from changeover.core.errors import AuthenticationError
from changeover.core.threads import in_thread

TONES: Mapping[JobState, str] = {
    "waiting": "busy",
    "running": "busy",
    "done": "good",
    "failed": "bad",
    "cancelled": "",
}
MOST_WORDS_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True)
class Row:
    """A job in the list."""

    job: Job
    title: str
    tone: str
    progress: str
    began: datetime | None
    lasted_s: float | None
    """None: it has not ended, or has not begun."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A place in a document that bears something out."""

    place: str
    """Document and page, as far as they are known; empty: there is only one."""
    quote: str


async def tools(visit: Visit) -> Response:
    """Every tool that this key may use, by group; or those that have every word that is looked for."""
    known = sorted(await visit.session.client.tools(), key=lambda tool: (tool.group, tool.title))
    words = visit.request.query_params.get("q", "").strip()[:MOST_WORDS_CHARACTERS]
    found = [each for each in known if _has(each, words)]
    groups = [(group, list(each)) for group, each in groupby(found, key=lambda tool: tool.group)]
    return visit.page("tools/tools.html", groups=groups, words=words, any_tool=bool(known))


def _has(tool: Tool, words: str) -> bool:
    """Whether each of some words stands in what a tool says of itself, in whatever case."""
    said = f"{tool.name} {tool.title} {tool.group} {tool.description}".casefold()
    return all(word in said for word in words.casefold().split())


async def tool(visit: Visit) -> Response:
    """A tool's form, or its conversation; a form that is sent begins a job."""
    session = visit.session
    found = await session.client.tool(visit.parameter("tool"))
    if visit.request.method == "GET":
        return await _form(visit, found)
    async with visit.form() as form:
        inputs = await inputs_of(fields_of(found), form)
    try:
        begun = await session.client.submit(found.name, **inputs)
    except ClientError as failure:
        return await _form(visit, found, failure=failure, sent=inputs)
    return visit.go(f"/jobs/{begun.id}")


async def _form(
    visit: Visit,
    found: Tool,
    *,
    failure: ClientError | None = None,
    sent: Mapping[str, Any] | None = None,
) -> Response:
    """The tool's page; after a failure with what was sent, so that nothing has to be typed twice."""
    if failure is not None and failure.status == AuthenticationError.status:
        raise failure
    status, error = (200, None) if failure is None else (failure.status, failure.message)
    if found.chat is not None:
        said = visit.session.chats.get(found.name, [])
        html = await in_thread(lambda: [shown(each["content"], found.media_type) for each in said])
        said = [{**each, "html": text} for each, text in zip(said, html, strict=True)]
        message = (sent or {}).get(found.chat.message, "")
        given = visit.session.beside.get(found.name) if sent is None else sent
        fields = _beside(found) if given is None else refilled(_beside(found), given)
        return visit.page("tools/chat.html", status, tool=found, said=said, error=error, message=message, fields=fields)
    fields = fields_of(found) if sent is None else refilled(fields_of(found), sent)
    return visit.page("tools/tool.html", status, tool=found, fields=fields, error=error)


def _beside(found: Tool) -> list[Field]:
    """Inputs of a tool that is talked with, beside what is said."""
    taken = () if found.chat is None else (found.chat.history, found.chat.message)
    return [field for field in fields_of(found) if field.name not in taken]


async def example(visit: Visit) -> Response:
    """Run a tool's example."""
    session = visit.session
    async with visit.form():
        found = await session.client.tool(visit.parameter("tool"))
        begun = await session.client.submit(found.name, **(found.example or {}))
    return visit.go(f"/jobs/{begun.id}")


async def chat(visit: Visit) -> Response:
    """Say something, or begin again."""
    session = visit.session
    found = await session.client.tool(visit.parameter("tool"))
    async with visit.form() as form:
        said = None if found.chat is None else form.get(found.chat.message)
        beside, again = await inputs_of(_beside(found), form), "again" in form
    message = said.strip() if isinstance(said, str) else ""
    if found.chat is None or again:
        session.chats.pop(found.name, None)
    elif message:
        history = [*session.chats.get(found.name, [])]
        heard = {**beside, found.chat.history: history, found.chat.message: message}
        try:
            result = await session.client.run(found.name, **heard)
        except ClientError as failure:
            return await _form(visit, found, failure=failure, sent=heard)
        session.remember(found, ("user", message), ("assistant", result.text), beside=beside)
    return visit.go(f"/tools/{found.name}#last")


async def jobs(visit: Visit) -> Response:
    """This key's jobs, newest first."""
    return await _listed(visit, "tools/jobs.html")


async def jobs_part(visit: Visit) -> Response:
    """The list, as it changes."""
    return await _listed(visit, "tools/list.html")


async def _listed(visit: Visit, template: str) -> Response:
    client = visit.session.client
    titles = {tool.name: tool.title for tool in await client.tools()}
    rows = [row_of(each, titles.get(each.tool, each.tool), visit.language) for each in await client.jobs()]
    return visit.page(template, rows=rows, under_way=sum(not row.job.ended for row in rows))


def row_of(job: Job, title: str, language: str = ENGLISH) -> Row:
    """A job as it stands in the list."""
    began, ended = moment(job.started_at), moment(job.ended_at)
    return Row(
        job=job,
        title=title,
        tone=TONES[job.state],
        progress="" if job.ended else progress_of(job.progress, language),
        began=moment(job.created_at),
        lasted_s=None if began is None or ended is None else (ended - began).total_seconds(),
    )


def moment(value: str | float | None) -> datetime | None:
    """A moment as the gateway writes it."""
    if value is None:
        return None
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else datetime.fromisoformat(value)


def progress_of(progress: Progress | None, language: str = ENGLISH) -> str:
    """How far a job is, in words."""
    if progress is None:
        return translated(language, "Waiting for its turn")
    counted = f" {progress.done}/{progress.of}" if progress.of else ""
    step = f"{progress.step}{counted}"
    return translated(language, "{} · step {} of {}").format(step, progress.number, progress.steps)


async def jobs_events(visit: Visit) -> Response:
    """That a job of the list changed; ends once all have ended."""
    client = visit.session.client

    async def seen() -> Hashable:
        return tuple((each.id, each.state, str(each.progress)) for each in await client.jobs())

    def over(now: Hashable) -> bool:
        return isinstance(now, tuple) and all(
            state in ENDED for _, state, _ in cast("tuple[tuple[str, ...], ...]", now)
        )

    return await following(seen, over)


async def job(visit: Visit) -> Response:
    """How a job stands; its result once there is one."""
    session = visit.session
    found = await session.client.job(visit.parameter("job"))
    result, tool = found.result, await _form_of(session, found)
    citations = [] if result is None else result.citations
    return visit.page(
        "tools/job.html",
        job=found,
        row=row_of(found, tool.title, visit.language),
        title=tool.title,
        text=None if result is None else await in_thread(lambda: shown(result.text, tool.media_type)),
        sources=sources_of(citations),
        unsupported=list(dict.fromkeys(each.claim for each in citations if not each.supported)),
        value=None if result is None else msgspec.json.format(msgspec.json.encode(result.value)).decode(),
        error=None if found.error is None else str(found.error.get("message", "It failed.")),
    )


def sources_of(citations: Iterable[Citation]) -> list[Source]:
    """Places that bear something out, each once, in the order in which the text names them by number."""
    found = [each for each in citations if each.supported]
    several = len({each.document for each in found}) > 1
    places = dict.fromkeys((each.document if several else "", each.label, each.quote) for each in found)
    return [
        Source(place=" · ".join(part for part in (document, label) if part), quote=quote)
        for document, label, quote in places
    ]


async def _form_of(session: Session, job: Job) -> Tool:
    """The tool of a job, for what form its text has; of one that is gone, the usual form."""
    try:
        return await session.client.tool(job.tool)
    except ToolFailed:
        return Tool(name=job.tool, title=job.tool, description="", inputs={}, output={})


async def events(visit: Visit) -> Response:
    """A job's progress as server-sent events, until it ends."""
    session = visit.session
    id = visit.parameter("job")
    told = followed(session, await session.client.job(id), visit.language)
    return StreamingResponse(told, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def followed(session: Session, begun: Job, language: str = ENGLISH) -> AsyncGenerator[bytes]:
    """Events of a job for its page: how far it is, and that it has ended, or cannot be followed any more."""
    told: asyncio.Queue[Progress | None] = asyncio.Queue()

    async def follow() -> None:
        try:
            await session.client.wait(begun.id, told.put_nowait)
        except ClientError:
            return  # the page that is looked at next says it
        finally:
            told.put_nowait(None)

    following = asyncio.create_task(follow())
    try:
        while (progress := await told.get()) is not None:
            said = {"words": progress_of(progress, language), "share": progress.share / progress.steps}
            yield b"event: progress\ndata: " + msgspec.json.encode(said) + b"\n\n"
        yield b"event: ended\ndata: {}\n\n"
    finally:
        following.cancel()
        await asyncio.wait([following])


async def download(visit: Visit) -> Response:
    """A job's text as a file."""
    session = visit.session
    found = await session.client.job(visit.parameter("job"))
    if found.result is None:
        return await missing(visit.request, None)
    name = f"{found.tool}-{found.id}{(await _form_of(session, found)).extension}"
    return PlainTextResponse(found.result.text, headers={"content-disposition": f'attachment; filename="{name}"'})


async def end_job(visit: Visit) -> Response:
    """Cancel a job, or delete one that ended."""
    session = visit.session
    id = visit.parameter("job")
    async with visit.form() as form:
        delete = "delete" in form
    if not delete and (await session.client.job(id)).ended:  # it was quicker than whoever would have cancelled it
        return visit.go(f"/jobs/{quote(id, safe='')}")
    await session.client.cancel(id)
    return visit.go("/jobs")


PAGES = (
    Page(path="/tools", endpoint=tools, right="call", everywhere=True),
    Page(path="/tools/{tool}", endpoint=tool, right="call", methods=("GET", "POST"), everywhere=True),
    Page(path="/tools/{tool}/example", endpoint=example, right="call", methods=("POST",), everywhere=True),
    Page(path="/tools/{tool}/chat", endpoint=chat, right="call", methods=("POST",), everywhere=True),
    Page(path="/jobs", endpoint=jobs, right="call", everywhere=True),
    Page(path="/jobs/part", endpoint=jobs_part, right="call", everywhere=True),
    Page(path="/jobs/events", endpoint=jobs_events, right="call", everywhere=True),
    Page(path="/jobs/{job}", endpoint=job, right="call", everywhere=True),
    Page(path="/jobs/{job}/events", endpoint=events, right="call", everywhere=True),
    Page(path="/jobs/{job}/text", endpoint=download, right="call", everywhere=True),
    Page(path="/jobs/{job}/end", endpoint=end_job, right="call", methods=("POST",), everywhere=True),
)
