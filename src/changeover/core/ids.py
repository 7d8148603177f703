"""Names for rows and requests: short, sortable by time, readable in a terminal."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter that looks like a digit."""


def new_id(prefix: str) -> str:
    """A unique id such as `req_01jd3k9mz0-7h2kq4wx`: milliseconds since 1970, then 40 random bits."""
    millis = time.time_ns() // 1_000_000
    stamp = "".join(_ALPHABET[(millis >> shift) & 31] for shift in range(45, -1, -5))
    noise = secrets.randbits(40)
    tail = "".join(_ALPHABET[(noise >> shift) & 31] for shift in range(35, -1, -5))
    return f"{prefix}_{stamp}-{tail}"


def new_secret(prefix: str) -> str:
    """A secret of 256 random bits, for keys and engines. Never log it."""
    return f"{prefix}-{secrets.token_urlsafe(32)}"
