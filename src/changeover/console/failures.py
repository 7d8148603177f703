"""What is shown where a page cannot be: in words, with what to do."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from changeover.app.discretion import discreet
from changeover.client import ClientError
from changeover.console import pages
from changeover.console.guards import HEADERS, HTTPS_ONLY
from changeover.core.errors import AuthenticationError, ChangeoverError, ConfigError

NOWHERE_TO_BE_FOUND = 404


async def refused_by_gateway(request: Request, failure: Exception) -> Response:
    """What the gateway refused, in its own words."""
    assert isinstance(failure, ClientError), "registered for nothing else"
    if failure.status == AuthenticationError.status:  # revoked, or expired, since they signed in
        await request.app.state.sessions.end(request.cookies.get(request.app.state.cookie))
        return RedirectResponse("/sign-in", 303)
    return pages.page(request, "error.html", failure.status, message=failure.message)


async def refused(request: Request, failure: Exception) -> Response:
    """What we refused, or what failed."""
    assert isinstance(failure, ChangeoverError), "registered for nothing else"
    status = 400 if isinstance(failure, ConfigError) else failure.status  # what was asked for, not how it was set up
    message = discreet(failure.message, getattr(request.state, "hidden", ()))
    return pages.page(request, "error.html", status, message=message)


async def to_sign_in(request: Request, failure: Exception) -> Response:
    """Whoever is not signed in, or not any more."""
    del failure
    if request.headers.get("hx-request"):  # a part of a page cannot be the page that asks for a key
        return Response(status_code=204, headers={"hx-redirect": "/sign-in"})
    return RedirectResponse("/sign-in", 303)


async def broken(request: Request, failure: Exception) -> Response:
    """A fault of ours: the log has it, the page has nothing of it."""
    del failure
    answer = pages.page(request, "error.html", 500, message="Something is broken here. What it was stands in the log.")
    answer.headers.update({**HEADERS, "cache-control": "no-store"})  # it is made outside of the guards
    if request.app.state.secure:
        answer.headers.update(HTTPS_ONLY)
    return answer


async def missing(request: Request, failure: Exception | None) -> Response:
    """There is no such page."""
    del failure
    return pages.page(request, "error.html", NOWHERE_TO_BE_FOUND, message="There is no such page.")
