"""Exchanges under load where memory holds one engine: how long callers wait, beside the engine's own load time.

`python -m benchmarks.exchange [--quick] [--exchanges N] [--json FILE]`; with `--quick` on the echo engine, which takes a
second to load, without it also on a real small model. The system runs as `changeover up` in a process of its own, with a
budget that holds one of two engines; clients ask without a pause, streams and whole answers in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from tests.support.processes import Up, system, until
from tests.support.projects import write_project

from changeover.app.deploy import ask_for, declared_variant
from changeover.app.exchange import exchange_plan_of
from changeover.app.installation import Installation
from changeover.cli.weights import fetch
from changeover.core.settings import EngineSettings, cache_directory
from changeover.core.sizes import GIB
from changeover.library.catalogue import Catalogue
from changeover.rollouts.actions import By, promote, start
from changeover.rollouts.decide import Rollout
from changeover.rollouts.exchange import SETTLED
from changeover.rollouts.queries import find_rollout, rollout_history
from changeover.serving.backends import describe
from changeover.serving.deployments import plan_for_card
from changeover.serving.memory import needed_bytes
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import keep_variant

MODEL = "smollm2-135m-instruct"
TASK = "echo"
CLIENTS = 4
STEADY_S = 2.0
PATIENCE_S = 120.0
TOKENS = 12
SLOTS, CONTEXT = 4, 1024
LOADED = re.compile(r"([\d.]+) s, first answer checked")


@dataclass(frozen=True)
class Asked:
    """One request, as its caller saw it; times are monotonic seconds."""

    sent: float
    began: float
    """When the head of its answer was here; of a stream that is with its first words."""
    answered: float
    deployment: str
    problem: str = ""

    @property
    def took_s(self) -> float:
        return self.answered - self.sent


@dataclass(frozen=True)
class Engines:
    """Two engines of which memory holds one."""

    name: str
    plans: tuple[EnginePlan, EnginePlan]
    incumbent: str
    """Lines of the task's declaration."""
    budget_gib: float
    settings: str = ""


def echo_engines() -> Engines:
    options = {"memory_mib": 700, "ready_delay_s": 1.0, "chunk_delay_s": 0.01}
    lines = "[echo]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())
    plans = [EnginePlan(deployment=name, backend="echo", model=name, options=options) for name in ("echo-echo", "b")]
    return Engines("echo, loads 1 s", (plans[0], plans[1]), lines, 1.0)


def real_engines() -> Engines:
    """The same model twice, so that both ways take the same."""
    card = Catalogue.load().card(MODEL)
    cache = cache_directory()
    fetch([card], cache)
    defaults = EngineSettings(slots=SLOTS, context_tokens=CONTEXT)
    plans = [plan_for_card(card, cache, defaults, name=name) for name in (MODEL, f"{MODEL}-b")]
    budget = 1.5 * needed_bytes(plans[0]) / GIB
    return Engines(
        f"llama.cpp, {MODEL}",
        (plans[0], plans[1]),
        "",
        round(budget, 3),
        f"slots = {SLOTS}\ncontext_tokens = {CONTEXT}\n",
    )


@dataclass
class Callers:
    """Clients that ask all the time."""

    up: Up
    seen: list[Asked] = field(default_factory=list[Asked])

    async def run(self, stop: asyncio.Event) -> None:
        numbers = itertools.count()
        headers = {"authorization": f"Bearer {self.up.key}"}
        async with aiohttp.ClientSession(self.up.address, headers=headers) as session:
            await asyncio.gather(*(self._one(session, numbers, stop) for _ in range(CLIENTS)))

    async def _one(self, session: aiohttp.ClientSession, numbers: itertools.count[int], stop: asyncio.Event) -> None:
        while not stop.is_set():
            number = next(numbers)
            stream = number % 2 == 0
            messages = [{"role": "user", "content": f"one two three four {number}"}]
            body = {"model": TASK, "messages": messages, "max_tokens": TOKENS, "stream": stream}
            sent = time.monotonic()
            async with session.post("/v1/chat/completions", json=body) as response:
                began = time.monotonic()
                text = await response.text()
            problem = "" if response.status == 200 else text[:200]
            if stream and not problem and not text.rstrip().endswith("data: [DONE]"):
                problem = "cut"
            deployment = response.headers.get("x-changeover-deployment", "")
            self.seen.append(Asked(sent, began, time.monotonic(), deployment, problem))


@dataclass(frozen=True)
class Exchange:
    """One exchange: how long it took, and how long whoever waited longest."""

    load_s: float
    """The engine's own: from its start until its first answer was checked."""
    pause_s: float
    """From the last request that the old engine answered, when it was sent, until the first words of the new one."""
    silence_s: float
    """From the old engine's last word until the first words of the new one."""
    longest_wait_s: float


def exchange(up: Up, to: str) -> tuple[float, float]:
    """Promote and wait until that is settled; gives the moment of the promotion and the engine's load time."""
    with up.opened() as installation:
        rollout = _promote(installation, to)
        committed = time.monotonic()
        said = until(lambda: _settled(installation, rollout), PATIENCE_S)
    found = LOADED.search(said)
    assert found is not None, said
    return committed, float(found[1])


def _promote(installation: Installation, to: str) -> Rollout:
    variant = declared_variant(installation, TASK, to)
    by = By(actor="benchmark", reason="exchange", now=installation.clock.now())
    with installation.store.write() as connection:
        keep_variant(connection, variant, by.now)
        rollout = start(connection, variant, exchange_plan_of(installation, TASK, to), None, by)
        promote(connection, rollout, None, by)
        return rollout


def _settled(installation: Installation, rollout: Rollout) -> str:
    with installation.store.read() as connection:
        now = find_rollout(connection, rollout.id)
        events = rollout_history(connection, rollout.id)
    assert now is not None
    assert now.state == "baking", [event.reason for event in events]
    return next((event.reason for event in events if event.action == SETTLED), "")


async def drive(up: Up, names: Sequence[str], exchanges: int) -> tuple[list[Asked], list[Exchange], float]:
    """Exchange to and fro under load; gives what callers saw, the exchanges, and the median of a steady request."""
    callers, stop = Callers(up), asyncio.Event()
    asking = asyncio.create_task(callers.run(stop))
    await _steady(callers, asking)
    steady = statistics.median(each.took_s for each in callers.seen)
    made: list[Exchange] = []
    for number in range(exchanges):
        to = names[(number + 1) % 2]
        committed, load_s = await asyncio.to_thread(exchange, up, to)
        await _steady(callers, asking)
        made.append(_as_seen(callers.seen, to, committed, load_s))
    stop.set()
    await asking
    return callers.seen, made, steady


async def _steady(callers: Callers, asking: asyncio.Task[None]) -> None:
    """Let them go on for a while, and until everybody has had an answer."""
    before = len(callers.seen)
    await asyncio.sleep(STEADY_S)
    async with asyncio.timeout(PATIENCE_S):
        while len(callers.seen) < before + 2 * CLIENTS:
            assert not asking.done(), asking
            await asyncio.sleep(0.1)


def _as_seen(seen: Sequence[Asked], to: str, committed: float, load_s: float) -> Exchange:
    since = [each for each in seen if each.answered >= committed]
    new = [each for each in since if each.deployment == to]
    old = [each for each in since if each.deployment not in ("", to)]
    first = min(each.began for each in new)
    return Exchange(
        load_s=load_s,
        pause_s=first - max((each.sent for each in old), default=committed),
        silence_s=first - max((each.answered for each in old), default=committed),
        longest_wait_s=max(each.took_s for each in since),
    )


def measure(directory: Path, engines: Engines, exchanges: int) -> dict[str, Any]:
    """Run one pair of engines in a directory."""
    budget = f"[engines]\nmemory_gib = {engines.budget_gib}\n{engines.settings}"
    write_project(directory, record="metadata", steps=engines.incumbent, gateway=budget, timeout_s=120)
    if not engines.incumbent:
        task = directory / "tasks" / f"{TASK}.toml"
        task.write_text(task.read_text().replace('first_incumbent = "echo"', f'first_incumbent = "{MODEL}"'))
    names = [plan.deployment for plan in engines.plans]
    with system(directory) as up:
        until(lambda: up.ready(names[0]), PATIENCE_S)
        with up.opened() as installation, installation.store.write() as connection:
            other = engines.plans[1]
            ask_for(connection, other, describe(other), "benchmark", installation.clock.now(), desired="stopped")
        seen, made, steady = asyncio.run(drive(up, names, exchanges))
    problems = [each.problem for each in seen if each.problem]
    return {
        "engines": engines.name,
        "exchanges": len(made),
        "requests": len(seen),
        "failed_or_cut": len(problems),
        "load_s": round(statistics.median(each.load_s for each in made), 2),
        "pause_s": round(statistics.median(each.pause_s for each in made), 2),
        "pause_longest_s": round(max(each.pause_s for each in made), 2),
        "silence_s": round(statistics.median(each.silence_s for each in made), 2),
        "pause_by_load": round(statistics.median(each.pause_s / each.load_s for each in made), 2),
        "silence_by_load": round(statistics.median(each.silence_s / each.load_s for each in made), 2),
        "longest_wait_s": round(max(each.longest_wait_s for each in made), 2),
        "steady_request_ms": round(1000 * steady, 1),
        "problems": problems[:3],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exchange", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="echo engine only")
    parser.add_argument("--exchanges", type=int, default=10, help="of each pair of engines (default 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    arguments = parser.parse_args()
    results: list[dict[str, Any]] = []
    for engines in [echo_engines()] if arguments.quick else [echo_engines(), real_engines()]:
        with tempfile.TemporaryDirectory() as directory:
            results.append(measure(Path(directory) / "exchange", engines, arguments.exchanges))
        for name, value in results[-1].items():
            print(f"{name:<20} {value}")
        print()
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    sys.exit(any(result["failed_or_cut"] for result in results))


if __name__ == "__main__":
    main()
