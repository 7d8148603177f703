"""The demo's last act: tools on top of tasks, run by the Python client as an application does."""

from __future__ import annotations

import time

from changeover.cli.demo.acts import Stage
from changeover.cli.frame import out
from changeover.client import Client, Result, ToolFailed
from changeover.client.values import cited

SHOWN = ("document-summary", "code-documentation")
"""Each with its own example."""
MOST_LINES = 14


def run_tools(stage: Stage) -> None:
    """Run each tool's example, and show what it gave, from where, and who answered."""
    out.print("\n[bold]6  Tools[/]  declared on top of tasks; files are read, figures and sources are checked by code")
    with Client(stage.address, stage.key) as client:
        for name in SHOWN:
            tool = client.tool(name)
            out.print(f"\n  [bold]{name}[/]  {tool.title}, its own example")
            started = time.perf_counter()
            try:
                result = client.run(name, **(tool.example or {}))
            except ToolFailed as failed:
                out.print(f"  its contract refused what the model said: {failed.message}", markup=False)
                stage.report.tools[name] = False
                continue
            _show(result, time.perf_counter() - started)
            stage.report.tools[name] = True


def _show(result: Result, seconds: float) -> None:
    lines = result.text.strip().splitlines()
    lines = lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], "…"]
    out.print("\n".join(f"  │ {line}" for line in lines), markup=False)
    for source in cited(result.citations)[:4]:
        out.print(f"  {source}", markup=False, style="dim")
    who = ", ".join(dict.fromkeys(str(each["deployment"]) for each in result.answered_by))
    calls = sum(int(each["calls"]) for each in result.answered_by)
    out.print(f"  [dim]{who}, {calls} {'call' if calls == 1 else 'calls'}, {seconds:.1f} s[/]")
