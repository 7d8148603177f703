"""Signing in by OpenID Connect: a provider vouches for a person, and says what groups they are in.

Authorization code with PKCE. Nothing about an attempt is kept here: state, nonce and verifier are derived from a secret in
a cookie of the browser that began it, so that only that browser can end it.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import httpx2
from authlib.integrations.base_client import OAuthError  # pyright: ignore[reportMissingTypeStubs]
from authlib.integrations.httpx_client import AsyncOAuth2Client  # pyright: ignore[reportMissingTypeStubs]
from authlib.oidc.core import CodeIDToken  # pyright: ignore[reportMissingTypeStubs]
from authlib.oidc.discovery import get_well_known_url  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from changeover.core.clock import Clock
from changeover.core.errors import AuthenticationError, NotReadyError, PermissionError_
from changeover.core.hosts import LOOPBACK
from changeover.core.ids import new_secret
from changeover.core.secrets import register_secret
from changeover.core.settings import ConsoleSettings
from changeover.gateway.keys import Role

log = logging.getLogger(__name__)

RETURN = "/sign-in/return"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""A provider signs with a key of its own; one that we share with it proves nothing."""
PATIENCE_S = 10.0
KNOWN_S = 600.0
"""What the provider says of itself is asked again after so long."""
PAUSE_S = 5.0
"""One that could not be asked is left alone for so long: strangers can have it asked."""
LEEWAY_S = 60
LONGEST_NAME = 70
AGAIN = "Sign in again."
EVERY_TASK = "*"


@dataclass(frozen=True, kw_only=True)
class Vouched:
    """A person as the provider knows them, with what that means here."""

    name: str
    role: Role
    tasks: frozenset[str] | None


@dataclass(frozen=True)
class _Known:
    """What the provider says of itself."""

    metadata: Mapping[str, Any]
    keys: KeySet
    at: float


class Provider:
    """One identity provider, as `[console]` names it."""

    def __init__(self, settings: ConsoleSettings, secret: str | None, clock: Clock) -> None:
        assert settings.issuer is not None, "a console without one has no provider"
        register_secret(secret)
        self._settings = settings
        self._secret = secret
        self._clock = clock
        self._known: _Known | None = None
        self._failed: tuple[float, str] | None = None
        """When it could not be asked last, and what was said of it."""
        self._asking = asyncio.Lock()
        self.issuer = settings.issuer
        self.label = settings.label
        self._back = f"{settings.address}{RETURN}"

    async def begin(self) -> tuple[str, str]:
        """Where the browser goes, and the secret of its attempt.

        Raises:
            NotReadyError: The provider cannot be asked, or says of itself what cannot be.
        """
        attempt = new_secret("attempt")
        known = await self._ask_about_it()
        url, _ = cast(
            "tuple[str, str]",
            self._client().create_authorization_url(  # pyright: ignore[reportUnknownMemberType]
                known.metadata["authorization_endpoint"],
                state=_part(attempt, "state"),
                nonce=_part(attempt, "nonce"),
                code_verifier=_part(attempt, "verifier"),
            ),
        )
        return url, attempt

    async def end(self, attempt: str | None, said: Mapping[str, str]) -> Vouched:
        """Who came back from the provider.

        Args:
            attempt: What `begin` gave, from the browser's cookie.
            said: What the provider sent the browser back with.

        Raises:
            AuthenticationError: This is no answer to what that browser began, or does not prove who they are.
            PermissionError_: The provider refused them, or they have no role here.
            NotReadyError: The provider cannot be asked.
        """
        if attempt is None:
            raise AuthenticationError(f"This sign-in was begun in another browser, or too long ago. {AGAIN}")
        if not hmac.compare_digest(said.get("state", "").encode(), _part(attempt, "state").encode()):
            raise AuthenticationError(f"This is no answer to the sign-in that this browser began. {AGAIN}")
        if said.get("iss", self.issuer) != self.issuer:
            raise AuthenticationError(f"Another provider than `{self.issuer}` answered. {AGAIN}")
        if "error" in said:
            raise PermissionError_(f"`{self.issuer}` did not sign you in: {said['error'][:100]}.")
        if not said.get("code"):
            raise AuthenticationError(f"The provider sent no code. {AGAIN}")
        known = await self._ask_about_it()
        token = await self._token(known, said["code"], attempt)
        return self._vouched(await self._claims(token, attempt))

    async def farewell(self) -> str | None:
        """Where somebody ends their session at the provider too; None: nowhere, or it cannot be asked."""
        try:
            known = await self._ask_about_it()
        except NotReadyError:
            return None
        where = known.metadata.get("end_session_endpoint")
        if not isinstance(where, str) or not _trusted(where):
            return None
        back = f"{self._settings.address}/sign-in"
        return f"{where}?{urlencode({'client_id': self._settings.client_id, 'post_logout_redirect_uri': back})}"

    def _client(self) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            client_id=self._settings.client_id,
            client_secret=self._secret,
            scope=" ".join(self._settings.scopes),
            redirect_uri=self._back,
            code_challenge_method="S256",
            timeout=PATIENCE_S,
        )

    async def _ask_about_it(self, *, anew: bool = False) -> _Known:
        """What the provider says of itself, and its keys. Asked once for all who come, and not again right after it failed."""
        came = self._clock.monotonic()
        async with self._asking:
            known, now = self._known, self._clock.monotonic()
            if known is not None and (known.at > came or (not anew and now - known.at < KNOWN_S)):
                return known
            if self._failed is not None and now - self._failed[0] < PAUSE_S:
                raise NotReadyError(self._failed[1])
            try:
                self._known = await self._asked(now)
            except NotReadyError as exc:
                self._failed = (self._clock.monotonic(), exc.message)
                raise
            return self._known

    async def _asked(self, now: float) -> _Known:
        async with httpx2.AsyncClient(timeout=PATIENCE_S) as http:
            metadata = await _fetched(http, get_well_known_url(self.issuer, external=True))
            if metadata.get("issuer") != self.issuer:
                raise NotReadyError(f"What `{self.issuer}` says of itself names another issuer. See `console.issuer`.")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not isinstance(metadata.get(name), str) or not _trusted(metadata[name]):
                    raise NotReadyError(f"`{self.issuer}` names no `{name}` that is reached by HTTPS.")
            try:
                keys = KeySet.import_key_set(cast("Any", await _fetched(http, metadata["jwks_uri"])))
            except (JoseError, ValueError, KeyError, TypeError) as exc:
                raise NotReadyError(f"The keys of `{self.issuer}` cannot be read: {exc}.") from exc
        return _Known(metadata, keys, now)

    async def _token(self, known: _Known, code: str, attempt: str) -> Mapping[str, Any]:
        client: Any = self._client()
        try:
            return await client.fetch_token(
                known.metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                code_verifier=_part(attempt, "verifier"),
                redirect_uri=self._back,
            )
        except OAuthError as exc:
            log.warning("a sign-in was refused at the token endpoint: %s", exc)
            raise AuthenticationError(f"`{self.issuer}` does not accept this sign-in any more. {AGAIN}") from exc
        except (httpx2.HTTPError, ValueError) as exc:
            raise _not_ready(self.issuer, exc) from exc
        finally:
            await client.aclose()

    async def _claims(self, token: Mapping[str, Any], attempt: str) -> Mapping[str, Any]:
        """What the ID token says, once it is known to be the provider's, for us, of now, and for this attempt."""
        given = token.get("id_token")
        if not isinstance(given, str):
            raise AuthenticationError(f"`{self.issuer}` sent no ID token. The scope `openid` has to be allowed there.")
        try:
            try:
                read = jwt.decode(given, (await self._ask_about_it()).keys, algorithms=ALGORITHMS)
            except InvalidKeyIdError:  # it may have changed its keys
                read = jwt.decode(given, (await self._ask_about_it(anew=True)).keys, algorithms=ALGORITHMS)
            claims = CodeIDToken(
                read.claims,
                read.header,
                options={
                    "iss": {"essential": True, "value": self.issuer},
                    "aud": {"essential": True, "value": self._settings.client_id or ""},
                },
                params={
                    "nonce": _part(attempt, "nonce"),
                    "client_id": self._settings.client_id,
                    "access_token": token.get("access_token"),
                },
            )
            claims.validate(now=int(self._clock.now().timestamp()), leeway=LEEWAY_S)  # pyright: ignore[reportUnknownMemberType]
        except (JoseError, ValueError, KeyError, TypeError) as exc:
            log.warning("an ID token was refused: %s", exc)
            raise AuthenticationError(f"What `{self.issuer}` says of you does not prove who you are. {AGAIN}") from exc
        return cast("Mapping[str, Any]", claims)

    def _vouched(self, claims: Mapping[str, Any]) -> Vouched:
        has = (
            frozenset[str]()
            if _unverified(claims, self._settings.role_claim)
            else _texts(_claim(claims, self._settings.role_claim))
        )
        name = _name(claims, self._settings.name_claim)
        role: Role | None = next((role for text, role in self._settings.roles.items() if text in has), None)
        if role is None:
            raise PermissionError_(self._lacks(name, "no role", "console.roles"))
        tasks = frozenset[str]().union(*(tasks for text, tasks in self._settings.tasks.items() if text in has))
        if self._settings.tasks and not tasks:
            raise PermissionError_(self._lacks(name, f"the role `{role}` but no task", "console.tasks"))
        return Vouched(name=name, role=role, tasks=None if EVERY_TASK in tasks or not self._settings.tasks else tasks)

    def _lacks(self, name: str, what: str, setting: str) -> str:
        """What is said to somebody who is known and may not come in: what they lack, and whom to ask."""
        who = self._settings.contact or "whoever runs this console"
        return (
            f"`{name}` is known to {self.label}, and has {what} here. Ask {who}: it takes one of the groups under "
            f"`{setting}` in changeover.toml, in the claim `{self._settings.role_claim}`."
        )


def _part(attempt: str, of: str) -> str:
    """What is derived from the secret of an attempt; nobody can tell the secret from it."""
    return urlsafe_b64encode(hmac.digest(attempt.encode(), of.encode(), "sha256")).rstrip(b"=").decode()


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, or one inside another by a name with dots."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = cast("Mapping[str, Any]", found).get(part) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> frozenset[str]:
    values = cast("list[Any]", value if isinstance(value, list) else [value])
    return frozenset(each for each in values if isinstance(each, str))


def _name(claims: Mapping[str, Any], wanted: str) -> str:
    """Who somebody is: what cannot be read, or an address that nobody verified, gives way to the provider's own name."""
    name = _claim(claims, wanted)
    usable = isinstance(name, str) and name == name.strip() and name.isprintable() and name[:1].isalnum()
    if usable and len(name) <= LONGEST_NAME and not _unverified(claims, wanted):
        return cast("str", name)
    return "sub " + "".join(char for char in str(claims["sub"]) if char.isprintable())[:LONGEST_NAME].strip()


def _unverified(claims: Mapping[str, Any], claim: str) -> bool:
    """Whether a claim is an address of which the provider says that nobody has shown it to be theirs."""
    return claim == "email" and claims.get("email_verified") in (False, "false")


def _trusted(url: str) -> bool:
    """Whether what is sent there is read by nobody else."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


async def _fetched(http: httpx2.AsyncClient, url: str) -> Mapping[str, Any]:
    try:
        answer = await http.get(url, headers={"accept": "application/json"})
        answer.raise_for_status()
        said = answer.json()
    except (httpx2.HTTPError, ValueError) as exc:
        raise _not_ready(url, exc) from exc
    if not isinstance(said, dict):
        raise NotReadyError(f"`{url}` answers with no JSON object.")
    return cast("Mapping[str, Any]", said)


def _not_ready(what: str, exc: Exception) -> NotReadyError:
    log.warning("the identity provider cannot be asked: %s: %s", what, exc)
    return NotReadyError(f"`{what}` cannot be asked at the moment. Try again, or sign in with a key.")
