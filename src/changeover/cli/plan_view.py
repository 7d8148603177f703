"""What a person sees of a plan of a deployment."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from changeover.app.planning import DeployPlan
from changeover.app.planning.words import Verdict, rows_of, time_in_words, verdict_of
from changeover.cli.columns import hanging
from changeover.cli.terminal import clean
from changeover.core.sizes import in_gib

INDENT = 11
STYLES: Mapping[Verdict, tuple[str, str]] = {
    "can run": ("CAN RUN", "bold green"),
    "not known": ("NOT KNOWN", "bold yellow"),
    "cannot run yet": ("CANNOT RUN YET", "bold red"),
}
WHERE = {"here": "on this machine", "elsewhere": "where it runs already"}


def plan_lines(plan: DeployPlan, width: int) -> list[Text]:
    """The whole plan, one idea a line. What is to be copied stands on one line however long it is."""
    where = WHERE.get(plan.hardware) or (f"at {plan.hardware}" if plan.address else f"on {plan.hardware}")
    said, style = STYLES[verdict_of(plan)]
    lines = [Text.assemble((said, style), f"  {plan.deployment} {where}")]
    for name, words in rows_of(plan):
        lines += hanging(f"  {name:<{INDENT}}", Text(clean(words)), width)
    for name, command in (("process", plan.process), ("command", plan.command), ("attach", plan.attach)):
        if command is not None:
            lines.append(Text(f"  {name:<{INDENT}}{clean(command)}"))
        if name == "process" and plan.environment:
            lines += hanging(f"  {'with':<{INDENT}}", Text(clean(" ".join(plan.environment))), width)
    for lack in plan.missing:
        lines += hanging(f"  {'missing':<{INDENT}}", Text(clean(lack.what), "yellow"), width)
        lines += hanging(f"  {'':<{INDENT}}", Text(clean(lack.remedy)), width)
    return lines


def in_short(plan: DeployPlan) -> str:
    """The plan on one line, before it is followed."""
    size = None if plan.weights is None or plan.weights.here else plan.weights.bytes
    parts = [
        plan.engine,
        plan.quantisation,
        None if plan.threads is None else f"threads {plan.threads}",
        None if size is None else f"{in_gib(size)} to fetch",
        None if plan.needs_bytes is None else f"needs {in_gib(plan.needs_bytes)} of {in_gib(plan.has_bytes or 0)}",
        None if plan.ready_s is None else f"ready within {time_in_words(plan.ready_s)}",
        plan.address,
    ]
    return f"{plan.deployment}  {' · '.join(part for part in parts if part)}"
