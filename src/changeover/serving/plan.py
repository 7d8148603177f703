"""What shall run: the plan of one deployment's engine, written by who deploys, read by backends and the supervisor."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from pydantic import Field

from changeover.core.errors import ConfigError, nearest
from changeover.core.toml import Declared, validate

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
BackendName = Literal["local", "echo", "openai"]
Fault = Literal[
    "none",
    "refuse",
    "hang",
    "error_500",
    "error_503",
    "error_429",
    "error_429_bare",
    "cut_before_first",
    "cut_after",
    "stall_after",
    "malformed_event",
    "wrong_json",
    "wrong_shape",
    "missing_usage",
    "leaked_reasoning",
    "huge_chunk",
    "trickle",
    "no_done",
    "empty_answer",
]
ReasoningFormat = Literal["none", "field", "think", "think_open", "harmony", "gemma4"]
ToolFormat = Literal["native", "hermes", "qwen_coder", "glm", "minimax", "kimi", "deepseek", "harmony", "gemma4"]
Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,118}")
"""A deployment's name is also a file name (its log), so nothing in it may lead elsewhere."""
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


class LocalOptions(Declared):
    """An embedded engine: llama.cpp on this machine."""

    context_tokens: int = Field(default=4096, ge=256, le=1 << 20)
    """For each slot; prompt and answer together. Never more than the model was trained on."""
    slots: int = Field(default=4, ge=1, le=64)
    """Requests answered at once; more than these wait inside the engine."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """None: the cores this process may use."""
    embeddings: bool = False
    """Serve embeddings too: for each text, the mean over its tokens unless the model says otherwise."""
    profile: dict[str, Any] = Field(default_factory=dict[str, Any], exclude=True)
    """How the model speaks, where it is not as its family does: fields of `serving.profiles.Profile`."""


class EchoOptions(Declared):
    """An engine without a model, for tests and demos. It can be told to speak as a family of models does, and to fail."""

    reply: str = "echo"
    """`echo` repeats the last user message; anything else is the answer itself."""
    delay_s: Seconds = 0.0
    """Before the first chunk, or before the whole answer if it is not streamed."""
    chunk_delay_s: Seconds = 0.0
    """Between chunks of a stream."""
    chunks: int = Field(default=8, ge=1, le=10_000)
    """Pieces that a streamed answer comes in; fewer when the answer has fewer words."""
    reasoning: str = ""
    """What it thinks before it answers, unless the request turns thinking off."""
    reasoning_format: ReasoningFormat = "none"
    """How the reasoning comes: not at all, in a field of its own, or inside the content with a family's marks
    (`think_open`: without the first one, which the template has written already)."""
    tool_format: ToolFormat = "native"
    """How a tool call comes: in a field of its own, or inside the content in a family's words."""
    structured: Literal["grammar", "ignored", "broken", "broken_once"] = "grammar"
    """What becomes of `response_format`: obeyed, not read, missed, or missed until it is shown what was wrong."""
    context_tokens: int | None = Field(default=None, ge=1, le=1 << 20)
    """A prompt of more words is refused; left out: of any length."""
    system_role: bool = True
    """False: a system message is refused."""
    unknown_fields: Literal["ignore", "refuse"] = "ignore"
    """What becomes of fields of a request that OpenAI does not have."""
    fault: Fault = "none"
    """How it fails: docs, concepts, faults."""
    fault_after: int = Field(default=1, ge=0)
    """Chunks that still go out before `cut_after`, `stall_after` or `malformed_event`."""
    fault_rate: float = Field(default=1.0, ge=0, le=1)
    """Share of requests with the fault, spread evenly: 0.25 is every fourth request."""
    ready_delay_s: Seconds = 0.0
    """Before the engine reports that it is ready."""
    memory_mib: float = Field(default=0.0, ge=0, le=1 << 20, allow_inf_nan=False, exclude=True)
    """Memory it is said to need, as a model would: for trying what happens where that is scarce. Then its first answer is
    checked as a model's is."""
    profile: dict[str, Any] = Field(default_factory=dict[str, Any], exclude=True)
    """How the model speaks, where it is not as its family does: fields of `serving.profiles.Profile`."""


class OpenAIOptions(Declared):
    """Any server that speaks OpenAI's chat completions; it runs elsewhere."""

    base_url: str
    """As OpenAI's own clients take it: `http://vllm.intern:8000/v1`."""
    model: str | None = Field(default=None, min_length=1)
    """What goes into the `model` field; None: the plan's model."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; None: no key is sent."""
    profile: dict[str, Any] = Field(default_factory=dict[str, Any], exclude=True)
    """How the model speaks, where it is not as its family does: fields of `serving.profiles.Profile`."""


Options = LocalOptions | EchoOptions | OpenAIOptions
OPTIONS: Mapping[BackendName, type[LocalOptions] | type[EchoOptions] | type[OpenAIOptions]] = {
    "local": LocalOptions,
    "echo": EchoOptions,
    "openai": OpenAIOptions,
}
Chosen = TypeVar("Chosen", LocalOptions, EchoOptions, OpenAIOptions)


@dataclass(frozen=True, kw_only=True)
class EnginePlan:
    """One deployment's engine, before it runs. Checked when it is made.

    Raises:
        ConfigError: The name, the backend, an option or the artifact cannot be used.
    """

    deployment: str
    backend: BackendName
    model: str
    """Card id, or the upstream's own name of the model."""
    artifact: Path | None = None
    weights_digest: str | None = None
    """SHA-256 of the artifact, hex."""
    quantisation: str | None = None
    options: Mapping[str, Json] = field(default_factory=dict[str, Json])

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.deployment):
            raise ConfigError(
                f"`{self.deployment}` cannot name a deployment. Use letters, digits, `.`, `_` and `-`, at most 119."
            )
        if self.backend not in OPTIONS:
            raise ConfigError(f"No backend named `{self.backend}`. {nearest(self.backend, OPTIONS)}")
        if self.backend == "local" and self.artifact is None:
            raise ConfigError(f"deployment `{self.deployment}`: a local engine needs a file of weights.")
        self.parsed()

    def parsed(self) -> Options:
        """The options with their defaults filled in."""
        where = f"deployment `{self.deployment}`"
        options = validate(OPTIONS[self.backend], self.options, where=where)
        if isinstance(options, OpenAIOptions):
            _check_address(options, where)
        return options

    def options_as(self, model: type[Chosen]) -> Chosen:
        """The options, as those of one backend."""
        options = self.parsed()
        if not isinstance(options, model):
            raise ConfigError(f"deployment `{self.deployment}`: its backend is `{self.backend}`, not that of {model}.")
        return options

    def same_as(self, other: EnginePlan) -> bool:
        """Whether both plans run the same engine, whichever defaults were spelt out."""
        return _identity(self) == _identity(other)


def _identity(plan: EnginePlan) -> tuple[object, ...]:
    return (
        plan.deployment,
        plan.backend,
        plan.model,
        plan.artifact,
        plan.weights_digest,
        plan.quantisation,
        plan.parsed(),
    )


def _check_address(options: OpenAIOptions, where: str) -> None:
    """Refuse what would leak or mislead. Values are not repeated: they may hold a secret by mistake."""
    if options.api_key_env is not None and not _VARIABLE.fullmatch(options.api_key_env):
        raise ConfigError(
            f"{where}: `api_key_env` must be the name of an environment variable in capitals, such as "
            "`OPENAI_API_KEY`; what stands there is not shown, since it may be the key itself."
        )
    try:
        parts = urlsplit(options.base_url)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, well_formed = None, False
    if parts is None or not well_formed:
        raise ConfigError(f"{where}: `base_url` must look like `https://host/v1`.")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{where}: `base_url` must not hold a user or password. Name a variable in `api_key_env`.")
    if parts.query or parts.fragment:
        raise ConfigError(f"{where}: `base_url` must end with its path: no `?` and no `#`.")
