"""What is counted of finished requests, and how things stand: plain numbers, before anybody formats them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import add
from typing import Any

import msgspec

from changeover.tasks.exchanges import Exchange

OTHER = "other"

DURATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_TOKEN_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
RUN_S = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0)
PER_TOKEN_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)

OPERATIONS: Mapping[str, str] = {
    "chat": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "responses": "chat",
    "messages": "chat",
}
"""Endpoints by the conventions' `gen_ai.operation.name`."""


@dataclass(frozen=True, kw_only=True)
class Levels:
    """How things stand in one process at the moment."""

    in_flight: int = 0
    tools_in_flight: int = 0
    records_waiting: int = 0
    records_without_content: int = 0
    """Since the start: their content was left out under pressure."""
    records_lost: int = 0
    """Since the start."""
    spans_waiting: int = 0
    spans_lost: int = 0
    """Since the start: dropped under pressure, or refused by the collector."""
    store_stale: bool = False
    route_revision: int = 0
    breakers_open: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """By deployment."""
    ready: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """By deployment: its engine can answer."""


Cell = tuple[str, str, str, str, str, str, bool]
"""Task, deployment, side, outcome, operation, team, internal."""


class Tally(msgspec.Struct, array_like=True):
    """Totals of one combination of labels."""

    requests: int = 0
    streams: int = 0
    retries: int = 0
    estimated: int = 0
    gone_on: int = 0
    microusd: int = 0
    unpriced: int = 0
    seconds: float = 0.0
    first_seconds: float = 0.0
    per_token_seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    durations: list[int] = msgspec.field(default_factory=lambda: [0] * (len(DURATION_S) + 1))
    firsts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(FIRST_TOKEN_S) + 1))
    per_tokens: list[int] = msgspec.field(default_factory=lambda: [0] * (len(PER_TOKEN_S) + 1))
    inputs: list[int] = msgspec.field(default_factory=lambda: [0] * (len(TOKENS) + 1))
    outputs: list[int] = msgspec.field(default_factory=lambda: [0] * (len(TOKENS) + 1))

    def add(self, other: Tally) -> None:
        for name in self.__struct_fields__:
            mine: int | float | list[int] = getattr(self, name)
            more: Any = getattr(other, name)
            both = list(map(add, mine, more)) if isinstance(mine, list) else mine + more
            setattr(self, name, both)


class ToolTally(msgspec.Struct, array_like=True):
    """Runs of one tool with one outcome."""

    seconds: float = 0.0
    durations: list[int] = msgspec.field(default_factory=lambda: [0] * (len(RUN_S) + 1))

    def count(self, seconds: float) -> None:
        self.seconds += seconds
        self.durations[bisect_left(RUN_S, seconds)] += 1

    def add(self, other: ToolTally) -> None:
        self.seconds += other.seconds
        self.durations = list(map(add, self.durations, other.durations))


def outcome_of(exchange: Exchange) -> str:
    """How a request ended, in one word."""
    if exchange.abandoned:
        return "abandoned"
    if exchange.truncated:
        return "truncated"
    if exchange.status < 400:
        return "ok"
    if exchange.error_source == "model":
        return "model_error"
    return "request_error" if exchange.status < 500 else "gateway_error"


def cell_of(exchange: Exchange) -> Cell:
    """The labels that a finished request is counted under."""
    return (
        # A name that nobody declared is a caller's text, and no label.
        exchange.task if exchange.revision is not None or exchange.deployment is not None else OTHER,
        exchange.deployment or "",
        exchange.side or "",
        outcome_of(exchange),
        OPERATIONS[exchange.endpoint],
        exchange.team or "",
        exchange.internal,
    )


def count(tally: Tally, exchange: Exchange) -> None:
    """Add one finished request."""
    tally.requests += 1
    seconds = exchange.duration_ms / 1000
    tally.seconds += seconds
    tally.durations[bisect_left(DURATION_S, seconds)] += 1
    tally.retries += max(exchange.attempts - 1, 0)
    prompt, completion = exchange.prompt_tokens, exchange.completion_tokens
    if prompt is not None:
        tally.input_tokens += prompt
        tally.inputs[bisect_left(TOKENS, prompt)] += 1
    if completion is not None:
        tally.output_tokens += completion
        tally.outputs[bisect_left(TOKENS, completion)] += 1
    if exchange.usage_estimated:
        tally.estimated += 1
    if exchange.begun_by is not None:
        tally.gone_on += 1
    if exchange.cost_microusd is None:
        tally.unpriced += 1
    else:
        tally.microusd += exchange.cost_microusd
    if exchange.stream:
        tally.streams += 1
        first = exchange.first_chunk_ms
        if first is not None:
            first /= 1000
            tally.first_seconds += first
            tally.firsts[bisect_left(FIRST_TOKEN_S, first)] += 1
            if completion is not None and completion > 1 and not exchange.truncated:
                each = max(seconds - first, 0.0) / (completion - 1)
                tally.per_token_seconds += each
                tally.per_tokens[bisect_left(PER_TOKEN_S, each)] += 1
