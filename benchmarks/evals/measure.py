"""Every tool in turn, several times: fresh at once, fresh after a wait, again from what is kept, and the help alone."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.evals.process import RunFailedError, Usage, run
from benchmarks.evals.server import Server, server
from benchmarks.evals.tool import Session, Tool
from benchmarks.evals.workload import Workload

SLOW_S = 0.05
RUN_S = 300.0
"""No single run may take longer."""


@dataclass
class Figures:
    """What was measured of one tool; each list has one entry for each repeat."""

    at_once: list[Usage] = field(default_factory=list[Usage])
    """The server answers at once."""
    after_wait: list[Usage] = field(default_factory=list[Usage])
    """The server answers after `SLOW_S`."""
    again: list[Usage] = field(default_factory=list[Usage])
    """All answers are kept from the run before."""
    help: list[Usage] = field(default_factory=list[Usage])
    first_call_s: list[float] = field(default_factory=list[float])
    """From the process's start to its first call at the server."""
    beside_cpu_s: list[float] = field(default_factory=list[float])
    """Processor time of what serves it beside its own process."""
    notes: list[str] = field(default_factory=list[str])

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    cases: int
    repeats: int


def measure(tools: Sequence[Tool], plan: Plan, directory: Path) -> dict[str, Figures]:
    """Measure tools that are installed, by name. Repeats are interleaved, so that a busy minute hits all alike."""
    figures: dict[str, Figures] = defaultdict(Figures)
    with ExitStack() as stack:
        quick, slow = (stack.enter_context(server(delay)) for delay in (0.0, SLOW_S))
        sessions: list[tuple[Tool, Session, Session]] = []
        for place, tool in enumerate(tools):
            home = directory / str(place)
            home.mkdir()
            for name in ("quick", "slow"):
                (home / name).mkdir()
            both = (
                stack.enter_context(tool.session(home / "quick", quick.address)),
                stack.enter_context(tool.session(home / "slow", slow.address)),
            )
            sessions.append((tool, *both))
        for number in range(1, plan.repeats + 1):
            workload = Workload.make(plan.cases, number)
            for place, (tool, at_once, after_wait) in enumerate(sessions):
                home = directory / str(place)
                print(f"  round {number} of {plan.repeats}: {tool.name}", file=sys.stderr, flush=True)
                try:
                    _round(tool, at_once, workload, home / f"{number}-quick", quick, figures[tool.name])
                    _one(after_wait, workload, home / f"{number}-slow", slow, figures[tool.name])
                except RunFailedError as exc:
                    figures[tool.name].note(f"failed: {exc}")
    return dict(figures)


def _round(tool: Tool, session: Session, workload: Workload, directory: Path, echo: Server, figures: Figures) -> None:
    log = directory.with_suffix(".log")
    help_command = tool.start_up(directory.parent)
    if help_command is not None:
        figures.help.append(run([help_command], log=log, timeout_s=RUN_S))
    session.write(workload, directory)
    before, beside = echo.seen()["requests"], session.beside_cpu_s()
    used = run(session.commands(directory), log=log, timeout_s=RUN_S)
    seen = echo.seen()
    figures.at_once.append(used)
    _check_calls(seen["requests"] - before, workload.calls, "a fresh run", figures)
    if seen["first"] is not None:
        figures.first_call_s.append(seen["first"] - used.began)
    if beside is not None:
        figures.beside_cpu_s.append((session.beside_cpu_s() or 0.0) - beside)
    if tool.caches:
        figures.again.append(run(session.commands(directory), log=log, timeout_s=RUN_S))
        _check_calls(echo.seen()["requests"] - seen["requests"], 0, "a run from kept answers", figures)


def _one(session: Session, workload: Workload, directory: Path, echo: Server, figures: Figures) -> None:
    session.write(workload, directory)
    before = echo.seen()["requests"]
    figures.after_wait.append(run(session.commands(directory), log=directory.with_suffix(".log"), timeout_s=RUN_S))
    _check_calls(echo.seen()["requests"] - before, workload.calls, "a fresh run", figures)


def _check_calls(made: int, expected: int, where: str, figures: Figures) -> None:
    if made != expected:
        figures.note(f"{where} made {made} calls and not {expected}")


def middle(values: Sequence[float]) -> float | None:
    """The median; None of nothing."""
    return median(values) if values else None
