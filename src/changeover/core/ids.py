"""Names for rows and requests: short, sortable by time, readable in a terminal."""

from __future__ import annotations

import random
import secrets
import time
from functools import lru_cache

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter that looks like a digit."""
_noise = random.Random()
"""Seeded by the system. An id is no secret, and asking the system each time would cost more than all the rest."""
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
"""Ten bits at a time."""


def new_id(prefix: str) -> str:
    """A unique id such as `req_01jd3k9mz0-7h2kq4wx`: milliseconds since 1970, then 40 random bits."""
    noise, pairs = _noise.getrandbits(40), _PAIRS
    return (
        f"{prefix}_{_stamp(time.time_ns() // 1_000_000)}-{pairs[noise >> 30]}{pairs[noise >> 20 & 1023]}"
        f"{pairs[noise >> 10 & 1023]}{pairs[noise & 1023]}"
    )


@lru_cache(maxsize=2)
def _stamp(millis: int) -> str:
    """A millisecond in ten letters. Under load many requests share one."""
    return "".join(_PAIRS[millis >> shift & 1023] for shift in (40, 30, 20, 10, 0))


def new_secret(prefix: str) -> str:
    """A secret of 256 random bits, for keys and engines. Never log it."""
    return f"{prefix}-{secrets.token_urlsafe(32)}"
