"""What each page shows, and what its forms do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any
from urllib.parse import quote

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse

from changeover.client import ClientError, Job, Progress, Tool, ToolFailed
from changeover.client.values import cited
from changeover.console.forms import Field, fields_of, inputs_of, refilled
from changeover.console.sessions import Session, Sessions
from changeover.console.texts import sentence, shown
from changeover.core.errors import AuthenticationError, ConfigError
from changeover.core.threads import in_thread

COOKIE = "changeover_session"
LONGEST_KEY = 400
MOST_FILES = 200
MOST_FIELD_BYTES = 32 << 20
NOWHERE_TO_BE_FOUND = 404

_PAGES = Environment(
    loader=PackageLoader("changeover.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.filters["sentence"] = sentence


class SignInFirst(Exception):
    """The page is for those who are signed in."""


def _page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    session = _sessions(request).find(request.cookies.get(COOKIE))
    text = _PAGES.get_template(name).render(csrf=session.csrf if session else None, path=request.url.path, **values)
    return HTMLResponse(text, status)


def _sessions(request: Request) -> Sessions:
    return request.app.state.sessions


def _session(request: Request) -> Session:
    session = _sessions(request).find(request.cookies.get(COOKIE))
    if session is None:
        raise SignInFirst
    return session


@asynccontextmanager
async def _ours(request: Request, session: Session) -> AsyncGenerator[FormData]:
    """The form that was sent; one that was not made here is refused."""
    async with request.form(max_files=MOST_FILES, max_part_size=MOST_FIELD_BYTES) as form:
        if not session.came_from_us(form.get("csrf")):
            raise ToolFailed(
                "This form is out of date. Go back, and send it again.", status=403, code="old_form", retryable=False
            )
        yield form


def _go(path: str) -> RedirectResponse:
    return RedirectResponse(path, 303)


async def home(request: Request) -> Response:
    """The first page there is."""
    return _go("/tools")


async def sign_in(request: Request) -> Response:
    """Ask for a key, and begin a session with it."""
    if request.method == "GET":
        return _page(request, "sign_in.html", error=None)
    form = await request.form()
    key = form.get("key")
    if not isinstance(key, str) or not key.strip() or len(key) > LONGEST_KEY:
        return _page(request, "sign_in.html", 400, error="Paste a key of this installation.")
    try:
        cookie = await _sessions(request).begin(key.strip())
    except ConfigError as wrong:  # it cannot be a key
        return _page(request, "sign_in.html", 400, error=wrong.message)
    except ClientError as failure:
        return _page(request, "sign_in.html", failure.status, error=failure.message)
    reply = _go("/tools")
    secure = bool(request.app.state.secure)
    reply.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=secure, path="/")
    return reply


async def sign_out(request: Request) -> Response:
    """End the session."""
    async with _ours(request, _session(request)):
        await _sessions(request).end(request.cookies.get(COOKIE))
    reply = _go("/sign-in")
    reply.delete_cookie(COOKIE)
    return reply


async def tools(request: Request) -> Response:
    """Every tool that this key may use, by group."""
    known = sorted(await _session(request).client.tools(), key=lambda tool: (tool.group, tool.title))
    groups = [(group, list(each)) for group, each in groupby(known, key=lambda tool: tool.group)]
    return _page(request, "tools.html", groups=groups)


async def tool(request: Request) -> Response:
    """A tool's form, or its conversation; a form that is sent begins a job."""
    session = _session(request)
    found = await session.client.tool(request.path_params["tool"])
    if request.method == "GET":
        return await _form(request, session, found)
    async with _ours(request, session) as form:
        inputs = await inputs_of(fields_of(found), form)
    try:
        begun = await session.client.submit(found.name, **inputs)
    except ClientError as failure:
        return await _form(request, session, found, failure=failure, sent=inputs)
    return _go(f"/jobs/{begun.id}")


async def _form(
    request: Request,
    session: Session,
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
        said = session.chats.get(found.name, [])
        html = await in_thread(lambda: [shown(each["content"], found.media_type) for each in said])
        said = [{**each, "html": text} for each, text in zip(said, html, strict=True)]
        message = (sent or {}).get(found.chat.message, "")
        given = session.beside.get(found.name) if sent is None else sent
        fields = _beside(found) if given is None else refilled(_beside(found), given)
        return _page(request, "chat.html", status, tool=found, said=said, error=error, message=message, fields=fields)
    fields = fields_of(found) if sent is None else refilled(fields_of(found), sent)
    return _page(request, "tool.html", status, tool=found, fields=fields, error=error)


def _beside(found: Tool) -> list[Field]:
    """Inputs of a tool that is talked with, beside what is said."""
    taken = () if found.chat is None else (found.chat.history, found.chat.message)
    return [field for field in fields_of(found) if field.name not in taken]


async def example(request: Request) -> Response:
    """Run a tool's example."""
    session = _session(request)
    async with _ours(request, session):
        found = await session.client.tool(request.path_params["tool"])
        begun = await session.client.submit(found.name, **(found.example or {}))
    return _go(f"/jobs/{begun.id}")


async def chat(request: Request) -> Response:
    """Say something, or begin again."""
    session = _session(request)
    found = await session.client.tool(request.path_params["tool"])
    async with _ours(request, session) as form:
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
            return await _form(request, session, found, failure=failure, sent=heard)
        session.remember(found, ("user", message), ("assistant", result.text), beside=beside)
    return _go(f"/tools/{found.name}#last")


async def jobs(request: Request) -> Response:
    """This key's jobs, newest first."""
    return _page(request, "jobs.html", jobs=await _session(request).client.jobs())


async def job(request: Request) -> Response:
    """How a job stands; its result once there is one."""
    session = _session(request)
    found = await session.client.job(request.path_params["job"])
    result, tool = found.result, await _form_of(session, found)
    return _page(
        request,
        "job.html",
        job=found,
        title=tool.title,
        text=None if result is None else await in_thread(lambda: shown(result.text, tool.media_type)),
        citations=[] if result is None else cited(result.citations),
        value=None if result is None else msgspec.json.format(msgspec.json.encode(result.value)).decode(),
        error=None if found.error is None else str(found.error.get("message", "It failed.")),
    )


async def _form_of(session: Session, job: Job) -> Tool:
    """The tool of a job, for what form its text has; of one that is gone, the usual form."""
    try:
        return await session.client.tool(job.tool)
    except ToolFailed:
        return Tool(name=job.tool, title=job.tool, description="", inputs={}, output={})


async def events(request: Request) -> Response:
    """A job's progress as server-sent events, until it ends."""
    session = _session(request)
    id = request.path_params["job"]
    return StreamingResponse(followed(session, await session.client.job(id)), media_type="text/event-stream")


async def followed(session: Session, begun: Job) -> AsyncGenerator[bytes]:
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
            said = {"words": str(progress), "share": progress.share / progress.steps}
            yield b"event: progress\ndata: " + msgspec.json.encode(said) + b"\n\n"
        yield b"event: ended\ndata: {}\n\n"
    finally:
        following.cancel()
        await asyncio.wait([following])


async def download(request: Request) -> Response:
    """A job's text as a file."""
    session = _session(request)
    found = await session.client.job(request.path_params["job"])
    if found.result is None:
        return await missing(request, None)
    name = f"{found.tool}-{found.id}{(await _form_of(session, found)).extension}"
    return PlainTextResponse(found.result.text, headers={"content-disposition": f'attachment; filename="{name}"'})


async def end_job(request: Request) -> Response:
    """Cancel a job, or delete one that ended."""
    session = _session(request)
    id = request.path_params["job"]
    async with _ours(request, session) as form:
        delete = "delete" in form
    if not delete and (await session.client.job(id)).ended:  # it was quicker than whoever would have cancelled it
        return _go(f"/jobs/{quote(id, safe='')}")
    await session.client.cancel(id)
    return _go("/jobs")


async def failed(request: Request, failure: Exception) -> Response:
    """What the gateway refused, in its own words."""
    assert isinstance(failure, ClientError), "registered for nothing else"
    if failure.status == AuthenticationError.status:  # revoked, or expired, since they signed in
        await _sessions(request).end(request.cookies.get(COOKIE))
        return _go("/sign-in")
    return _page(request, "error.html", failure.status, message=failure.message)


async def to_sign_in(request: Request, failure: Exception) -> Response:
    """Whoever is not signed in, or not any more."""
    del failure
    return _go("/sign-in")


async def missing(request: Request, failure: Exception | None) -> Response:
    """There is no such page."""
    del failure
    return _page(request, "error.html", NOWHERE_TO_BE_FOUND, message="There is no such page.")
