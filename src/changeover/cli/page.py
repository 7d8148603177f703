"""A page about one thing: labelled lines that fit the terminal, each with the number of where it was read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from rich.text import Text

from changeover.cli.columns import UNKNOWN, hanging
from changeover.cli.terminal import out
from changeover.library.facts import FactSource

INDENT = 2
LABEL = 16
WIDEST = 110
"""Characters of a line that is still read with ease."""


@dataclass
class Page:
    """Lines in order, and the sources that they named so far."""

    width: int
    lines: list[Text] = field(default_factory=list[Text])
    _sources: dict[str, str] = field(default_factory=dict[str, str])
    """Address: grade and day."""

    def section(self, title: str = "") -> None:
        """Begin a group of lines."""
        if self.lines and self.lines[-1].cell_len:
            self.lines.append(Text())
        if title:
            self.lines.append(Text(title, "bold"))

    def row(
        self, label: str, said: str | Text | None, sources: Iterable[FactSource | str] = (), *, style: str = ""
    ) -> None:
        """One fact. None is unknown, and is said so; a source is one of a card's, or an address."""
        text = Text(UNKNOWN, "dim") if said is None else said.copy() if isinstance(said, Text) else Text(said, style)
        numbers = [] if said is None else [self._number(source) for source in sources]
        if numbers:
            text.append(f" [{','.join(str(number) for number in sorted(set(numbers)))}]", "dim")
        before = " " * INDENT + f"{label:<{LABEL}}"
        lines = hanging(before, text, min(self.width, WIDEST))
        lines[0].stylize("dim", 0, len(before))
        self.lines += lines

    def plain(self, text: str, style: str = "", *, label: str = "") -> None:
        """A line that must stay whole to be copied."""
        before = " " * INDENT + f"{label:<{LABEL}}"
        if len(before) + len(text) > self.width:
            before = f"{before.rstrip()}  "
        self.lines.append(Text.assemble((before, "dim"), (text, style), no_wrap=True))

    def sources(self) -> None:
        """What the numbers mean."""
        if not self._sources:
            return
        self.section("sources")
        for number, (at, about) in enumerate(self._sources.items(), start=1):
            before = f"{f'[{number}]':>5} "
            self.lines += hanging(
                before, Text.assemble(at, (f"  {about}" if about else "", "dim")), min(self.width, WIDEST)
            )

    def show(self) -> None:
        """Print it."""
        for line in self.lines:
            out.print(line)

    def _number(self, source: FactSource | str) -> int:
        at, about = (source, "") if isinstance(source, str) else (source.at, f"{source.grade}, {source.checked}")
        self._sources.setdefault(at, about)
        return list(self._sources).index(at) + 1


def thousands(number: float) -> str:
    """A number with its thousands apart.

    >>> thousands(262144)
    '262,144'
    """
    return f"{number:,.0f}"


def day(value: date | None) -> str:
    return UNKNOWN if value is None else value.isoformat()
