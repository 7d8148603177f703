"""The table of what was measured, and whether our own targets are met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.evals.measure import Figures, middle

BAREST = "bare loop, aiohttp"

COLUMNS = (
    "tool",
    "0 ms: wall s",
    "CPU s",
    "× bare",
    "50 ms: wall s",
    "CPU s ",
    "MB",
    "`--help` s",
    "first call s",
    "again: wall s",
    "CPU s  ",
    "beside: CPU s",
)


DIGITS = {"memory_mb": 0, "over_bare": 1}
"""Where not two."""


@dataclass(frozen=True)
class Target:
    """What we want of our own rows."""

    key: str
    most: float
    words: str


TARGETS = (
    Target("wall_s", 1.0, "wall s at 0 ms"),
    Target("cpu_s", 1.5, "CPU s at 0 ms"),
    Target("slow_wall_s", 2.3, "wall s at 50 ms"),
    Target("memory_mb", 90.0, "MB"),
    Target("help_s", 0.4, "`--help` s"),
    Target("again_wall_s", 0.5, "wall s from kept answers"),
)


def summary(figures: Figures) -> dict[str, Any]:
    """Medians of one tool."""
    return {
        "wall_s": middle([used.wall_s for used in figures.at_once]),
        "cpu_s": middle([used.cpu_s for used in figures.at_once]),
        "slow_wall_s": middle([used.wall_s for used in figures.after_wait]),
        "slow_cpu_s": middle([used.cpu_s for used in figures.after_wait]),
        "memory_mb": middle([used.memory_mb for used in (*figures.at_once, *figures.after_wait)]),
        "help_s": middle([used.wall_s for used in figures.help]),
        "help_cpu_s": middle([used.cpu_s for used in figures.help]),
        "first_call_s": middle(figures.first_call_s),
        "again_wall_s": middle([used.wall_s for used in figures.again]),
        "again_cpu_s": middle([used.cpu_s for used in figures.again]),
        "beside_cpu_s": middle(figures.beside_cpu_s),
        "notes": figures.notes,
    }


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table, one row for each tool.

    Processor time at 0 ms also as a multiple of the barest loop's: a busy machine stretches both alike.
    """
    bare = next((result["cpu_s"] for name, result in results.items() if name == BAREST), None)
    results = {
        name: {**result, "over_bare": result["cpu_s"] / bare if bare and result["cpu_s"] else None}
        for name, result in results.items()
    }
    keys = (
        *("wall_s", "cpu_s", "over_bare", "slow_wall_s", "slow_cpu_s", "memory_mb"),
        *("help_s", "first_call_s", "again_wall_s", "again_cpu_s", "beside_cpu_s"),
    )
    rows = [[name, *(_cell(key, result[key]) for key in keys)] for name, result in results.items()]
    head = [column.strip() for column in COLUMNS]
    rules = ["---", *("--:" for _ in keys)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rules, *rows))


def targets_met(name: str, result: Mapping[str, Any]) -> Sequence[tuple[str, bool]]:
    """Each target as a line, and whether it is met. A figure that was not measured has no line."""
    lines: list[tuple[str, bool]] = []
    for target in TARGETS:
        value = result[target.key]
        if value is not None:
            met = value <= target.most
            lines.append((f"{name}: {target.words} {value:.2f}, target {target.most:g}: {_word(met)}", met))
    return lines


def _word(met: bool) -> str:
    return "met" if met else "NOT met"


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.{DIGITS.get(key, 2)}f}"
