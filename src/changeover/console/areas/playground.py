"""The playground: one prompt on several deployments or tasks, side by side; a good case is kept as a sample."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection
from starlette.datastructures import FormData
from starlette.responses import Response, StreamingResponse

from changeover.app.asking import names_at
from changeover.app.keeping import Case, Kept
from changeover.console.failures import missing
from changeover.console.keeping import Keeping, homes_of, keep_case, kept_as, tags_of
from changeover.console.languages import translated
from changeover.console.pages import milliseconds
from changeover.console.plays import MOST_COLUMNS, Column, Play, Prompt
from changeover.console.routes import Endpoint, Page
from changeover.console.visit import Visit, text_of
from changeover.core.errors import ChangeoverError, RequestError, StoreError
from changeover.evals.datasets import Message, Sample
from changeover.evals.datasets.traffic import sample_of
from changeover.evals.report.words import visible
from changeover.gateway.keys import STEERERS
from changeover.gateway.snapshot import DIRECT
from changeover.serving.queries import all_deployments
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import exchanges_by_id

LONGEST = 400_000
"""Characters of a prompt."""
MOST_TOKENS = 1_000_000
HOTTEST = 2.0
USUAL_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Somebody who can be asked."""

    name: str
    """As the gateway takes it."""
    says: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Typed:
    """What stands in the form."""

    user: str = ""
    system: str = ""
    max_tokens: str = str(USUAL_TOKENS)
    temperature: str = ""
    exchange: str = ""
    earlier: int = 0
    """Messages of a recorded conversation that are asked with it."""
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, prompt: Prompt, names: Sequence[str]) -> Typed:
        return cls(
            user=prompt.user,
            system=prompt.system,
            max_tokens="" if prompt.max_tokens is None else str(prompt.max_tokens),
            temperature="" if prompt.temperature is None else f"{prompt.temperature:g}",
            exchange=prompt.exchange,
            earlier=len(prompt.earlier),
            names=tuple(names),
        )


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A column on the page."""

    number: int
    column: Column
    figures: str
    waited: int
    """Seconds since everybody was asked."""
    keeping: Keeping


async def playground(visit: Visit) -> Response:
    """The empty form, or one with what was recorded."""
    asked = visit.query("exchange")
    names = tuple(name for name in visit.request.query_params.getlist("ask") if name)[:MOST_COLUMNS]
    if not asked:
        return await _form(visit, Typed(names=names))
    exchange, sample = await _recorded(visit, asked)
    typed = _typed_of(exchange, sample, names)
    return await _form(visit, typed, recorded=exchange, keeping=_of_recorded(exchange, sample))


async def _form(
    visit: Visit,
    typed: Typed,
    *,
    status: int = 200,
    error: str | None = None,
    recorded: Exchange | None = None,
    keeping: Keeping | None = None,
) -> Response:
    tasks, deployments = await _choices(visit)
    return visit.page(
        "playground/playground.html",
        status,
        typed=typed,
        tasks=tasks,
        deployments=deployments,
        slots=MOST_COLUMNS,
        plays=list(visit.session.plays),
        error=error,
        recorded=recorded,
        keeping=keeping,
        homes=await homes_of(visit, keeping.task) if keeping else [],
    )


async def _choices(visit: Visit) -> tuple[list[Choice], list[Choice]]:
    """Tasks that they may call, and deployments that they may name."""
    if visit.desk is None:
        try:
            found = await names_at(*visit.session.callers.way())
        except ChangeoverError:  # the head of the page says that it is not there
            return [], []
        direct = [Choice(name=f"{DIRECT}{name}", says=name) for name in found.deployments]
        return [Choice(name=name, says=name) for name in found.tasks], direct
    tasks = [Choice(name=name, says=name) for name in sorted(visit.installation.tasks) if visit.person.may_see(name)]
    if visit.person.role not in STEERERS:
        return tasks, []

    def look(connection: Connection) -> list[Choice]:
        return [
            Choice(name=f"{DIRECT}{row.name}", says=row.name, detail=row.state)
            for row in sorted(all_deployments(connection), key=lambda row: (row.state != "ready", row.name))
            if visit.sees(row.name)
        ]

    try:
        return tasks, await visit.read(look)
    except StoreError:  # tasks are answered meanwhile; the head of the page says what is away
        return tasks, []


async def ask(visit: Visit) -> Response:
    """Ask everybody who was chosen, at once."""
    async with visit.form() as form:
        typed = typed_in(form)
    try:
        earlier = await _earlier(visit, typed.exchange)
        typed = replace(typed, earlier=len(earlier))
        prompt = prompt_of(typed, earlier)
        if not typed.names:
            raise RequestError("Choose at least one deployment or task to ask.")
        way = visit.session.callers.way()
        play = await visit.session.plays.begin(way, prompt, typed.names, visit.now)
    except ChangeoverError as failure:
        return await _form(visit, typed, status=_status(failure), error=failure.message)
    return visit.go(f"/playground/{play.id}")


def typed_in(form: FormData) -> Typed:
    """What a form holds; who stands there twice is asked once."""
    names = [value for value in form.getlist("ask") if isinstance(value, str) and value]
    return Typed(
        user=text_of(form, "user"),
        system=text_of(form, "system"),
        max_tokens=text_of(form, "max_tokens"),
        temperature=text_of(form, "temperature"),
        exchange=text_of(form, "exchange"),
        names=tuple(dict.fromkeys(names))[:MOST_COLUMNS],
    )


def prompt_of(typed: Typed, earlier: tuple[Message, ...] = ()) -> Prompt:
    """What is asked.

    Raises:
        RequestError: A field is missing, or has a value that nothing can be asked with.
    """
    if not typed.user:
        raise RequestError("Write what is asked: the user's message is empty.")
    if len(typed.user) + len(typed.system) > LONGEST:
        raise RequestError(f"The prompt is too long: at most {LONGEST:,} characters.")
    tokens, heat = typed.max_tokens, typed.temperature.replace(",", ".")
    if tokens and not (tokens.isdecimal() and len(tokens) <= 12 and 0 < int(tokens) <= MOST_TOKENS):
        raise RequestError(f"`{tokens[:40]}`: a whole number of tokens is expected, 1 to {MOST_TOKENS:,}.")
    try:
        temperature = float(heat) if heat else None
    except ValueError:
        temperature = -1.0
    if temperature is not None and not 0 <= temperature <= HOTTEST:
        raise RequestError(f"`{typed.temperature[:40]}`: a temperature of 0 to {HOTTEST:g} is expected.")
    return Prompt(
        user=typed.user,
        system=typed.system,
        earlier=earlier,
        max_tokens=int(tokens) if tokens else None,
        temperature=temperature,
        exchange=typed.exchange,
    )


async def _earlier(visit: Visit, exchange: str) -> tuple[Message, ...]:
    return _parted((await _recorded(visit, exchange))[1])[1] if exchange else ()


async def _recorded(visit: Visit, id: str) -> tuple[Exchange, Sample]:
    """A recorded exchange, and what it would be as a sample: personal data masked.

    Raises:
        PermissionError_: They may not look at what was recorded.
        RequestError: There is none, or none of theirs.
        DatasetError: It can be no sample.
    """
    visit.require("look")
    found = (await visit.read(lambda connection: exchanges_by_id(connection, [id[:80]]))).get(id)
    if found is None or not visit.person.may_see(found.task):
        raise RequestError(f"No exchange `{id[:80]}` is kept.")
    return found, await visit.do(partial(sample_of, found))


def _parted(sample: Sample) -> tuple[str, tuple[Message, ...], str]:
    """The system's message, what was said since, and the user's last."""
    messages = sample.input
    system = messages[0].content or "" if messages[0].role == "system" else ""
    return system, messages[1 if system else 0 : -1], messages[-1].content or ""


def _typed_of(exchange: Exchange, sample: Sample, names: tuple[str, ...] = ()) -> Typed:
    """The form with what was recorded."""
    system, earlier, user = _parted(sample)
    return Typed(
        user=user,
        system=system,
        exchange=exchange.id,
        earlier=len(earlier),
        names=names or (exchange.task,),
    )


def _of_recorded(exchange: Exchange, sample: Sample) -> Keeping:
    target: Any = sample.target
    answer = target if isinstance(target, str) else target.get("recorded") or target.get("recorded_calls") or ""
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False, indent=1)
    return Keeping(action=f"/playground/keep?exchange={exchange.id}", task=exchange.task, target=text)


async def play(visit: Visit) -> Response:
    """The answers, as they come."""
    found = visit.session.plays.find(visit.parameter("play"))
    return await missing(visit.request, None) if found is None else await _played(visit, found)


async def _played(
    visit: Visit, play: Play, *, status: int = 200, number: int | None = None, keeping: Keeping | None = None
) -> Response:
    tasks, deployments = await _choices(visit)
    homes = await homes_of(visit, *_askable(play), *([keeping.task] if keeping else []))
    columns = [_shown(visit, play, place, keeping if place == number else None) for place in range(len(play.columns))]
    return visit.page(
        "playground/play.html",
        status,
        play=play,
        columns=columns,
        typed=Typed.of(play.prompt, [column.name for column in play.columns]),
        tasks=tasks,
        deployments=deployments,
        slots=MOST_COLUMNS,
        error=None,
        homes=homes,
    )


def _shown(visit: Visit, play: Play, number: int, keeping: Keeping | None = None) -> Shown:
    column = play.columns[number]
    said = figures(column, visit.language)
    waited = max(0, round((visit.now - play.at).total_seconds()))
    return Shown(number=number, column=column, figures=said, waited=waited, keeping=keeping or _to_keep(play, number))


def _to_keep(play: Play, number: int) -> Keeping:
    """The form of one column: the task that was asked, else the first that was."""
    column = play.columns[number]
    tasks = [column.name] if not column.name.startswith(DIRECT) else _askable(play)
    target = column.text.strip()
    return Keeping(action=f"/playground/{play.id}/{number}/keep", task=tasks[0] if tasks else "", target=target)


def _askable(play: Play) -> list[str]:
    """Tasks that were asked, and not deployments."""
    return [column.name for column in play.columns if not column.name.startswith(DIRECT)]


async def part(visit: Visit) -> Response:
    """One column, once it has ended."""
    found = _column(visit)
    if found is None:
        return await missing(visit.request, None)
    homes = await homes_of(visit, *_askable(found[0]))
    return visit.part("playground/column.html", play=found[0], each=_shown(visit, *found), homes=homes)


def _column(visit: Visit) -> tuple[Play, int] | None:
    found, number = visit.session.plays.find(visit.parameter("play")), visit.parameter("column")
    if found is None or not number.isdecimal() or len(number) > 2 or int(number) >= len(found.columns):
        return None
    return found, int(number)


async def events(visit: Visit) -> Response:
    """An answer while it is written: what comes after what the page shows already."""
    found = _column(visit)
    if found is None:
        return await missing(visit.request, None)
    play, number = found
    after = visit.request.headers.get("last-event-id") or visit.query("after")
    headers = {"x-accel-buffering": "no"}
    told = _told(play.columns[number], *_offsets(after), visit.language)
    return StreamingResponse(told, media_type="text/event-stream", headers=headers)


def _offsets(after: str) -> tuple[int, int]:
    """How many characters of the answer and of its reasoning a page has.

    >>> _offsets("12,3"), _offsets("x")
    ((12, 3), (0, 0))
    """
    text, _, reasoning = after.partition(",")
    if not (text.isdecimal() and reasoning.isdecimal()) or len(after) > 20:
        return 0, 0
    return int(text), int(reasoning)


async def _told(column: Column, text: int, reasoning: int, language: str) -> AsyncGenerator[bytes]:
    async for new in column.looks():
        if not new:
            yield b": still here\n\n"
            continue
        said = {
            "text": visible(column.text[text:]),
            "reasoning": visible(column.reasoning[reasoning:]),
            "figures": figures(column, language),
        }
        text, reasoning = len(column.text), len(column.reasoning)
        yield f"event: more\nid: {text},{reasoning}\ndata: ".encode() + msgspec.json.encode(said) + b"\n\n"
    yield b"event: ended\ndata: \n\n"


def figures(column: Column, language: str) -> str:
    """How quickly it answers, in a line; empty before its first word."""
    if column.first_s is None:
        return ""
    parts = [translated(language, "first token after {}").format(milliseconds(1_000 * column.first_s))]
    if column.tokens is not None:
        about = "" if column.counted else "≈ "
        parts.append(translated(language, "{} tokens").format(f"{about}{column.tokens:,}"))
    if column.pace is not None:
        parts.append(translated(language, "{} tokens/s").format(f"{column.pace:,.1f}"))
    return " · ".join(part.replace(" ", "\u00a0") for part in parts)  # a figure stays with its unit


async def stop(visit: Visit) -> Response:
    """End what is still written."""
    async with visit.form():
        found = visit.session.plays.find(visit.parameter("play"))
    if found is None:
        return await missing(visit.request, None)
    await found.stop()
    return visit.go(f"/playground/{found.id}")


async def keep_answer(visit: Visit) -> Response:
    """Keep the answer of a column as a sample."""
    async with visit.form() as form:
        found = _column(visit)
        typed = kept_as(form, "")
    if found is None:
        return await missing(visit.request, None)
    play, number = found
    column = play.columns[number]
    said = (
        f"playground {play.at.isoformat(timespec='seconds')}, answered by {column.who.get('deployment') or column.name}"
    )
    source = f"{said}, from exchange {play.prompt.exchange}" if play.prompt.exchange else said
    case = Case(messages=play.prompt.messages, target=typed.target, tags=tags_of(typed.tags), source=source)
    kept = await keep_case(visit, typed, case)
    if isinstance(kept, Kept):
        return visit.go(f"/playground/{play.id}")
    form_again = Keeping(
        action=f"/playground/{play.id}/{number}/keep",
        task=typed.task,
        target=typed.target,
        tags=typed.tags,
        error=kept.message,
        opened=True,
    )
    return await _played(visit, play, status=_status(kept), number=number, keeping=form_again)


async def keep_exchange(visit: Visit) -> Response:
    """Keep a recorded exchange as a sample."""
    async with visit.form() as form:
        exchange, sample = await _recorded(visit, visit.query("exchange"))
        typed = kept_as(form, f"/playground/keep?exchange={exchange.id}")
    case = Case(
        messages=sample.input,
        target=typed.target,
        tags=tags_of(typed.tags),
        source=sample.source or "",
        tools=sample.tools,
    )
    kept = await keep_case(visit, typed, case)
    if isinstance(kept, Kept):
        return visit.go(f"/playground?exchange={exchange.id}")
    again = Keeping(
        action=typed.action, task=typed.task, target=typed.target, tags=typed.tags, error=kept.message, opened=True
    )
    asked = _typed_of(exchange, sample)
    return await _form(visit, asked, status=_status(kept), recorded=exchange, keeping=again)


def _status(failure: ChangeoverError) -> int:
    """What was asked for, not how it was set up."""
    return failure.status if failure.status in (403, 404, 409, 503) else 400


def _with_project(endpoint: Endpoint) -> Endpoint:
    """A page that takes the project where there is one, and only the gateway where there is none."""

    async def taken(visit: Visit) -> Response:
        if visit.desk is not None:
            await visit.come_in()
        return await endpoint(visit)

    return taken


PAGES: tuple[Page, ...] = (
    Page(path="/playground", endpoint=_with_project(playground), right="call", everywhere=True),
    Page(path="/playground", endpoint=_with_project(ask), right="call", methods=("POST",), everywhere=True),
    Page(path="/playground/keep", endpoint=keep_exchange, right="operate", methods=("POST",)),
    Page(path="/playground/{play}", endpoint=_with_project(play), right="call", everywhere=True),
    Page(
        path="/playground/{play}/stop", endpoint=_with_project(stop), right="call", methods=("POST",), everywhere=True
    ),
    Page(path="/playground/{play}/{column}/part", endpoint=_with_project(part), right="call", everywhere=True),
    Page(path="/playground/{play}/{column}/events", endpoint=_with_project(events), right="call", everywhere=True),
    Page(path="/playground/{play}/{column}/keep", endpoint=keep_answer, right="operate", methods=("POST",)),
)
