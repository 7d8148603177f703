"""Secrets that this process has read: remembered so that no log line can show them. Whoever reads one registers it."""

from __future__ import annotations

import json
import re
import threading
from urllib.parse import quote, quote_plus

MASK = "[secret]"
LEAST = 6
"""Shorter values are not looked for: they would be found in innocent words."""


class Secrets:
    """Values that nobody may be shown. Thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spellings: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def register(self, value: str) -> None:
        """Mask a value from now on, however it is quoted."""
        value = value.strip()
        if len(value) < LEAST:
            return
        escaped = json.dumps(value)[1:-1]
        spellings = {value, quote(value, safe=""), quote_plus(value), escaped, repr(value)[1:-1]}
        with self._lock:
            self._spellings |= spellings
            # The longest first: one secret may begin as another does.
            longest_first = sorted(self._spellings, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def masked(self, text: str) -> str:
        """A text without any of them."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)


_SECRETS = Secrets()


def register_secret(value: str | None) -> None:
    """Keep a value out of every log of this process. None and short values are left alone."""
    if value is not None:
        _SECRETS.register(value)


def without_registered(text: str) -> str:
    """A text in which every registered secret is masked."""
    return _SECRETS.masked(text)
