"""What engines can do: declared by each kind, narrowed or widened by a deployment's profile, never taken for granted.

The gateway asks nobody for what is surely missing; the conformance suite checks that what is declared is true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What an engine does, whatever model it serves. Nothing is taken for granted: each is no until it is declared.

    What a family of models can do besides stands in its profile; a capability is there where both have it.
    """

    chat: bool = False
    """`/v1/chat/completions`, whole and streamed."""
    completions: bool = False
    """`/v1/completions`: text goes on, without a chat template."""
    stop_reasons: bool = False
    """`finish_reason` tells an end from a limit, and from a tool call."""
    stop_sequences: bool = False
    """Generation ends at a text that the caller names."""
    choices: bool = False
    """Several answers to one request: `n`."""
    usage: bool = False
    """Tokens are counted, at the end of a stream too where that is asked for."""
    reasoning: bool = False
    """Reasoning is taken out of the text of every family whose template is known."""
    tools: bool = False
    """Tool calls are taken out of the text."""
    tools_streamed: bool = False
    """Tool calls come piece by piece in a stream."""
    tools_parallel: bool = False
    """Several tool calls in one answer."""
    tools_forced: bool = False
    """`tool_choice` is enforced where it is `required`, or names a tool."""
    json_schema: bool = False
    """Answers are held to a JSON Schema while they are made."""
    grammar: bool = False
    """Answers are held to a grammar."""
    logprobs: bool = False
    """Log-probabilities of what was generated."""
    top_logprobs: bool = False
    """And of what might have stood in its place."""
    prompt_logprobs: bool = False
    """Log-probabilities of the prompt."""
    embeddings: bool = False
    """`/v1/embeddings`, of a deployment that was started for it."""
    vision: bool = False
    """Images beside text, for models that have eyes."""
    context_refused: bool = False
    """A prompt that is too long is refused, as OpenAI does, and never cut short without a word."""
    cancels: bool = False
    """A caller who leaves frees the place in the engine."""
    batches: bool = False
    """Requests are answered side by side."""
    seeds: bool = False
    """The same seed gives the same answer, where nothing else runs."""
    adapters: bool = False
    """LoRA adapters, chosen with each request, beside one copy of the weights."""
    adapters_at_run_time: bool = False
    """Adapters can be added while it runs."""
    key: bool = False
    """It refuses who does not know the deployment's secret."""
    beyond: Literal["no", "unknown"] = "no"
    """What anything is that is not declared: not there, or not known, since anybody's software may answer."""

    def names(self) -> Sequence[str]:
        """Those that it has, in their order."""
        return [name for name in CAPABILITIES if getattr(self, name)]

    def standing(self, name: str) -> bool | None:
        """Whether it has one; None: nobody knows."""
        return True if getattr(self, name) else None if self.beyond == "unknown" else False


CAPABILITIES: Sequence[str] = tuple(each.name for each in fields(Capabilities) if each.name != "beyond")
"""The names of all, in their order."""


def standing(
    declared: Capabilities, *, has: Sequence[str] = (), lacks: Sequence[str] = ()
) -> Mapping[str, bool | None]:
    """Every capability of one deployment: there, not there, or None where nobody knows.

    Args:
        declared: By its kind of engine.
        has: What its profile says besides.
        lacks: What its profile takes away. It counts more.
    """
    return {name: False if name in lacks else True if name in has else declared.standing(name) for name in CAPABILITIES}
