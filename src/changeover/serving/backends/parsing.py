"""Who takes reasoning and tool calls out of an answer's text: an engine's own parsers, chosen here, or the gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from changeover.serving.backends.checkpoint import Checkpoint
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan
from changeover.serving.profiles import family_parsers, family_profile

NO_PARSER: Final = "none"
"""What an operator writes who wants none."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The parsers of one deployment, by the engine's own names."""

    tools: str | None
    reasoning: str | None
    flags: tuple[str, ...]
    """What the family needs besides."""
    profile: Mapping[str, Json]
    """What follows for how it speaks."""


def choose(
    plan: EnginePlan,
    engine: str,
    checkpoint: Checkpoint,
    *,
    tools: str | None,
    reasoning: str | None,
    flags: Sequence[str],
) -> Chosen:
    """Choose parsers: the operator's, else the family's.

    Where the engine parses, the gateway still reads the family's words in the text: a small model writes calls that the
    engine's parser does not take for any.

    Args:
        plan: Whose model it is.
        engine: As the table of families calls it.
        checkpoint: Whose network tells the family where the model's name does not.
        tools: What an operator wrote for tool calls; None: nothing.
        reasoning: And for reasoning.
        flags: The operator's own, which may bring a chat template.
    """
    known = family_parsers(engine, plan.model, checkpoint.model_type)
    family = family_profile(plan.model, checkpoint.model_type) or {}
    templated = not known.template or any(each.split("=")[0] == "--chat-template" for each in flags)
    calls = _named(tools, known.tools if templated else None)
    thoughts = _named(reasoning, known.reasoning)
    written: str = family.get("tool_calls", "native")
    profile: dict[str, Json] = {}
    if calls is not None:
        profile["tool_calls"] = "native" if written == "none" else written
    elif engine == "vllm" or written == "native" or known.template:
        profile["tool_calls"] = "none"
    if thoughts is not None:
        profile["reasoning"] = "field"
    return Chosen(tools=calls, reasoning=thoughts, flags=known.flags, profile=profile)


def _named(asked: str | None, known: str | None) -> str | None:
    return None if asked == NO_PARSER else asked or known
