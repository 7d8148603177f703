"""A task's samples, and the newest of its recorded exchanges."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_args

from sqlalchemy import Connection
from starlette.responses import Response

from changeover.console.areas.tasks.about import about, shown
from changeover.console.failures import missing
from changeover.console.visit import Visit
from changeover.core.errors import ChangeoverError, DatasetError
from changeover.evals.datasets import Dataset, Sample
from changeover.evals.datasets.queries import Version, versions_for
from changeover.evals.report.words import as_text
from changeover.tasks.exchanges import Exchange
from changeover.tasks.feedback import Feedback, feedback_on
from changeover.tasks.queries import exchanges_by_id
from changeover.tasks.traffic_queries import Kind, Place, page_of

SAMPLES, EXCHANGES, VERSIONS = 20, 50, 20
KINDS: tuple[Kind, ...] = get_args(Kind)
MOST_SHOWN = 20_000
"""Characters of one text."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Samples of a dataset that one page shows, and what all of them are."""

    path: str
    digest: str
    samples: tuple[Sample, ...]
    number: int
    pages: int
    found: int
    total: int
    tags: dict[str, int]
    from_traffic: int


async def dataset(visit: Visit) -> Response:
    """The samples that decide about it, and the versions there were."""
    task = await about(visit)
    if task.declared is None:
        return shown(visit, task, "dataset", page=None, versions=[], refusal=None, words="")
    path, template, words = task.declared.dataset, task.declared.input_template, visit.query("q")[:200]
    number = visit.number("page") or 1

    def look(connection: Connection) -> list[Version]:
        return versions_for(connection, task.name, path, VERSIONS)

    versions = await visit.read(look)
    try:
        page = await visit.do(lambda: _page(visit, path, template, words, number))
    except (DatasetError, OSError) as exc:
        refusal = exc.message if isinstance(exc, ChangeoverError) else f"`{path.name}` cannot be read."
        return shown(visit, task, "dataset", page=None, versions=versions, refusal=refusal, words=words)
    return shown(visit, task, "dataset", page=page, versions=versions, refusal=None, words=words, as_text=as_text)


def _page(visit: Visit, path: Path, template: str | None, words: str, number: int) -> Page:
    loaded = _loaded(path, template, path.stat().st_mtime_ns)
    asked = words.casefold()
    found = [each for each in loaded.samples if not asked or asked in _said(each)]
    pages = max(1, -(-len(found) // SAMPLES))
    place = min(max(number, 1), pages)
    tags: dict[str, int] = {}
    for each in loaded.samples:
        for tag in each.tags:
            tags[tag] = tags.get(tag, 0) + 1
    root = visit.installation.project.root
    return Page(
        path=str(path.relative_to(root)) if path.is_relative_to(root) else str(path),
        digest=loaded.digest,
        samples=tuple(found[(place - 1) * SAMPLES : place * SAMPLES]),
        number=place,
        pages=pages,
        found=len(found),
        total=len(loaded.samples),
        tags=dict(sorted(tags.items(), key=lambda each: (-each[1], each[0]))[:12]),
        from_traffic=sum((each.source or "").startswith("traffic ") for each in loaded.samples),
    )


def _said(sample: Sample) -> str:
    """All of a sample's words."""
    return f"{sample.id} {' '.join(sample.tags)} {sample.text} {sample.target}".casefold()


@lru_cache(maxsize=4)
def _loaded(path: Path, template: str | None, changed: int) -> Dataset:
    """A dataset as it stood in its file when that was changed last."""
    del changed
    return Dataset.load(path, template=template)


async def exchanges(visit: Visit) -> Response:
    """The newest exchanges, page by page."""
    task = await about(visit)
    asked = visit.query("kind", "all")
    kind: Kind = "failed" if asked == "failed" else "internal" if asked == "internal" else "all"
    before = _place(visit.query("before"))
    rows, older = await visit.read(lambda connection: page_of(connection, task.name, before, kind, EXCHANGES))
    return shown(
        visit,
        task,
        "exchanges",
        rows=rows,
        kind=kind,
        kinds=KINDS,
        before=before,
        older=None if older is None else f"{older[0].isoformat()},{older[1]}",
    )


def _place(text: str) -> Place | None:
    """Where a page begins, as the address says it."""
    at, _, id = text.partition(",")
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    return (moment, id[:40]) if moment.tzinfo is not None else None


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One message of a request, or the answer."""

    role: str
    text: str
    left_out: int
    """Characters that are not shown."""


async def exchange(visit: Visit) -> Response:
    """One exchange, with its content as it was recorded."""
    task = await about(visit)
    id = visit.parameter("exchange")

    def look(connection: Connection) -> tuple[Exchange | None, list[Feedback]]:
        found = exchanges_by_id(connection, [id]).get(id)
        return found, [] if found is None else feedback_on(connection, id)

    found, said = await visit.read(look)
    if found is None or found.task != task.name:
        return await missing(visit.request, None)
    return shown(visit, task, "exchange", exchange=found, said=said, asked=asked_of(found), answer=answer_of(found))


def asked_of(exchange: Exchange) -> list[Turn]:
    """The messages of a request; what cannot be read as some, as it was recorded."""
    if exchange.request is None:
        return []
    try:
        body: Any = json.loads(exchange.request)
        messages: Any = body["messages"]
        return [_turn(str(each["role"]), each.get("content")) for each in cast("list[dict[str, Any]]", messages)]
    except (ValueError, TypeError, KeyError, AttributeError):
        return [_turn("request", exchange.request)]


def answer_of(exchange: Exchange) -> Turn | None:
    """The answer as a message."""
    if exchange.response is None:
        return None
    try:
        message: Any = json.loads(exchange.response)
        content = message.get("content")
        calls = message.get("tool_calls")
        return _turn("assistant", content if not calls else message if content in (None, "") else content)
    except (ValueError, TypeError, AttributeError):
        return _turn("assistant", exchange.response)


def _turn(role: str, content: object) -> Turn:
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=2)
    return Turn(role=role, text=text[:MOST_SHOWN], left_out=max(0, len(text) - MOST_SHOWN))
