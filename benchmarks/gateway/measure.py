"""Every gateway in turn, several times, alone on its core: rounds are interleaved, so that a busy minute hits all alike."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.gateway.gateways import Gateway, Place, Running
from benchmarks.gateway.load import Demand, Loader, LoadError, Target, failures
from benchmarks.gateway.ours import Ours, kept
from benchmarks.gateway.process import NotStartedError, Tree

DIRECT = "direct"
SETTLE_S = 0.2
"""After a load, before processor time is read: records are written behind the answers."""
STEADY_RATE = 100
SLOW_RATE = 40
"""Requests a second at which LiteLLM still keeps up."""
SLOW = frozenset({"litellm", "litellm_granian"})
PACED_STREAMS = 200
SATURATING_STREAMS = 32
Figures = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured. Times in ms."""

    rounds: int
    run: int
    """Of the load on one connection."""
    batch: int
    """Of the loads on 64 and 256 connections."""
    saturated: int
    """Of streams without a delay."""
    steady: int
    """Of the load at a fixed rate."""
    paced: int
    """How long paced streams are begun; each takes some 1,300."""
    drain: int
    """Longest wait for what is under way at the end of a load."""

    @property
    def warm(self) -> int:
        return self.run // 5

    def patient(self) -> Plan:
        """For who answers a hundred requests a second: time for whole batches of them."""
        return replace(self, batch=max(self.batch, 1_500), drain=max(self.drain, 2_500))


FULL = Plan(rounds=3, run=3_000, batch=4_000, saturated=4_000, steady=8_000, paced=5_000, drain=30_000)
QUICK = Plan(rounds=1, run=450, batch=500, saturated=500, steady=700, paced=200, drain=1_800)


@dataclass
class Measured:
    """What was measured of one gateway, and what went wrong."""

    title: str
    rounds: dict[int, Figures] = field(default_factory=dict[int, Figures])
    """By the round's number; one that failed is not there."""
    notes: list[str] = field(default_factory=list[str])

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


class _Direct:
    """The upstream itself: what there is to add to."""

    name = DIRECT
    title = "direct"

    def install(self, *, now: bool) -> None:
        pass

    @contextmanager
    def running(self, place: Place) -> Generator[Running]:
        yield Running(target=Target(port=place.upstream))


def measure(
    gateways: Sequence[Gateway], plan: Plan, place: Callable[[Path], Place], loader: Loader, directory: Path
) -> dict[str, Measured]:
    """Measure gateways that are installed, and without any, by name. One that fails goes on to be tried."""
    results = {gateway.name: Measured(gateway.title) for gateway in (_Direct(), *gateways)}
    rates = (STEADY_RATE, SLOW_RATE) if SLOW & results.keys() else (STEADY_RATE,)
    for number in range(1, plan.rounds + 1):
        for gateway in (_Direct(), *gateways):
            print(f"  round {number} of {plan.rounds}: {gateway.title}", file=sys.stderr, flush=True)
            home = directory / f"{number}-{gateway.name}"
            home.mkdir()
            measured = results[gateway.name]
            amount = plan.patient() if gateway.name in SLOW else plan
            mine = rates if gateway.name == DIRECT else (SLOW_RATE if gateway.name in SLOW else STEADY_RATE,)
            try:
                with gateway.running(place(home)) as running:
                    figures = _Round(loader, amount, running.target, measured).all(mine)
                figures |= {} if running.start_s is None else {"start_s": running.start_s}
                if isinstance(gateway, Ours):
                    figures |= _records(home / "project", figures["requests"])
                measured.rounds[number] = figures
            except (LoadError, NotStartedError, OSError) as exc:
                measured.note(f"failed: {exc}")
            shutil.rmtree(home, ignore_errors=True)  # a gigabyte of records in a full round
    return results


@dataclass
class _Round:
    """One gateway once, through every load."""

    loader: Loader
    plan: Plan
    target: Target
    measured: Measured
    requests: float = 0
    """Asked so far."""
    failed: float = 0

    def all(self, rates: Sequence[int]) -> Figures:
        tree, plan = self.target.tree(), self.plan
        figures: Figures = {} if tree is None else {"idle_mb": tree.memory_mb()}
        alone = self._closed(1, plan.run)
        figures |= {
            "rps_1": alone["requests_per_s"],
            "p50_1_ms": _of(alone, "latency_ms", "p50"),
            "p99_1_ms": _of(alone, "latency_ms", "p99"),
        }
        for rate in rates:
            said = self._run(
                Demand(mode="open", connections=64, warm=plan.warm, run=plan.steady, drain=plan.drain, rate=rate)
            )
            figures |= {
                f"p50_at_{rate}_ms": _of(said, "latency_ms", "p50"),
                f"p99_at_{rate}_ms": _of(said, "latency_ms", "p99"),
            }
        with _processor(tree) as used:
            busy = self._closed(64, plan.batch)
        figures |= {"rps_64": busy["requests_per_s"], "p99_64_ms": _of(busy, "latency_ms", "p99")}
        if used:
            figures["cpu_ms_per_request"] = _each(1000 * used[0], busy["total"])
        figures["rps_256"] = self._closed(256, plan.batch)["requests_per_s"]
        figures |= self._saturated(tree) | self._paced(tree)
        figures |= {"requests": self.requests, "failed": self.failed}
        return figures if tree is None else {**figures, "after_mb": tree.memory_mb()}

    def _saturated(self, tree: Tree | None) -> Figures:
        plan = self.plan
        with _processor(tree) as used:
            said = self._run(
                Demand(
                    mode="streams",
                    kind="stream",
                    connections=SATURATING_STREAMS,
                    warm=plan.warm,
                    run=plan.saturated,
                    drain=plan.drain,
                )
            )
        figures = {"saturated_chunks_per_s": said["chunks"] / said["seconds"]}
        return {**figures, **({"saturated_cpu_s": _each(10_000 * used[0], said["all_chunks"])} if used else {})}

    def _paced(self, tree: Tree | None) -> Figures:
        plan = self.plan
        # All streams at once and none before: what a gateway adds to the first chunk includes their connections.
        with _processor(tree) as used:
            said = self._run(
                Demand(
                    mode="streams",
                    kind="paced",
                    connections=PACED_STREAMS,
                    warm=0,
                    run=plan.paced,
                    drain=plan.drain,
                )
            )
        figures = {
            "paced_first_p50_ms": _of(said, "first_chunk_ms", "p50"),
            "paced_first_p99_ms": _of(said, "first_chunk_ms", "p99"),
            "paced_gap_p50_ms": _of(said, "gap_ms", "p50"),
            "paced_gap_p99_ms": _of(said, "gap_ms", "p99"),
            "paced_lost_chunks": float(said["lost_chunks"]),
            "paced_streams": float(said["streams"]),
            "paced_streams_unfinished": float(said["errors"]["unfinished"]),
        }
        return {**figures, **({"paced_cpu_s": _each(10_000 * used[0], said["all_chunks"])} if used else {})}

    def _closed(self, connections: int, run: int) -> dict[str, Any]:
        demand = Demand(mode="closed", connections=connections, warm=self.plan.warm, run=run, drain=self.plan.drain)
        return self._run(demand)

    def _run(self, demand: Demand) -> dict[str, Any]:
        said = self.loader.run(self.target, demand)
        self.requests += said["total"]
        failed = failures(said)
        self.failed += failed
        if failed:
            what = ", ".join(f"{count} {kind}" for kind, count in said["errors"].items() if count)
            lost = f"{said['lost_chunks']} chunks lost" if said["lost_chunks"] else ""
            first = f"; the first: {said['first_error']}" if said["first_error"] else ""
            where = f"{demand.mode} {demand.kind}, {demand.connections} connections"
            self.measured.note(f"{where}: {', '.join(part for part in (what, lost) if part)}{first}")
        return said


@contextmanager
def _processor(tree: Tree | None) -> Generator[list[float]]:
    """Processor seconds of a tree during the block, in a list that is filled when it ends; empty without a tree."""
    used: list[float] = []
    before = 0.0 if tree is None else tree.cpu_s()
    yield used
    if tree is not None:
        time.sleep(SETTLE_S)
        used.append(tree.cpu_s() - before)


def _each(amount: float, count: int) -> float:
    """A share; infinite where there is nothing to share."""
    return amount / count if count else float("inf")


def _of(said: dict[str, Any], what: str, share: str) -> float:
    """A percentile; infinite where nothing was answered in time."""
    return float(said[what].get(share, float("inf")))


def _records(project: Path, requests: float) -> Figures:
    """See in the store that the work was done: each request recorded, with its content, and counted."""
    found = kept(project)
    return {
        "recorded_share": found.exchanges / max(requests, 1),
        "content_share": found.whole / max(found.exchanges, 1),
        "counted_share": found.counted / max(requests, 1),
    }
