"""Every probe, once: what it is called, which capability it looks at, and what it proves."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from changeover.serving.conformance import calls, manners, shapes, words
from changeover.serving.conformance.talk import Talk

Look = Callable[[Talk], Awaitable[str]]
"""Gives what was seen; raises `Wrong`, `Absent` or `Beside`, or what the engine's client does."""


@dataclass(frozen=True)
class Probe:
    """One thing to look at."""

    name: str
    """The capability's, or a finer one below it: `usage.streamed`."""
    look: Look

    @property
    def capability(self) -> str:
        return self.name.partition(".")[0]

    @property
    def proves(self) -> str:
        """One sentence."""
        return " ".join((inspect.getdoc(self.look) or "").split())


PROBES: Sequence[Probe] = (
    Probe("chat", words.chat),
    Probe("chat.streamed", words.stream),
    Probe("chat.system_role", words.system_role),
    Probe("chat.multi_turn", words.multi_turn),
    Probe("chat.unicode", words.unicode),
    Probe("completions", words.completions),
    Probe("stop_reasons.length", words.ends_at_a_limit),
    Probe("stop_reasons.stop", words.ends_by_itself),
    Probe("stop_reasons.tool_calls", calls.reason),
    Probe("stop_sequences", words.stop_sequences),
    Probe("choices", words.choices),
    Probe("usage", words.usage),
    Probe("usage.streamed", words.usage_streamed),
    Probe("reasoning", words.reasoning),
    Probe("tools", calls.one),
    Probe("tools.results", calls.results),
    Probe("tools_streamed", calls.streamed),
    Probe("tools_parallel", calls.parallel),
    Probe("tools_forced", calls.forced),
    Probe("tools_forced.named", calls.named),
    Probe("json_schema", shapes.json_schema),
    Probe("json_schema.streamed", shapes.json_schema_streamed),
    Probe("grammar", shapes.grammar),
    Probe("logprobs", shapes.logprobs),
    Probe("top_logprobs", shapes.top_logprobs),
    Probe("prompt_logprobs", shapes.prompt_logprobs),
    Probe("embeddings", shapes.embeddings),
    Probe("vision", shapes.vision),
    Probe("context_refused", manners.context_refused),
    Probe("cancels", manners.cancels),
    Probe("batches", manners.not_mixed),
    Probe("batches.side_by_side", manners.side_by_side),
    Probe("seeds", words.seeds),
    Probe("adapters", manners.adapters),
    Probe("key", manners.key),
)
