"""The work: one-line cases, each with a word that a good answer contains. The server echoes, so every answer is good."""

from __future__ import annotations

from dataclasses import dataclass

MODELS = ("one", "two")
AT_ONCE = 32
PATTERN = r"city-\d+-\d+"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One case."""

    id: str
    text: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The cases of one run. Another number makes other texts, so that nobody's cache of an earlier run helps."""

    lines: tuple[Line, ...]

    @property
    def calls(self) -> int:
        """Chat calls that it takes."""
        return len(self.lines) * len(MODELS)

    @classmethod
    def make(cls, cases: int, number: int) -> Workload:
        """Cases of run `number`."""
        lines = [
            Line(
                id=f"case-{number}-{case}",
                text=f"Case {case}: what is the capital of country {case} on map {number}? It is city-{number}-{case}.",
                target=f"city-{number}-{case}",
            )
            for case in range(cases)
        ]
        return cls(lines=tuple(lines))
