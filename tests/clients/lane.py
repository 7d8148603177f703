"""What every test of the lane knows: the gateway, and which clients are there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Gateway:
    """A running gateway, as its users know it."""

    address: str
    keys: dict[str, str]

    @property
    def url(self) -> str:
        """What clients call the base URL."""
        return f"{self.address}/v1"

    @property
    def key(self) -> str:
        return self.keys["first"]


def reason_missing(client: str) -> str | None:
    """Why a client could not be installed, as `install.py` wrote it; None: it is there."""
    file = Path(sys.prefix) / "not-installed" / client
    return file.read_text() if file.exists() else None
