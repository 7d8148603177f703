"""What the engines that run here hold of memory and for whom, as decisions on it need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from changeover.serving.eviction import RESTS_S, Need, NoRoom, Tenant, Unload, make_room
from changeover.serving.memory import Held, fits, limit_bytes, needed_bytes
from changeover.serving.plan import EnginePlan
from changeover.serving.supervisor import Supervisor


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Of all engines together, and of those that say nothing of their own."""

    memory_bytes: int | None = None
    """For all engines together; None: as much as they like."""
    idle_s: float | None = None
    """An engine that was not asked for so long is unloaded; None or 0: never."""
    rests_s: float = RESTS_S
    """Seconds since the last request after which nobody is waited for at an engine that is to make room."""
    factor: float = 2.0
    """Times its need, above which an engine leaks."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How one deployment may stay. Made from its plan; reads files."""

    needs: int
    limit: int | None
    """None: there is none."""
    idle_s: float | None
    """None: it is not unloaded for being idle."""
    pinned: bool

    @classmethod
    def of(cls, plan: EnginePlan, measured: int | None, bounds: Bounds) -> Terms:
        """What holds for a deployment.

        Args:
            plan: Its plan.
            measured: Resident memory of its processes when it last could answer.
            bounds: What holds where it says nothing.
        """
        own: float | None = getattr(plan.parsed(), "idle_unload_s", None)
        budget, alone = bounds.memory_bytes, plan.backend != "adapter"  # which goes with its base, and not by itself
        return cls(
            needs=needed_bytes(plan, measured),
            limit=None if budget is None else limit_bytes(plan, bounds.factor, budget),
            idle_s=((bounds.idle_s if own is None else own) or None) if alone else None,
            pinned=own == 0,
        )


class Occupancy:
    """The deployments that run or shall, as tenants of the machine's memory."""

    def __init__(self, supervisor: Supervisor, bounds: Bounds) -> None:
        self._supervisor = supervisor
        self.bounds = bounds
        self._terms: dict[str, Terms] = {}
        self.needed_as: Mapping[str, Need] = {}
        """What for routes and rollouts name deployments."""

    def know(self, name: str, terms: Terms) -> None:
        """Take note of a deployment that shall run."""
        self._terms[name] = terms

    def room_for(self, name: str, beside: Iterable[str]) -> Unload | NoRoom:
        """Who has to be unloaded so that a deployment can start beside others.

        Args:
            name: It is known.
            beside: Deployments that run or are about to, and those that are being stopped.
        """
        budget = self.bounds.memory_bytes
        if budget is None:
            return Unload()
        tenants = [self._tenant(each) for each in sorted(beside) if each in self._terms]
        return make_room(budget, tenants, Held(name=name, bytes=self._terms[name].needs))

    def idle(self, names: Iterable[str]) -> dict[str, float]:
        """Those that can answer and were not asked for longer than they may stay: with that time, in seconds."""
        found: dict[str, float] = {}
        for name in names:
            allowed = self._terms[name].idle_s if name in self._terms else None
            if allowed is None or self._supervisor.upstream(name) is None:
                continue
            if self._supervisor.unused_s(name) >= allowed:
                found[name] = allowed
        return found

    def leaking(self, names: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Those that hold more than they may: with what they hold, and with their limit."""
        holds = {status.name: status.memory_bytes for status in self._supervisor.statuses() if status.state == "ready"}
        found: dict[str, tuple[int, int]] = {}
        for name in names:
            held, limit = holds.get(name), self._terms[name].limit if name in self._terms else None
            if held is not None and limit is not None and held > limit:
                found[name] = held, limit
        return found

    def has_room_twice(self, name: str, held: int, beside: Iterable[str]) -> bool:
        """Whether a fresh process of a deployment has room beside its present one, and all others."""
        budget = self.bounds.memory_bytes
        if budget is None:
            return True
        others: list[Held] = [self._tenant(each) for each in beside if each in self._terms and each != name]
        present = Held(name=f"{name}, its present process", bytes=held)
        return fits(budget, [*others, present], Held(name=name, bytes=self._terms[name].needs)).ok

    def _tenant(self, name: str) -> Tenant:
        terms, supervisor = self._terms[name], self._supervisor
        unused_s = supervisor.unused_s(name) if supervisor.loaded(name) else 0.0
        return Tenant(
            name=name,
            bytes=terms.needs,
            need=self.needed_as.get(name, "none"),
            in_flight=supervisor.in_flight(name),
            unused_s=unused_s,
            idle=terms.idle_s is not None and unused_s >= terms.idle_s,
            pinned=terms.pinned,
            rests_s=self.bounds.rests_s,
        )
