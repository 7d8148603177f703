"""How far the start of an engine has come, in words that stand in its row and can be read back from there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Phase = Literal["loading", "first answer"]
"""Its process begins and reads weights; it is asked for its first answer."""
_SAID: Final = re.compile(r"(loading|first answer)(?: (\S+ [MG]iB))?, (\d+) s of at most (\d+) s")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A start that is under way."""

    phase: Phase
    size: str | None
    """Of the weights, as people read it; None: it reads none of ours."""
    elapsed_s: int
    at_most_s: int
    """Then it is given up, and tried again."""

    def __str__(self) -> str:
        """As in `loading 0.5 GiB, 12 s of at most 40 s`."""
        size = f" {self.size}" if self.size is not None else ""
        return f"{self.phase}{size}, {self.elapsed_s} s of at most {self.at_most_s} s"

    @classmethod
    def read(cls, detail: str) -> Progress | None:
        """What a row's words say; None where they say something else."""
        found = _SAID.match(detail)
        if found is None:
            return None
        phase: Phase = "loading" if found[1] == "loading" else "first answer"
        return cls(phase=phase, size=found[2], elapsed_s=int(found[3]), at_most_s=int(found[4]))
