"""What the demo leaves behind: a summary for a person, and the same as a file."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from changeover.app.history import Happened
from changeover.cli.frame import out
from changeover.evals.comparison import Live
from changeover.evals.report.words import points

REPORT_FILE = "demo-report.json"


@dataclass(kw_only=True)
class Report:
    """Everything the demo measured."""

    started: float = field(repr=False)
    seconds: float = 0.0
    changeover_time_s: float | None = None
    """From the first look at the candidate to the revision with which it answers the task."""
    requests: int = 0
    """By client load, while models were switched."""
    failed_requests: int = 0
    truncated_streams: int = 0
    calls_spent: int = 0
    calls_fixed_n: int = 0
    code_passed: bool | None = None
    """Whether the code that answered the first request passed its tests."""
    code_passed_after: bool | None = None
    """The same request, after the switch."""
    verdicts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    history: list[Happened] = field(default_factory=list[Happened])
    tools: dict[str, bool] = field(default_factory=dict[str, bool])
    """Whether each met its contract."""

    @classmethod
    def begun(cls) -> Report:
        return cls(started=time.monotonic())

    def finish(self) -> None:
        self.seconds = round(time.monotonic() - self.started, 1)

    def add(self, live: Live, comparison: str) -> None:
        """Count a finished comparison."""
        self.calls_spent += live.calls_new
        self.calls_fixed_n += live.calls_fixed_n or 0
        self.verdicts.append(
            {
                "task": live.task,
                "incumbent": live.incumbent,
                "candidate": live.candidate,
                "verdict": live.verdict,
                "shown": live.shown,
                "difference": live.difference,
                "low": live.low,
                "high": live.high,
                "samples": live.samples,
                "calls_new": live.calls_new,
                "calls_fixed_n": live.calls_fixed_n,
                "comparison": comparison,
            }
        )

    def to_json(self) -> str:
        values = asdict(self)
        del values["started"]
        return json.dumps(values, indent=2, default=str) + "\n"


def print_summary(report: Report, directory: Path) -> None:
    """The end of the demo."""
    out.print()
    out.rule("[bold]What happened[/]", align="left")
    for row in report.verdicts:
        colour = {"pass": "green", "fail": "red"}.get(row["verdict"], "yellow")
        out.print(
            f"  [{colour}]{row['verdict']:<13}[/] {row['task']:<13} {row['incumbent']} → {row['candidate']}  "
            f"{points(row['difference'])} pts \\[{points(row['low'])}, {points(row['high'])}], {row['samples']} samples"
        )
    if report.changeover_time_s is None:
        out.print("  changeover     none: no candidate passed, so nothing was switched. That is a result.")
    else:
        out.print(
            f"  changeover     [bold]{report.changeover_time_s:.0f} s[/] from the first look at the model to its answers"
        )
    colour = "green" if report.failed_requests == report.truncated_streams == 0 else "red"
    out.print(
        f"  requests       {report.requests} during the switches · [{colour}]{report.failed_requests} failed · "
        f"{report.truncated_streams} truncated streams[/]"
    )
    out.print(
        f"  model calls    {report.calls_spent} spent on evidence · a fixed number of samples would need {report.calls_fixed_n}"
    )
    met = sum(report.tools.values())
    out.print(f"  tools          {met} of {len(report.tools)} met their contract on these models")
    out.print(f"  all of it      {report.seconds:.0f} s · written to {REPORT_FILE}")
    out.print("\n[bold]Try next[/]")
    out.print(f"  cd {_short(directory)} && changeover up        in one terminal; in another, there:")
    out.print("  changeover history code        who answered when, and why")
    out.print("  changeover ask summarise examples/memo.txt")
    out.print("  changeover tools        thirty-two, to add, copy and change")
    out.print("  changeover switch code --to qwen2.5-coder-1.5b-instruct        a larger candidate, 1.1 GB")
    out.print("  changeover init my-org        a project of your own")


def _short(directory: Path) -> str:
    try:
        return str(directory.relative_to(Path.cwd()))
    except ValueError:
        return str(directory)
