"""What engines need of the machine's memory, and whether one more has room beside those that run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import psutil

from changeover.core.errors import ArtifactError
from changeover.core.sizes import GIB, MIB, in_gib
from changeover.library.fit.context import context_bytes, shape_of
from changeover.library.fit.embedded import estimate
from changeover.library.gguf import read_header
from changeover.library.running import Shape
from changeover.serving.options import (
    AdapterOptions,
    BackendName,
    EchoOptions,
    LocalOptions,
    OpenAIOptions,
    OpenVINOOptions,
    Options,
    RayOptions,
    VllmOptions,
)
from changeover.serving.plan import EnginePlan
from changeover.serving.weights import size_of

SHARE: Final = 0.8
"""Of the machine's memory, where nobody declared a budget: the rest is the system's, the gateway's and the store's."""

PROCESS_BYTES: Final[Mapping[BackendName, int]] = {
    "openvino": 256 * MIB,
    "vllm": 3 * GIB,
    "sglang": 3 * GIB,
    "kunlun": 3 * GIB,
    "transformers": 768 * MIB,
    "llama-server": 448 * MIB,
    "ollama": 512 * MIB,
    "ray": 1433 * MIB,
}
"""What an engine takes beside weights, keys and values, all of its processes together. vLLM's three took 3.6 GB with a model
of 0.27 GB, Ray's own 1.3 GB; the others are estimates."""
SPARE_BYTES: Final = 256 * MIB
"""What an engine may take beyond its need before a factor counts: a small one's own code is more than its need."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """A deployment that runs, or shall, and what it needs."""

    name: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Whether an engine has room, and from which figures that follows."""

    ok: bool
    name: str
    needs: int
    beside: int
    """What all others need."""
    budget: int

    def __str__(self) -> str:
        """The figures in words, to follow the deployment's name."""
        return (
            f"needs {in_gib(self.needs)} beside {in_gib(self.beside)} running; the budget is {in_gib(self.budget)}"
            if self.beside
            else f"needs {in_gib(self.needs)}; the budget is {in_gib(self.budget)}"
        )


def fits(budget: int, running: Sequence[Held], candidate: Held) -> Fit:
    """Whether a candidate has room beside what runs. One that needs nothing here always has.

    Args:
        budget: Bytes for all engines together.
        running: What runs; the candidate's own name is left out.
        candidate: What shall run too.
    """
    beside = sum(each.bytes for each in running if each.name != candidate.name)
    ok = not candidate.bytes or beside + candidate.bytes <= budget
    return Fit(ok=ok, name=candidate.name, needs=candidate.bytes, beside=beside, budget=budget)


def needed_bytes(plan: EnginePlan, measured: int | None = None) -> int:
    """Memory that a deployment needs on this machine; 0 for one that runs elsewhere or in another's engine.

    Args:
        plan: Its plan; the weights may not be here yet, then only what was measured is known.
        measured: Resident memory of its processes when it last could answer.
    """
    options = plan.parsed()
    if isinstance(options, EchoOptions):
        return round(options.memory_mib * MIB)
    if isinstance(options, OpenAIOptions | AdapterOptions):
        return 0
    if isinstance(options, RayOptions):
        return measured or _ray_bytes(plan, options)
    if plan.artifact is None:
        return measured or 0
    try:
        weights = size_of(plan.artifact)
        estimated = _estimated(plan, options, weights)
    except (OSError, ArtifactError):
        return measured or 0
    # Weights are mapped: what nobody has asked for yet is not resident, and will be.
    return estimated if measured is None else max(measured, weights)


def limit_bytes(plan: EnginePlan, factor: float, budget: int) -> int:
    """Memory above which a deployment counts as one that leaks: a multiple of its need, and never more than the budget.

    What it took earlier does not count here: one that leaks would be allowed more each time.
    """
    need = needed_bytes(plan)
    return min(round(factor * need) + SPARE_BYTES, budget) if need else budget


def _estimated(plan: EnginePlan, options: Options, weights: int) -> int:
    if isinstance(options, LocalOptions):
        assert plan.artifact is not None, "asked for before"
        file = plan.artifact.stat()
        most_tokens, shape = _header_of(plan.artifact, file.st_mtime_ns, file.st_size)
        return estimate(weights, _context_bytes(most_tokens, shape, options))
    cache = round(options.cache_gib * GIB) if isinstance(options, OpenVINOOptions | VllmOptions) else 0
    return weights + cache + PROCESS_BYTES.get(plan.backend, 0)


def _ray_bytes(plan: EnginePlan, options: RayOptions) -> int:
    """Its own processes, and each replica's engine. Nothing where a cluster runs already: it may be anywhere."""
    if options.address is not None:
        return 0
    inner = EnginePlan(
        deployment=plan.deployment,
        backend=options.engine,
        model=plan.model,
        artifact=plan.artifact,
        options=options.options,
    )
    return PROCESS_BYTES["ray"] + options.replicas * needed_bytes(inner)


@lru_cache(maxsize=256)
def _header_of(artifact: Path, _mtime_ns: int, _size: int) -> tuple[int | None, Shape | None]:
    """How long a request a file of weights takes, and its shape. Reading the header takes a tenth of a second."""
    header = read_header(artifact)
    return header.context_length, shape_of(header)


def _context_bytes(most_tokens: int | None, shape: Shape | None, options: LocalOptions) -> int:
    """Keys and values of every token of every slot; none where the header says no layers or no heads."""
    tokens = min(options.context_tokens, most_tokens or options.context_tokens)
    return (context_bytes(shape, tokens, options.slots) or 0) if shape is not None else 0


def budget_bytes(
    declared_gib: float | None,
    *,
    cgroups: Path = Path("/sys/fs/cgroup"),
    membership: Path = Path("/proc/self/cgroup"),
) -> int:
    """Memory for all engines together: what was declared, else a share of what this process may use.

    Args:
        declared_gib: The operator's word; None: there is none.
        cgroups: Where the limits of control groups are.
        membership: Says in which of them this process is.
    """
    if declared_gib is not None:
        return round(declared_gib * GIB)
    return round(SHARE * min([psutil.virtual_memory().total, *_limits(cgroups, membership)]))


def _limits(cgroups: Path, membership: Path) -> list[int]:
    """The limits of a process's control groups and of those above them, of either version; none where there are none."""
    found: list[int] = []
    for line in ["0::/", "0:memory:/", *_read(membership).splitlines()]:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        base, name = (cgroups / "memory", "memory.limit_in_bytes") if controllers else (cgroups, "memory.max")
        inside = Path(path.lstrip("/"))
        texts = [_read(base / group / name) for group in (inside, *inside.parents)]
        found += [int(text) for text in texts if text.isdigit()]  # `max` is none
    return found


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
