"""Stage 3: how much at once."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from changeover.core.errors import CapacityError


class Admission:
    """Counts requests that are being answered, and refuses one too many."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.in_flight = 0

    @contextmanager
    def admit(self) -> Generator[None]:
        """Hold a place for the length of the block.

        Raises:
            CapacityError: All places are taken.
        """
        if self.in_flight >= self.most:
            raise CapacityError(f"{self.in_flight} requests are being answered already. Try again in a second.")
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
