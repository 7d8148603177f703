"""What a person sees of a plan of a deployment."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from changeover.app.planning import DeployPlan, Weights
from changeover.cli.columns import hanging
from changeover.cli.terminal import clean
from changeover.core.sizes import in_gib

INDENT = 11
WHERE = {"here": "on this machine", "elsewhere": "where it runs already"}


def plan_lines(plan: DeployPlan, width: int) -> list[Text]:
    """The whole plan, one idea a line. What is to be copied stands on one line however long it is."""
    where = WHERE.get(plan.hardware) or (f"at {plan.hardware}" if plan.address else f"on {plan.hardware}")
    said, style = _verdict(plan)
    lines = [Text.assemble((said, style), f"  {plan.deployment} {where}")]
    for name, words in _rows(plan):
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
        None if plan.ready_s is None else f"ready within {_time(plan.ready_s)}",
        plan.address,
    ]
    return f"{plan.deployment}  {' · '.join(part for part in parts if part)}"


def _verdict(plan: DeployPlan) -> tuple[str, str]:
    if plan.ok:
        return "CAN RUN", "bold green"
    return ("NOT KNOWN", "bold yellow") if plan.undecided else ("CANNOT RUN YET", "bold red")


def _rows(plan: DeployPlan) -> Iterator[tuple[str, str]]:
    yield "engine", f"{plan.engine or 'none'}: {plan.why}"
    if plan.alternatives:
        yield "or", ", ".join(plan.alternatives)
    if plan.address is not None:
        key = f", with the key in `{plan.key_variable}`" if plan.key_variable else ""
        served = f" as `{plan.served_as}`" if plan.served_as else ""
        yield "address", f"{plan.address}{served}{key}"
    if plan.weights is not None:
        yield "weights", _weights(plan.weights, plan.quantisation)
    if plan.slots and plan.context_tokens:
        yield "room", f"{plan.slots} × {plan.context_tokens:,} tokens at once"
    if plan.threads is not None:
        yield "threads", plan.threads
    if plan.needs_bytes is not None:
        yield "memory", f"{in_gib(plan.needs_bytes)} of {in_gib(plan.has_bytes or 0)}"
    if plan.layout is not None:
        yield "layout", _layout(plan)
    if plan.ready_s is not None:
        yield "ready", f"within {_time(plan.ready_s)} once its weights are here"
    for number, note in enumerate(plan.notes):
        yield "" if number else "note", note


def _weights(weights: Weights, quantisation: str | None) -> str:
    size = "size not known" if weights.bytes is None else in_gib(weights.bytes)
    where = "here, verified" if weights.here else f"fetched from {weights.source}" if weights.source else "no source"
    made = None if weights.to_make is None else f"made into {weights.to_make}"
    said = (None if made else quantisation, weights.format, size, where, made)
    return " · ".join(part for part in said if part)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _layout(plan: DeployPlan) -> str:
    layout = plan.layout
    assert layout is not None
    said = [f"{layout.cards} card{'s' if layout.cards > 1 else ''}"]
    said += [f"{layout.nodes} nodes"] if layout.nodes > 1 else []
    return " · ".join([*said, *plan.flags])
