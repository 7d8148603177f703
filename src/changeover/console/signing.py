"""Signing in and out, and choosing a language: what is there for whoever has not signed in yet."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from changeover.client import ClientError
from changeover.console import pages
from changeover.console.languages import COOKIE as LANGUAGE_COOKIE
from changeover.console.languages import LANGUAGES
from changeover.console.visit import COOKIE, Visit, text_of
from changeover.core.errors import AuthenticationError, ChangeoverError, ConfigError

LONGEST_KEY = 400
A_YEAR_S = 365 * 86_400


async def sign_in(request: Request) -> Response:
    """Ask for a key, and begin a session with it."""
    if request.method == "GET":
        return pages.page(request, "sign_in.html", 200, error=None)
    form = await request.form()
    key = form.get("key")
    if not isinstance(key, str) or not key.strip() or len(key) > LONGEST_KEY:
        return pages.page(request, "sign_in.html", 400, error="Paste a key of this installation.")
    try:
        cookie = await request.app.state.sessions.begin(key.strip())
    except ConfigError as wrong:  # it cannot be a key
        return pages.page(request, "sign_in.html", 400, error=wrong.message)
    except (ClientError, AuthenticationError) as failure:
        return pages.page(request, "sign_in.html", failure.status, error=failure.message)
    except ChangeoverError as failure:
        return pages.page(request, "sign_in.html", failure.status, error=failure.message)
    reply = RedirectResponse("/", 303)
    secure = bool(request.app.state.secure)
    reply.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=secure, path="/")
    return reply


async def sign_out(request: Request) -> Response:
    """End the session."""
    async with Visit.of(request).form():
        await request.app.state.sessions.end(request.cookies.get(COOKIE))
    reply = RedirectResponse("/sign-in", 303)
    reply.delete_cookie(COOKIE)
    return reply


async def choose_language(request: Request) -> Response:
    """Show the pages in another language from now on."""
    form = await request.form()
    wish, back = text_of(form, "language"), text_of(form, "back")
    reply = RedirectResponse(back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/", 303)
    if wish in LANGUAGES:
        secure = bool(request.app.state.secure)
        reply.set_cookie(LANGUAGE_COOKIE, wish, A_YEAR_S, httponly=True, samesite="strict", secure=secure, path="/")
    return reply
