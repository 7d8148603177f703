"""Stage 4: who answers. Pure and sticky: the same caller lands on the same side until the route says otherwise."""

from __future__ import annotations

import hashlib

from changeover.tasks.routes import Route, Side


def choose(route: Route, sticky: str) -> Side:
    """Pick the side for a caller.

    The caller's place in [0, 1) depends on the task, the rollout's salt and `sticky` only, so raising
    `candidate_weight` moves callers towards the candidate and never back.
    """
    if route.candidate is None or route.candidate_weight <= 0:
        return "incumbent"
    return "candidate" if position(route.task, route.salt, sticky) < route.candidate_weight else "incumbent"


def position(task: str, salt: str, sticky: str) -> float:
    """Place of a caller in [0, 1), evenly spread and the same in every process."""
    digest = hashlib.blake2b(f"{task}\n{salt}\n{sticky}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def order(route: Route, chosen: Side) -> tuple[tuple[Side, str], ...]:
    """Whom to ask, in turn: the chosen side, the other one, then the former incumbent. Each variant once."""
    if route.candidate is None and route.former is None:
        return (("incumbent", route.incumbent),)
    # Before its canary a candidate answers nobody, whoever else fails.
    named: dict[Side, str | None] = {
        "incumbent": route.incumbent,
        "candidate": route.candidate if route.candidate_weight > 0 else None,
        "former": route.former,
    }
    sides: tuple[Side, ...] = (chosen, *(side for side in named if side != chosen))
    turns: list[tuple[Side, str]] = []
    for side in sides:
        variant = named[side]
        if variant is not None and variant not in [known for _, known in turns]:
            turns.append((side, variant))
    return tuple(turns)
