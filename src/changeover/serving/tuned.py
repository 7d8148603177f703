"""What tuning found for a model on a machine, as it is kept."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from changeover.serving.backends.common import usable_cores


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A trial's figures."""

    quantisation: str | None
    threads: int
    alone_per_s: float
    together_per_s: float
    first_s: float


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What was found for a model on a kind of engine, on this machine."""

    machine: str
    slots: int
    threads: int
    """Those to run with."""
    quantisation: str | None
    """The one that the model runs in."""
    fastest: str | None
    """The one that answers fastest, which may be another: it is another bundle, and has to be measured as any candidate."""
    trials: tuple[Measured, ...]

    def document(self) -> dict[str, Any]:
        """As it is kept."""
        return msgspec.to_builtins(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Tuning:
        """Read what `document` wrote."""
        return msgspec.convert(document, cls)


@dataclass(frozen=True, kw_only=True)
class KeptTuning:
    """What was found, and when."""

    tuning: Tuning
    measured_at: datetime

    @property
    def says(self) -> str:
        """The date of it, as it is stated beside threads."""
        return f"tuned {self.measured_at:%Y-%m-%d}"


def this_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """This machine's processor and how many of its cores we may use: figures of another one say nothing here."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        found = None
    name = found[1].strip() if found else platform.processor() or platform.machine()
    return f"{name[:180]}, {usable_cores()} cores"
