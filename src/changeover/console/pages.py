"""How pages are made: templates, the words and figures in them, and what stands around each."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket, BytecodeCache
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from changeover.console.languages import ENGLISH, LANGUAGES, counted, language_of, translated
from changeover.console.said import said, said_by, said_each
from changeover.console.texts import sentence, shown
from changeover.core.sizes import in_gib
from changeover.core.threads import in_thread
from changeover.evals.report import words

FIRST = ("base.html", "parts.html", "sign_in.html", "signed_in.html", "tasks/tasks.html", "tasks/words.html")
BETWEEN_S = 0.2
NOTHING = "–"
LEAST_USD = 0.0001
"""What costs less is not written out."""

_TURNING = re.compile(r"<textarea\b.*?</textarea>|<input\b[^>]*>|[\u202a-\u202e\u2066-\u2069]", re.DOTALL)
"""Fields, which keep what was typed, and characters that turn the direction in which what follows is read: whoever writes a
reason or a name could have it read as another."""


def page(request: Request, template: str, status: int, **values: Any) -> HTMLResponse:
    """A page or a part of one, in the reader's language."""
    sessions = request.app.state.sessions
    session = sessions.find(request.cookies.get(request.app.state.cookie))
    told, language = (None, language_of(request))
    if session is not None and not request.headers.get("hx-request"):
        told, session.told = session.told, None
    text = (
        _pages(language)
        .get_template(template)
        .render(
            csrf=session.csrf if session else None,
            person=session.person if session else None,
            project=request.app.state.desk is not None,
            path=request.url.path,
            language=language,
            languages=LANGUAGES,
            told=told,
            condition=None if session is None else request.app.state.watch.seen,
            **values,
        )
    )
    return HTMLResponse(_TURNING.sub(_unturned, text), status, headers={"content-language": language})


def _unturned(found: re.Match[str]) -> str:
    return found.group() if len(found.group()) > 1 else words.visible(found.group())


def compile_first() -> None:
    """Have compiled what everybody sees first, which takes longer than to fill it in."""
    for template in FIRST:
        _pages(ENGLISH).get_template(template)


async def compile_rest() -> None:
    """Have all templates compiled, one now and then: who asks for a page meanwhile waits for one at most."""
    for template in _pages(ENGLISH).list_templates(["html"]):
        await asyncio.sleep(BETWEEN_S)
        await in_thread(partial(_pages(ENGLISH).get_template, template))


class _Compiled(BytecodeCache):
    """What was compiled for one language; it is the same for every other."""

    def __init__(self) -> None:
        self._by_key: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if (known := self._by_key.get(bucket.key)) is not None:
            bucket.bytecode_from_string(known)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._by_key[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


@cache
def _pages(language: str) -> Environment:
    made = Environment(
        loader=PackageLoader("changeover.console"),
        bytecode_cache=_COMPILED,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.install_gettext_callables(  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] # the extension's own
        partial(_said, language), partial(_counted, language), newstyle=True
    )
    made.filters.update(_FILTERS)
    made.filters.update({name: partial(each, language) for name, each in _SAID.items()})
    return made


def _said(language: str, text: str) -> Markup:
    """A text in a language, escaped: the extension takes what it is given for markup, whoever wrote it."""
    return escape(translated(language, text))


def _counted(language: str, one: str, many: str, number: int) -> Markup:
    return escape(counted(language, one, many, number))


def when(at: datetime | str | None) -> Markup:
    """A moment: in the reader's zone once the script has run, else in UTC, and saying so."""
    if at is None:
        return Markup(NOTHING)
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    said = moment.strftime("%Y-%m-%d %H:%M UTC")
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), said)


def milliseconds(value: float | None) -> str:
    """A latency with its unit."""
    return NOTHING if value is None else words.amount(value, "ms")


def duration(language: str, seconds: float) -> str:
    """How long something took."""
    return said(language, words.duration(seconds))


def usd(microusd: float | None) -> str:
    """Millionths of a US dollar as dollars, to the cent or to two digits; a price that nobody knows is none.

    >>> usd(1_234_567_890), usd(433_000), usd(2_084), usd(57), usd(0), usd(None)
    ('$1,234.57', '$0.43', '$0.0021', '< $0.0001', '$0.00', '–')
    """
    if microusd is None:
        return NOTHING
    dollars = microusd / 1e6
    if 0 < dollars < LEAST_USD:
        return f"< ${LEAST_USD:.4f}"
    return f"${dollars:.2g}" if 0 < dollars < 0.1 else f"${dollars:,.2f}"


def odds(value: float) -> str:
    """Odds, never broken over two lines."""
    return words.odds(value).replace(" ", "\u00a0")


def short(number: float | None) -> str:
    """A count in few characters: `950`, `12.4 k`, `1.2 M`."""
    if number is None:
        return NOTHING
    for bound, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= bound:
            scale = 1e3 if unit == "k" else bound
            return f"{number / scale:.1f} {unit}"
    return f"{number:,.0f}"


def as_json(value: Mapping[str, Any] | list[Any]) -> str:
    """A document as people read it."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


_FILTERS: Mapping[str, Callable[..., Any]] = {
    "sentence": sentence,
    "shown": shown,
    "when": when,
    "visible": words.visible,
    "count": words.count,
    "percent": words.percent,
    "points": words.points,
    "odds": odds,
    "milliseconds": milliseconds,
    "size": in_gib,
    "usd": usd,
    "short": short,
    "json": as_json,
}
_SAID: Mapping[str, Callable[..., Any]] = {
    "said": said,
    "said_by": said_by,
    "said_each": said_each,
    "duration": duration,
}
"""What goes by the reader's language."""
