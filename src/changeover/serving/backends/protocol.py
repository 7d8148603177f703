"""What each kind of engine has to say of itself: how it is described, launched, and what it can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

from changeover.serving.options import Json
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan


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
    usage: bool = False
    """Tokens are counted, at the end of a stream too where that is asked for."""
    reasoning: bool = False
    """Reasoning is taken out of the text of every family whose template is known."""
    tools: bool = False
    """Tool calls are taken out of the text."""
    tools_streamed: bool = False
    tools_parallel: bool = False
    tools_forced: bool = False
    """`tool_choice` is enforced where it is `required`, or names a tool."""
    json_schema: bool = False
    """Answers are held to a JSON Schema while they are made."""
    grammar: bool = False
    """Answers are held to a grammar."""
    logprobs: bool = False
    """Of what was generated."""
    prompt_logprobs: bool = False
    embeddings: bool = False
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

    def names(self) -> Sequence[str]:
        """Those that it has, in their order."""
        return [each.name for each in fields(self) if getattr(self, each.name)]


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Something without which an engine does not run here."""

    what: str
    """In words, such as `an NVIDIA GPU`."""
    remedy: str
    """What to do; a command where there is one."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to start an engine's process."""

    argv: tuple[str, ...]
    config: Mapping[str, Json]
    """Goes through the child's standard input. Holds no secret; the process adds its own."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """On top of what every child gets."""
    first_answer: bool = False
    """It is asked something, and has to answer, before it counts as ready for the first time."""
    probe_path: str = "/health"
    """Answers 200 to a GET while the engine is well."""
    prefix: str = ""
    """Of the paths of its API, before `/v1`."""
    model: str | None = None
    """What goes into the `model` field there; None: what the caller wrote, since the engine does not read it."""
    sockets: bool = False
    """It can listen on a Unix socket: where `socket` is in its configuration, there and on no port."""
    start_s: float = 0.0
    """What it may take before it reads weights, on top of what any engine may."""


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """An engine that already runs, and how it is reached."""

    base_url: str
    model: str
    api_key_env: str | None


class Backend(Protocol):
    """One kind of engine."""

    @property
    def capabilities(self) -> Capabilities:
        """What it does."""
        ...

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        """What it lacks on this machine, for a plan or for any; empty where it can start. Looks, and changes nothing."""
        ...

    def describe(self, plan: EnginePlan) -> EnginePart:
        """The engine's part of a bundle, without starting it. Reads files."""
        ...

    def launch(self, plan: EnginePlan) -> Launch | Elsewhere:
        """How it is started, or where it already runs. Reads files."""
        ...
