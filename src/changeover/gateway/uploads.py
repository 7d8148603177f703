"""How many bytes of bodies a gateway holds at once for uploads, of everybody, and of each key.

A body counts from the head that announces it until its request is answered: with the length that its head says, or, where
that says none, with what has come of it. So whoever is let in can send to the end, and whoever is not knows it at once.
"""

from __future__ import annotations

from changeover.core.errors import CapacityError

SETTING = "jobs.all_uploads_mib"
RETRY_S = 5.0
MIB = 1 << 20


class Uploads:
    """The room for bodies, and who has how much of it. For one event loop."""

    def __init__(self, most: int) -> None:
        self.most = most
        """Bytes."""
        self.taken = 0
        self._held: dict[str, int] = {}
        """Bytes, by key; only of those who hold any."""

    def begin(self, key: str) -> Upload:
        """A body of a key, of which nothing is here yet."""
        return Upload(self, key)

    def change(self, key: str, before: int, size: int) -> None:
        """Count a body, of which `before` bytes are counted, with `size` bytes; with 0 it is over.

        One body alone may have any size. A key may have as many as there is room for while no more than half is taken; then
        all of its bodies together get its even share, and never more than half: whoever comes next finds room.

        Raises:
            CapacityError: There is no room, or not for this key; what was counted stays so.
        """
        if size > before:
            self._check(key, before, size)
        self.taken += size - before
        held = self._held.get(key, 0) + size - before
        if held:
            self._held[key] = held
        else:
            self._held.pop(key, None)

    def _check(self, key: str, before: int, size: int) -> None:
        others, own = self.taken - before, self._held.get(key, 0) - before
        if others and others + size > self.most:
            raise CapacityError(
                f"Uploads take {self.taken / MIB:,.1f} of {self.most / MIB:g} MiB already. Try again in a few seconds, or "
                f"raise `{SETTING}`.",
                retry_after_s=RETRY_S,
            )
        share = self.most // max(len(self._held.keys() | {key}), 2)
        if own and 2 * (others + size) > self.most and own + size > share:
            raise CapacityError(
                f"Uploads of this key take {(own + before) / MIB:,.1f} MiB already; its share is {share / MIB:,.1f} now. "
                f"Send fewer at once, or raise `{SETTING}`.",
                retry_after_s=RETRY_S,
            )


class Upload:
    """What one body takes."""

    __slots__ = ("_key", "_room", "_taken")

    def __init__(self, room: Uploads, key: str) -> None:
        self._room = room
        self._key = key
        self._taken = 0

    def grow(self, size: int) -> None:
        """See that so many bytes of it are counted.

        Raises:
            CapacityError: There is no room for them; what was counted stays so until `end`.
        """
        if size > self._taken:
            self._room.change(self._key, self._taken, size)
            self._taken = size

    def end(self) -> None:
        """Give back what it takes. Whoever ends it again gives nothing back."""
        if self._taken:
            self._room.change(self._key, self._taken, 0)
            self._taken = 0
