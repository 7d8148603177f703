"""What holds for every page: where requests may come from, how large they are, and what a browser may do with the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
"""No script, style or picture from elsewhere, none in the page itself, and no frame around it."""
HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # without any, a browser hides where its forms come from
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
A_YEAR_S = 365 * 86_400
HTTPS_ONLY: Mapping[str, str] = {"strict-transport-security": f"max-age={A_YEAR_S}"}
"""More, where browsers reach the console by HTTPS: they come by no other way any more."""
SAFE = frozenset({"GET", "HEAD"})

SIGN_IN = "/sign-in"
LANGUAGE = "/language"
MOST_OF_STRANGERS = 16 << 10
"""Bytes of a body where nobody has signed in yet: a key, and no more."""
MOST_TYPED = 8 << 20
"""The same of a form without files."""
WITH_FILES = "/tools/"
"""Before the addresses of forms that take files."""


class TooLarge(Exception):
    """A request's body is larger than is taken."""


class Guards:
    """The outermost layer, before any route."""

    def __init__(self, app: ASGIApp, *, most_body_bytes: int, secure: bool = False) -> None:
        self._app = app
        self._most = most_body_bytes
        self._headers = {**HEADERS, **(HTTPS_ONLY if secure else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what comes from another site or is too large; add the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        sending = _with_headers(send, self._headers, static=scope["path"].startswith("/static/"))
        if scope["method"] not in SAFE and not _from_here(headers):
            await PlainTextResponse("This form came from another site.", 403)(scope, receive, sending)
            return
        most = self._most_at(scope["path"])
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > most:
                raise TooLarge
            return message

        try:
            await self._app(scope, counted, sending)
        except TooLarge:
            room = f"{most >> 20} MiB" if most >> 20 else f"{most >> 10} KiB"
            said = f"What was sent is larger than {room} together. Send fewer files, or smaller ones."
            await PlainTextResponse(said, 413)(scope, receive, sending)

    def _most_at(self, path: str) -> int:
        """Bytes that a body may have at an address."""
        if path in (SIGN_IN, LANGUAGE):
            return MOST_OF_STRANGERS
        return self._most if path.startswith(WITH_FILES) else min(self._most, MOST_TYPED)


def _from_here(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that the page is ours; one that says nothing is held to the form's token alone."""
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        return False
    return origin is None or origin.partition("://")[2] == headers.get("host")


def _with_headers(send: Send, headers: Mapping[str, str], *, static: bool) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            # Whatever else there is below `/static/` has the name and the token of whoever asked for it in it.
            keeps = static and message["status"] in (200, 206, 304)
            more: dict[str, Any] = {**headers, "cache-control": "max-age=3600" if keeps else "no-store"}
            kept = [(name, value) for name, value in message["headers"] if name.decode("latin-1") not in more]
            message = {
                **message,
                "headers": [*kept, *((name.encode(), value.encode()) for name, value in more.items())],
            }
        await send(message)

    return sending
