"""What a plan of a deployment says, in words: on a terminal and in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from changeover.app.planning.answer import DeployPlan, Weights
from changeover.core.sizes import in_gib

Verdict = Literal["can run", "not known", "cannot run yet"]


def verdict_of(plan: DeployPlan) -> Verdict:
    """Whether it can run as planned."""
    if plan.ok:
        return "can run"
    return "not known" if plan.undecided else "cannot run yet"


def rows_of(plan: DeployPlan) -> Iterator[tuple[str, str]]:
    """What a plan says, one idea a row: its name and its words. A name that is empty goes on with the one before."""
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
        yield "ready", f"within {time_in_words(plan.ready_s)} once its weights are here"
    for number, note in enumerate(plan.notes):
        yield "" if number else "note", note


def _weights(weights: Weights, quantisation: str | None) -> str:
    size = "size not known" if weights.bytes is None else in_gib(weights.bytes)
    where = "here, verified" if weights.here else f"fetched from {weights.source}" if weights.source else "no source"
    made = None if weights.to_make is None else f"made into {weights.to_make}"
    said = (None if made else quantisation, weights.format, size, where, made)
    return " · ".join(part for part in said if part)


def time_in_words(seconds: float) -> str:
    """A time that nobody needs to know to the second."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _layout(plan: DeployPlan) -> str:
    layout = plan.layout
    assert layout is not None
    said = [f"{layout.cards} card{'s' if layout.cards > 1 else ''}"]
    said += [f"{layout.nodes} nodes"] if layout.nodes > 1 else []
    return " · ".join([*said, *plan.flags])
