"""An answer as scorers see it: what a model said, and what it took to say it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """One call of a tool that a model asked for."""

    name: str
    arguments: str
    """JSON text, as the model wrote it; may be broken."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model answered to one sample."""

    text: str
    """Empty where it only called tools."""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    """As the API reports it; `length`: cut off by the limit of tokens."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    duration_ms: float | None = None
    """From the request to the last byte."""
    cost_usd: float | None = None
    """By the prices that the project declares; None where it declares none for this deployment."""

    @property
    def cut_off(self) -> bool:
        """Whether the limit of tokens ended it: an answer without its end."""
        return self.finish_reason == "length"
