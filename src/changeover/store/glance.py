"""Whether it is worth while to look at a store again: for those who do so all the time, and mostly find what they know."""

from __future__ import annotations

import time
from typing import Final

from changeover.store.engine import Store

AT_LEAST_S: Final = 1.0
"""A store that tells of no change is looked at all the same after so long: it may be gone."""


class Glance:
    """What one who looks again and again has seen. Asked in an event loop: waits for nobody."""

    def __init__(self, store: Store) -> None:
        """Nothing was looked at yet."""
        self._store = store
        self._seen: int | None = None
        self._until = 0.0

    def tells_news(self) -> bool:
        """Whether to look now. Counts as having looked, unless `forget` says otherwise."""
        version, now = self._store.version(), time.monotonic()
        if version is not None and version == self._seen and now < self._until:
            return False
        self._seen, self._until = version, now + AT_LEAST_S
        return True

    def forget(self) -> None:
        """Look the next time, whatever the store tells: the look failed, or what was seen goes on by itself."""
        self._seen = None
