"""What engines need of the machine's memory, and whether one more has room beside those that run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from changeover.core.errors import ArtifactError
from changeover.core.sizes import GIB, MIB, in_gib
from changeover.library.fit.context import context_bytes, shape_of
from changeover.library.fit.embedded import estimate
from changeover.library.gguf import GgufHeader, read_header
from changeover.serving.options import EchoOptions, LocalOptions
from changeover.serving.plan import EnginePlan

SHARE: Final = 0.8
"""Of the machine's memory, where nobody declared a budget: the rest is the system's, the gateway's and the store's."""


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
    """Memory that a deployment needs on this machine; 0 for one that runs elsewhere.

    Args:
        plan: Its plan; the weights may not be here yet, then only what was measured is known.
        measured: Resident memory of its process when it last could answer.
    """
    options = plan.parsed()
    if isinstance(options, EchoOptions):
        return round(options.memory_mib * MIB)
    if not isinstance(options, LocalOptions) or plan.artifact is None:
        return 0
    try:
        weights = plan.artifact.stat().st_size
        header = read_header(plan.artifact)
    except (OSError, ArtifactError):
        return measured or 0
    if measured is not None:
        # Weights are mapped: what nobody has asked for yet is not resident, and will be.
        return max(measured, weights)
    return estimate(weights, _context_bytes(header, options))


def _context_bytes(header: GgufHeader, options: LocalOptions) -> int:
    """Keys and values of every token of every slot; none where the header says no layers or no heads."""
    tokens = min(options.context_tokens, header.context_length or options.context_tokens)
    shape = shape_of(header)
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


def held_by(needs: Mapping[str, int]) -> list[Held]:
    """Needs by name, as `fits` takes them."""
    return [Held(name=name, bytes=count) for name, count in needs.items()]
