"""The console's application: routes, and what holds for all of them. A process of its own, a client of the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from changeover.client import ClientError
from changeover.console import pages
from changeover.console.guards import SIGN_IN, Guards
from changeover.console.sessions import Sessions
from changeover.core.clock import Clock, SystemClock

STATIC = Path(str(files("changeover.console") / "static"))
ROUTES = (
    Route("/", pages.home, methods=["GET"]),
    Route(SIGN_IN, pages.sign_in, methods=["GET", "POST"]),
    Route("/sign-out", pages.sign_out, methods=["POST"]),
    Route("/tools", pages.tools, methods=["GET"]),
    Route("/tools/{tool}", pages.tool, methods=["GET", "POST"]),
    Route("/tools/{tool}/example", pages.example, methods=["POST"]),
    Route("/tools/{tool}/chat", pages.chat, methods=["POST"]),
    Route("/jobs", pages.jobs, methods=["GET"]),
    Route("/jobs/{job}", pages.job, methods=["GET"]),
    Route("/jobs/{job}/events", pages.events, methods=["GET"]),
    Route("/jobs/{job}/text", pages.download, methods=["GET"]),
    Route("/jobs/{job}/end", pages.end_job, methods=["POST"]),
    Mount("/static", StaticFiles(directory=STATIC)),
)


def console(
    gateway: str, *, hosts: Sequence[str], most_body_bytes: int, secure: bool = False, clock: Clock | None = None
) -> Starlette:
    """Make the application; close `app.state.sessions` at the end.

    Args:
        gateway: Its address; the only thing that is called.
        hosts: Names under which a browser may reach the console; a request for any other is refused.
        most_body_bytes: Of one form with its files.
        secure: Whether browsers reach it by HTTPS: cookies are then sent by no other way.
        clock: By which sessions age.
    """
    sessions = Sessions(gateway, clock or SystemClock())
    app = Starlette(
        routes=ROUTES,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
            Middleware(Guards, most_body_bytes=most_body_bytes),
        ],
        exception_handlers={ClientError: pages.failed, pages.SignInFirst: pages.to_sign_in, 404: pages.missing},
    )
    app.state.sessions, app.state.secure = sessions, secure
    return app
