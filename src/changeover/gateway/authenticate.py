"""Stage 1: who calls. Denies by default."""

from __future__ import annotations

from changeover.core.errors import AuthenticationError
from changeover.gateway.keys import Key, Keyring


def authenticate(authorization: bytes | None, keyring: Keyring) -> Key:
    """Find the caller's key from `Authorization: Bearer …`.

    Raises:
        AuthenticationError: No key, another scheme, or a key that is not known here.
    """
    if authorization is None:
        raise AuthenticationError("No API key. Send `Authorization: Bearer KEY`; `changeover key new NAME` makes one.")
    scheme, _, secret = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not secret.strip():
        raise AuthenticationError("The Authorization header is not `Bearer KEY`.")
    key = keyring.find(secret.strip().decode("latin-1"))
    if key is None:
        raise AuthenticationError(
            "This API key is not known here, or was revoked. Make one: `changeover key new NAME`."
        )
    return key
