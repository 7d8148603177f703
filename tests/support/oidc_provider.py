"""An identity provider on this machine: OpenID Connect over a real socket, and what a wrong or hostile one would say.

Whoever is sent to `/authorize` is signed in as `person` at once. A code is taken once, with the verifier whose challenge came
with it, from the client that it was made for.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from base64 import b64decode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from changeover.app.asgi import serving
from changeover.app.listening import address_of, listen

CLIENT, SECRET = "changeover", "a-secret-of-the-console"


@dataclass
class IdentityProvider:
    """What it knows, and what a test has it say."""

    issuer: str = ""
    back: str = ""
    """The only address that browsers are sent back to."""
    person: dict[str, Any] = field(
        default_factory=lambda: {"sub": "248289", "email": "ana@example.org", "groups": ["llm-operators"]}
    )
    said: dict[str, Any] = field(default_factory=dict[str, Any])
    """Claims that the ID token has instead; None: it has none of that name."""
    header: dict[str, Any] = field(default_factory=dict[str, Any])
    """The same of its header."""
    forged: str | None = None
    """The ID token, whatever it should be."""
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    """What it says of itself instead."""
    refuses: str | None = None
    """The error with which it sends everybody back."""
    down: bool = False
    asked: list[str] = field(default_factory=list[str])
    """Paths, in their order."""

    def __post_init__(self) -> None:
        self.turn_keys()
        self._codes: dict[str, dict[str, str]] = {}

    def turn_keys(self) -> None:
        """Sign with another key from now on."""
        self.key = ECKey.generate_key("P-256", {"kid": secrets.token_hex(4), "use": "sig"})

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/jwks", self._jwks),
                Route("/end", self._end),
            ]
        )

    async def _metadata(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        if self.down:
            return PlainTextResponse("out of order", 503)
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
                "end_session_endpoint": f"{self.issuer}/end",
                **self.metadata,
            }
        )

    async def _jwks(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        return JSONResponse(KeySet([self.key]).as_dict(private=False))

    async def _authorize(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        asked = dict(request.query_params)
        right = {"client_id": CLIENT, "redirect_uri": self.back, "response_type": "code"}
        assert {name: asked.get(name) for name in right} == right, asked
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        if self.refuses is not None:
            return RedirectResponse(f"{self.back}?{urlencode({'error': self.refuses, 'state': asked['state']})}", 303)
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        told = {"code": code, "state": asked["state"], "iss": self.issuer}
        return RedirectResponse(f"{self.back}?{urlencode(told)}", 303)

    async def _token(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        form = await request.form()
        scheme, _, given = request.headers["authorization"].partition(" ")
        name, _, secret = b64decode(given).decode().partition(":")
        if (scheme, unquote(name), unquote(secret)) != ("Basic", CLIENT, SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        asked = self._codes.pop(str(form["code"]), None)
        verifier = str(form.get("code_verifier", ""))
        if asked is None or create_s256_code_challenge(verifier) != asked["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        token = self.forged or self._signed({"nonce": asked["nonce"], **self.person, **self.said})
        return JSONResponse({"access_token": "opaque", "token_type": "Bearer", "expires_in": 60, "id_token": token})

    async def _end(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        return PlainTextResponse("signed out")

    def _signed(self, claims: dict[str, Any]) -> str:
        now = int(time.time())
        whole = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, **claims}
        header = {"alg": "ES256", "kid": self.key.kid, **self.header}
        return jwt.encode(header, {name: each for name, each in whole.items() if each is not None}, self.key)


@asynccontextmanager
async def providing(back: str) -> AsyncGenerator[IdentityProvider]:
    """A provider that listens, and sends browsers back to one address."""
    listener = listen("127.0.0.1", 0)
    provider = IdentityProvider(issuer=address_of(listener), back=back)
    listening = asyncio.Event()
    server = serving(provider.app(), listening.set, drain_s=1)
    served = asyncio.create_task(server.serve([listener]))
    await listening.wait()
    try:
        yield provider
    finally:
        server.stop()
        await served
        listener.close()
