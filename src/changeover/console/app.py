"""The console's application: routes, and what holds for all of them. A process of its own, a client of the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from changeover.client import ClientError
from changeover.console import failures, signing
from changeover.console.areas import AREAS
from changeover.console.condition import Watch
from changeover.console.desk import Desk, Gateway
from changeover.console.guards import SIGN_IN, Guards
from changeover.console.oidc import RETURN, Provider
from changeover.console.routes import Page
from changeover.console.sessions import Sessions
from changeover.console.visit import COOKIE, HOST_ONLY, SignInFirst, Visit
from changeover.core.clock import Clock, SystemClock
from changeover.core.errors import ChangeoverError

STATIC = Path(str(files("changeover.console") / "static"))
HTMX = Path(str(files("js_lib_htmx") / "static" / "htmx"))
TO_PROVIDER = "/sign-in/provider"
LEAST_COMPRESSED = 1_000
"""Bytes; what is smaller is sent as it is."""

PAGES: tuple[Page, ...] = tuple(page for area in AREAS for page in area)
"""Every page for those who are signed in."""


async def home(request: Request) -> Response:
    """The first page there is for whoever comes."""
    visit = Visit.of(request)
    sees = visit.desk is not None and visit.person.may("look")
    return RedirectResponse("/tasks" if sees else "/tools", 303)


def console(
    gateway: Gateway,
    *,
    hosts: Sequence[str],
    most_body_bytes: int,
    secure: bool = False,
    clock: Clock | None = None,
    desk: Desk | None = None,
    provider: Provider | None = None,
) -> Starlette:
    """Make the application; close `app.state.sessions` at the end.

    Args:
        gateway: Where tools and tasks are called.
        hosts: Names under which a browser may reach the console; a request for any other is refused.
        most_body_bytes: Of one form with its files.
        secure: Whether browsers reach it by HTTPS: cookies are then sent by no other way.
        clock: By which sessions age.
        desk: The project; None: there are only the pages that a gateway alone can answer.
        provider: Who vouches for people without a key.
    """
    app = Starlette(
        routes=[
            Route("/", home, methods=["GET"]),
            Route(SIGN_IN, signing.sign_in, methods=["GET", "POST"]),
            Route(TO_PROVIDER, signing.to_provider, methods=["GET"]),
            Route(RETURN, signing.from_provider, methods=["GET"]),
            Route("/sign-out", signing.sign_out, methods=["POST"]),
            Route("/language", signing.choose_language, methods=["POST"]),
            *(page.route() for page in PAGES),
            Mount("/static/htmx", StaticFiles(directory=HTMX)),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
            Middleware(Guards, most_body_bytes=most_body_bytes, secure=secure),
            Middleware(GZipMiddleware, minimum_size=LEAST_COMPRESSED, compresslevel=4),
        ],
        exception_handlers={
            ClientError: failures.refused_by_gateway,
            ChangeoverError: failures.refused,
            SignInFirst: failures.to_sign_in,
            404: failures.missing,
            Exception: failures.broken,
        },
    )
    app.state.watch = Watch(gateway, desk)
    app.state.sessions = Sessions(gateway, clock or SystemClock(), desk)
    app.state.secure, app.state.desk, app.state.provider = secure, desk, provider
    app.state.cookie = f"{HOST_ONLY}{COOKIE}" if secure else COOKIE
    return app
