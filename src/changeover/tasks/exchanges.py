"""Exchanges: one recorded request and its answer. The gateway writes them; evals and rollouts read them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from changeover.tasks.routes import Side

Endpoint = Literal["chat", "completions", "embeddings", "responses", "messages"]
Content = Literal["full", "redacted", "none", "dropped"]


class Exchange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is kept of one request. Never holds a key, a header or an engine's secret."""

    id: str
    task: str
    revision: int | None
    variant: str | None
    """Who answered; None if nobody did."""
    deployment: str | None
    side: Side | None
    key: str | None
    """Id of the caller's key, not the key."""
    internal: bool
    """Shadow, judge and evaluation traffic: charged to nobody."""
    stream: bool
    status: int
    error: str | None
    error_source: str | None
    truncated: bool
    """The answer broke off after its first byte."""
    abandoned: bool
    """The caller went away before the end."""
    attempts: int
    failed_variants: tuple[str, ...]
    """Variants that were asked first and failed; the caller did not notice."""
    started_at: datetime
    duration_ms: float
    first_chunk_ms: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    request: str | None = None
    response: str | None = None
    """The assistant's message as JSON text."""
    endpoint: Endpoint = "chat"
    team: str | None = None
    usage_estimated: bool = False
    """The engine gave no token counts; these are ours."""
    cost_microusd: int | None = None
    """Millionths of a US dollar, by the prices in changeover.toml; None without a price."""
    content: Content = "none"
    """What is kept of the content: all, masked, nothing as declared, or nothing because there was too much at once."""
    trace: str | None = None
    """W3C trace id, 32 hex digits."""
    violation: str | None = None
    """What was wrong with the answer by the task's contract checks, such as `empty` or `language`; None: nothing, or
    nothing was checked."""
    begun_by: str | None = None
    """Variants that began the stream and broke off, in order and between spaces, before `variant` went on with it; None:
    `variant` wrote all of it."""
    shadow_of: str | None = None
    """Id of the exchange whose request this copies: nobody got this answer."""


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """How the requests that a variant was asked ended."""

    asked: int
    failed: int
    """Of `asked`: an error, a broken stream, or an answer that somebody else had to give."""


@dataclass(frozen=True, kw_only=True)
class Copies:
    """What copied requests took of a candidate's engine."""

    requests: int
    tokens: int
    """Of prompts and answers."""
    seconds: float
    """Of all answers, one after the other."""
    cost_usd: float | None
    """By the prices in changeover.toml; None without a price."""
