"""Switches under load: does any request fail, is any stream cut, how soon is a new revision followed.

`python -m benchmarks.switch [--quick] [--json FILE]`; with `--quick` on the echo engine and within a minute, without it
on the two real small models. The system runs as `changeover up` in a process of its own; clients stream and do not
stream in turn, each request as another user, while routes are promoted and rolled back as fast as they are followed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from tests.support.projects import write_project

from changeover.app.deploy import declared_variant, deploy, first_plan
from changeover.app.installation import Installation, open_installation
from changeover.cli.init import make_project
from changeover.cli.running import wait_ready
from changeover.cli.weights import fetch
from changeover.core.settings import open_project
from changeover.library.catalogue import Catalogue
from changeover.rollouts.actions import By, plan_of, promote, roll_back, start
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import keep_variant
from changeover.serving.variants import Variant

CLIENTS = 8
STREAM_WORDS = "one two three four five six seven eight nine ten"
REAL_TOKENS = 12


@dataclass
class Tally:
    """What the clients saw."""

    failed: int = 0
    truncated: int = 0
    errors: list[str] = field(default_factory=list[str])
    answers: list[tuple[float, float, int]] = field(default_factory=list[tuple[float, float, int]])
    """(sent, answered, route revision), seconds on the monotonic clock."""


@dataclass(frozen=True)
class Case:
    """One task to switch, and who takes turns."""

    installation: Installation
    address: str
    key: str
    task: str
    candidate: Variant
    tokens: int | None


async def ask_on(
    case: Case, session: aiohttp.ClientSession, numbers: itertools.count[int], tally: Tally, stop: asyncio.Event
) -> None:
    """Be one client until told to stop."""
    while not stop.is_set():
        number = next(numbers)
        body: dict[str, Any] = {
            "model": case.task,
            "messages": [{"role": "user", "content": f"{STREAM_WORDS} {number}"}],
            "user": f"user-{number}",
            "stream": number % 2 == 0,
        }
        if case.tokens is not None:
            body["max_tokens"] = case.tokens
        sent = time.monotonic()
        try:
            async with session.post("/v1/chat/completions", json=body) as response:
                text = await response.read()
                revision = int(response.headers.get("x-changeover-route", 0))
        except aiohttp.ClientError as exc:
            tally.failed += 1
            tally.errors.append(repr(exc))
            continue
        if response.status != 200:
            tally.failed += 1
            tally.errors.append(text[:200].decode())
        elif body["stream"] and not text.rstrip().endswith(b"data: [DONE]"):
            tally.truncated += 1
        else:
            tally.answers.append((sent, time.monotonic(), revision))


async def drive(case: Case, switches: int, pause_s: float) -> tuple[Tally, list[tuple[float, int]]]:
    """Switch to and fro under load. Returns what the clients saw, and (commit time, revision) of every switch."""
    tally, stop, numbers = Tally(), asyncio.Event(), itertools.count()
    headers = {"authorization": f"Bearer {case.key}"}
    connector = aiohttp.TCPConnector(limit=0)
    commits: list[tuple[float, int]] = []
    async with aiohttp.ClientSession(case.address, headers=headers, connector=connector) as session:
        clients = [asyncio.create_task(ask_on(case, session, numbers, tally, stop)) for _ in range(CLIENTS)]
        await asyncio.sleep(pause_s)
        for number in range(switches):
            revision = await asyncio.to_thread(_promote if number % 2 == 0 else _roll_back, case)
            commits.append((time.monotonic(), revision))
            await asyncio.sleep(pause_s)
        stop.set()
        await asyncio.gather(*clients)
    return tally, commits


def _promote(case: Case) -> int:
    declared = case.installation.tasks[case.task].declared
    by = By(actor="benchmark", reason="switch", now=case.installation.clock.now())
    with case.installation.store.write() as connection:
        rollout = start(connection, case.candidate, plan_of(declared), None, by)
        return promote(connection, rollout, None, by).revision


def _roll_back(case: Case) -> int:
    by = By(actor="benchmark", reason="and back", now=case.installation.clock.now())
    with case.installation.store.write() as connection:
        return roll_back(connection, case.task, by).revision


def propagation_ms(tally: Tally, commits: Sequence[tuple[float, int]]) -> list[float]:
    """For each switch: how long after its commit a request was still begun on an older revision."""
    delays: list[float] = []
    ends = [at for at, _ in commits[1:]] + [float("inf")]
    for (committed, revision), end in zip(commits, ends, strict=True):
        late = [sent for sent, _, seen in tally.answers if committed <= sent < end and seen < revision]
        delays.append(1000 * (max(late) - committed) if late else 0.0)
    return delays


@contextmanager
def system(directory: Path) -> Generator[tuple[str, str]]:
    """Run `changeover up` on a project; gives its address and its first key."""
    command = (sys.executable, "-m", "changeover", "up", "--json", "--until-stdin-closes")
    with (directory / "up.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"the system did not start:\n{(directory / 'up.log').read_text()}")
        said = json.loads(line)
        yield said["address"], said["first_key"]
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def measure(directory: Path, *, quick: bool, switches: int) -> dict[str, Any]:
    """Run the benchmark in a directory."""
    task, other, tokens = _project(directory, quick)
    with system(directory) as (address, key):
        installation = open_installation(open_project(directory))
        plan = EnginePlan(deployment=other, backend="echo", model=other) if quick else first_plan(installation, other)
        deploy(installation, plan, "benchmark")
        wait_ready(installation, [installation.tasks[task].declared.first_incumbent, other])
        candidate = declared_variant(installation, task, other)
        with installation.store.write() as connection:
            keep_variant(connection, candidate, installation.clock.now())
        case = Case(installation, address, key, task, candidate, tokens)
        started = time.monotonic()
        tally, commits = asyncio.run(drive(case, switches, pause_s=0.25 if quick else 2.0))
        seconds = time.monotonic() - started
        installation.store.close()
    delays = propagation_ms(tally, commits)
    times = sorted(1000 * (answered - sent) for sent, answered, _ in tally.answers)
    return {
        "engines": "echo" if quick else "llama.cpp, smollm2-135m and qwen2.5-coder-0.5b",
        "switches": len(commits),
        "requests": len(tally.answers) + tally.failed + tally.truncated,
        "failed_requests": tally.failed,
        "truncated_streams": tally.truncated,
        "propagation_ms": round(max(delays), 1),
        "propagation_median_ms": round(statistics.median(delays), 1),
        "request_p50_ms": round(statistics.median(times), 1),
        "request_p99_ms": round(times[int(0.99 * (len(times) - 1))], 1),
        "seconds": round(seconds, 1),
        "errors": tally.errors[:3],
    }


def _project(directory: Path, quick: bool) -> tuple[str, str, int | None]:
    """Write the project; gives the task, who else answers it, and how many tokens an answer may have."""
    if quick:
        write_project(directory, record="metadata", gateway="")
        return "echo", "echo-2", None
    make_project(directory, port=0)
    project = open_project(directory)
    fetch([Catalogue.load().card("qwen2.5-coder-0.5b-instruct")], project.cache)
    return "code", "qwen2.5-coder-0.5b-instruct", REAL_TOKENS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.switch", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="echo engine, within a minute")
    parser.add_argument("--switches", type=int, default=100, help="promotions and rollbacks (default 100)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        result = measure(Path(directory) / "switch", quick=arguments.quick, switches=arguments.switches)
    for name, value in result.items():
        print(f"{name:<22} {value}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(result["failed_requests"] + result["truncated_streams"] > 0)


if __name__ == "__main__":
    main()
