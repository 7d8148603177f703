"""Stage 1: who calls. Denies by default."""

from __future__ import annotations

from datetime import datetime

from changeover.core.errors import AuthenticationError, PermissionError_
from changeover.gateway.http import Headers
from changeover.gateway.keys import Key, Keyring, Role

MOST_SECRET_BYTES = 512


def authenticate(headers: Headers, keyring: Keyring, now: datetime) -> Key:
    """Find the caller's key from `Authorization: Bearer …`, or from `x-api-key`, as Anthropic's clients send it.

    Raises:
        AuthenticationError: No key, another scheme, several different ones, or a key that is not known here or expired.
    """
    secret: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            given = _bearer(value)
        elif name == b"x-api-key":
            given = value.strip()
        else:
            continue
        if secret is not None and given != secret:
            raise AuthenticationError("Several different API keys were sent. Send one.")
        secret = given
    if secret is None:
        raise AuthenticationError("No API key. Send `Authorization: Bearer KEY`; `changeover key new NAME` makes one.")
    key = keyring.find(secret) if 0 < len(secret) <= MOST_SECRET_BYTES else None
    if key is None:
        raise AuthenticationError(
            "This API key is not known here, or was revoked. Make one: `changeover key new NAME`."
        )
    if key.expires_at is not None and now >= key.expires_at:
        raise AuthenticationError("This API key has expired. Make another: `changeover key new NAME`.")
    return key


def allow(key: Key, roles: frozenset[Role]) -> None:
    """Let only some roles through.

    Raises:
        PermissionError_: The key has none of them.
    """
    if key.role not in roles:
        raise PermissionError_(f"A key of role `{key.role}` may not do this; one of {', '.join(sorted(roles))} may.")


def allow_whole(key: Key) -> None:
    """Let only those through who may see every task.

    Raises:
        PermissionError_: The key is limited to some.
    """
    if key.tasks is not None:
        raise PermissionError_("This speaks of every task, and the key is limited to some. Ask with one that is not.")


def _bearer(value: bytes) -> bytes:
    scheme, _, secret = value.partition(b" ")
    if scheme.lower() != b"bearer" or not secret.strip():
        raise AuthenticationError("The Authorization header is not `Bearer KEY`.")
    return secret.strip()
