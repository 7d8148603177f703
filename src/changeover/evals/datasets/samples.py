"""What a dataset is made of: messages and samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from typing import Any, Literal

from changeover.core.digest import sha256_value

Role = Literal["system", "user", "assistant"]
Target = str | Mapping[str, Any]

UNLABELLED = "unlabelled"
"""Tag of a sample that nobody has given an ideal answer: its target only holds what was answered once."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of what a model is asked."""

    role: Role
    content: str | None
    """None, in an assistant's message: the model answers here, and its answer is part of what follows."""
    target: Target | None = None
    """The ideal answer at this turn, where the model answers here; None: this turn is not scored."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One case: what is asked, and what a good answer is."""

    id: str
    input: tuple[Message, ...]
    target: Target
    """The ideal answer, in the shape that the task's scorer reads."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """Tools that the model may call, as the OpenAI API describes them."""
    tags: tuple[str, ...] = ()
    """Slices it belongs to."""
    cluster: str | None = None
    """Samples of one conversation or document share it: a comparison counts their mean as one observation."""
    source: str | None = None
    """Where the sample comes from, for people."""
    variables: Mapping[str, Any] | None = field(default=None, compare=False)
    """What the task's input template made `input` of, as it stands in the file. No part of the identity: the text that
    a model reads is."""

    @cached_property
    def document(self) -> dict[str, Any]:
        """Everything that is its identity, as JSON."""
        return {
            "id": self.id,
            "input": [
                {"role": message.role, "content": message.content, "target": message.target} for message in self.input
            ],
            "target": self.target,
            "tools": list(self.tools),
            "tags": list(self.tags),
            "cluster": self.cluster,
            "source": self.source,
        }

    @cached_property
    def digest(self) -> str:
        """Identity of everything in the sample."""
        return sha256_value(self.document)

    @cached_property
    def asked(self) -> str:
        """Identity of what it asks first, without its target."""
        return asked_digest(until_model(self.input), self.tools)

    @property
    def text(self) -> str:
        """All that the model is told, one message after the other."""
        return "\n".join(message.content for message in self.input if message.content is not None)

    @cached_property
    def turns(self) -> int:
        """How many answers it asks for: one, and one more for each place where the model answers before."""
        return 1 + sum(message.content is None for message in self.input)


def asked_digest(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
    """What is asked, without its target: an answer stays good when only the target is corrected."""
    said = [[message.role, message.content] for message in messages]
    return sha256_value([said, list(tools)] if tools else said)


def until_model(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Messages up to the place where the model answers."""
    return tuple(takewhile(lambda message: message.content is not None, messages))
