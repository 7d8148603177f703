"""Signing in and out, and choosing a language: what is there for whoever has not signed in yet."""

from __future__ import annotations

from typing import Literal

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from changeover.client import ClientError
from changeover.console import pages
from changeover.console.failures import missing
from changeover.console.languages import COOKIE as LANGUAGE_COOKIE
from changeover.console.languages import LANGUAGES, language_of, translated
from changeover.console.oidc import Provider
from changeover.console.visit import HOST_ONLY, Visit, text_of
from changeover.core.errors import ChangeoverError

LONGEST_KEY = 400
NO_KEY = "Paste a key of this installation."
A_YEAR_S = 365 * 86_400
ATTEMPT_COOKIE = "changeover_attempt"
ATTEMPT_S = 600


async def sign_in(request: Request) -> Response:
    """Ask for a key, and begin a session with it."""
    if request.method == "GET":
        left = "left" in request.query_params
        provider = _provider(request)
        farewell = await provider.farewell() if left and provider is not None else None
        return _asking(request, left=left, farewell=farewell)
    form = await request.form()
    key = form.get("key")
    if not isinstance(key, str) or not key.strip() or len(key) > LONGEST_KEY:
        return _asking(request, 400, error=translated(language_of(request), NO_KEY))
    try:
        cookie = await request.app.state.sessions.begin(key.strip())
    except ClientError as failure:
        return _asking(request, failure.status, error=failure.message)
    except ChangeoverError as failure:  # it cannot be a key, or is none
        return _asking(request, 400 if failure.status >= 500 else failure.status, error=failure.message)
    return await _welcomed(request, RedirectResponse("/", 303), cookie)


async def to_provider(request: Request) -> Response:
    """Have the identity provider say who somebody is."""
    provider = _provider(request)
    if provider is None:
        return await missing(request, None)
    try:
        url, attempt = await provider.begin()
    except ChangeoverError as failure:
        return _asking(request, failure.status, error=failure.message)
    reply = RedirectResponse(url, 303)
    # Lax: the browser comes back from another site, and has to bring it.
    _set(request, reply, _attempt(request), attempt, samesite="lax", max_age=ATTEMPT_S)
    return reply


async def from_provider(request: Request) -> Response:
    """Begin a session of whoever the identity provider vouches for."""
    provider = _provider(request)
    if provider is None:
        return await missing(request, None)
    try:
        vouched = await provider.end(request.cookies.get(_attempt(request)), request.query_params)
        cookie = await request.app.state.sessions.welcome(vouched)
    except ChangeoverError as failure:
        reply = _asking(request, failure.status, error=failure.message)
        _unset(request, reply, _attempt(request))
        return reply
    # A page and no redirect: a browser that comes from another site does not bring the session's cookie to where that one
    # sends it, but does to where a page of ours does.
    reply = await _welcomed(request, pages.page(request, "signed_in.html", 200), cookie)
    _unset(request, reply, _attempt(request))
    return reply


async def sign_out(request: Request) -> Response:
    """End the session."""
    visit = Visit.of(request)
    vouched_for = visit.session.ends is not None
    async with visit.form():
        await request.app.state.sessions.end(request.cookies.get(_session(request)))
    reply = RedirectResponse("/sign-in?left" if vouched_for else "/sign-in", 303)
    _unset(request, reply, _session(request))
    return reply


async def choose_language(request: Request) -> Response:
    """Show the pages in another language from now on."""
    form = await request.form()
    wish, back = text_of(form, "language"), text_of(form, "back")
    reply = RedirectResponse(back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/", 303)
    if wish in LANGUAGES:
        _set(request, reply, LANGUAGE_COOKIE, wish, max_age=A_YEAR_S)
    return reply


async def _welcomed(request: Request, reply: Response, cookie: str) -> Response:
    """An answer that brings the cookie of a new session; the browser's former one ends."""
    await request.app.state.sessions.end(request.cookies.get(_session(request)))
    _set(request, reply, _session(request), cookie)
    return reply


def _set(
    request: Request,
    reply: Response,
    name: str,
    value: str,
    *,
    samesite: Literal["lax", "strict"] = "strict",
    max_age: int | None = None,
) -> None:
    reply.set_cookie(name, value, max_age, httponly=True, samesite=samesite, secure=bool(request.app.state.secure))


def _unset(request: Request, reply: Response, name: str) -> None:
    reply.delete_cookie(name, httponly=True, samesite="strict", secure=bool(request.app.state.secure))


def _session(request: Request) -> str:
    return request.app.state.cookie


def _attempt(request: Request) -> str:
    return f"{HOST_ONLY}{ATTEMPT_COOKIE}" if request.app.state.secure else ATTEMPT_COOKIE


def _asking(
    request: Request, status: int = 200, *, error: str | None = None, left: bool = False, farewell: str | None = None
) -> Response:
    """The page that asks who somebody is."""
    provider = _provider(request)
    label = None if provider is None else provider.label
    return pages.page(request, "sign_in.html", status, error=error, label=label, left=left, farewell=farewell)


def _provider(request: Request) -> Provider | None:
    return request.app.state.provider
