"""Secrets that this process has read: remembered so that no log line can show them. Whoever reads one registers it."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from urllib.parse import quote, quote_plus

MASK = "[secret]"
LEAST = 6
"""Shorter values are not looked for: they would be found in innocent words."""


class Secrets:
    """Values that nobody may be shown. Thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        """How often each spelling was registered and not forgotten."""
        self._pattern: re.Pattern[str] | None = None

    def register(self, value: str) -> None:
        """Mask a value from now on, however it is quoted."""
        with self._lock:
            self._held.update(_spellings(value))
            self._compile()

    def forget(self, value: str) -> None:
        """Mask it no longer, once it was forgotten as often as it was registered: it opens nothing any more."""
        with self._lock:
            self._held = +(self._held - Counter(_spellings(value)))
            self._compile()

    def _compile(self) -> None:
        # The longest first: one secret may begin as another does.
        longest_first = sorted(self._held, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def masked(self, text: str) -> str:
        """A text without any of them."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)


def _spellings(value: str) -> set[str]:
    value = value.strip()
    if len(value) < LEAST:
        return set()
    escaped = json.dumps(value)[1:-1]
    return {value, quote(value, safe=""), quote_plus(value), escaped, repr(value)[1:-1]}


_SECRETS = Secrets()


def register_secret(value: str | None) -> None:
    """Keep a value out of every log of this process. None and short values are left alone."""
    if value is not None:
        _SECRETS.register(value)


def forget_secret(value: str) -> None:
    """Let go of one that opens nothing any more, or is not held here any more."""
    _SECRETS.forget(value)


def without_registered(text: str) -> str:
    """A text in which every registered secret is masked."""
    return _SECRETS.masked(text)
