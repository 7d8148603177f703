"""Load on a gateway, from a process of its own, so that who switches does not slow down who is measured.

The parent writes a `Demand` to standard input and ends the load by closing it; the answers come on standard output. A load
that nobody ends stops by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import aiohttp
import msgspec
import uvloop

WORDS = "one two three four five six seven eight nine ten"
ANSWER_S = 60.0
TRIES = 40
"""Rounds of connections that are made until each worker has one: the kernel chooses who takes a connection."""
AT_ONCE = 8


class LoadError(Exception):
    """The load could not do its work."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One caller."""

    stream: bool
    period_s: float | None
    """Between two requests, however long answers take; None: as soon as the answer is there."""
    worker: int | None = None
    """Stays on a connection to this worker of the gateway, from 1, one request at a time; None: on any, many at a time."""
    alternates: bool = False
    """Every second request is of the other kind."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The whole load."""

    address: str
    key: str
    operator: str
    """Whom the workers tell which one they are."""
    task: str
    workers: int
    lines: tuple[Line, ...]
    most_s: float
    tokens: int | None = None
    """Longest answer; None: the task's."""
    repeats: bool = True
    """A right answer ends with the request's last word."""

    @property
    def per_second(self) -> float:
        """Requests that are offered; of those who ask again at once nothing is known before."""
        return sum(1 / line.period_s for line in self.lines if line.period_s is not None)


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """One request as its caller saw it. Times are of the monotonic clock, which all processes share."""

    line: int
    stream: bool
    due: float
    """When it should have been sent; latencies are counted from here."""
    sent: float
    first: float
    """First bytes of the body."""
    ended: float
    revision: int
    """Of the route; 0 where there was no answer."""
    deployment: str
    problem: str
    """Empty where the answer was right; begins with `truncated` where it broke off."""

    @property
    def truncated(self) -> bool:
        return self.problem.startswith("truncated")

    @property
    def failed(self) -> bool:
        return bool(self.problem) and not self.truncated


def lines_of(workers: int, *, whole_s: float, stream_s: float) -> tuple[Line, ...]:
    """Four callers of whole answers, each on one worker's connection in turn, and one of streams on any."""
    whole = (Line(stream=False, period_s=whole_s, worker=1 + number % workers) for number in range(4))
    return (*whole, Line(stream=True, period_s=stream_s))


@contextmanager
def load(demand: Demand) -> Generator[list[Answer]]:
    """Put load on a gateway for the time of the block; the answers are in the list after it.

    Raises:
        LoadError: It cannot begin, or ended by itself.
    """
    process = subprocess.Popen(
        (sys.executable, "-m", "benchmarks.switch.load"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    answers: list[Answer] = []
    try:
        process.stdin.write(msgspec.json.encode(demand) + b"\n")
        process.stdin.flush()
        if process.stdout.readline() != b"ready\n":
            raise LoadError("the load did not begin; what it said stands above")
        yield answers
        if process.poll() is not None:
            raise LoadError(f"the load ended by itself with status {process.returncode}")
        said, _ = process.communicate(timeout=ANSWER_S + 30)  # closes its input, which ends it
        answers += msgspec.json.decode(said, type=list[Answer])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def main() -> None:
    demand = msgspec.json.decode(sys.stdin.buffer.readline(), type=Demand)
    answers = uvloop.run(_run(demand))
    sys.stdout.buffer.write(msgspec.json.encode(answers))


async def _run(demand: Demand) -> list[Answer]:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        with contextlib.suppress(RuntimeError):  # the load has stopped by itself
            loop.call_soon_threadsafe(stop.set)

    async with AsyncExitStack() as stack:
        callers = await _callers(demand, stack)
        threading.Thread(target=wait_for_the_end, daemon=True).start()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        gc.collect()
        gc.disable()  # a pause of this process is none of the gateway's
        tasks = [asyncio.create_task(caller.ask_on(stop)) for caller in callers]
        ended = asyncio.gather(*tasks)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), demand.most_s)
        stop.set()
        await ended
        for caller in callers:
            if caller.line.worker is not None and demand.workers > 1:
                await caller.check_worker()
    return [answer for caller in callers for answer in caller.answers]


async def _callers(demand: Demand, stack: AsyncExitStack) -> list[_Caller]:
    """Everybody with a connection of their own where a line asks for a worker's."""
    wanted = [(number, line) for number, line in enumerate(demand.lines) if line.worker is not None]
    found: dict[int, aiohttp.ClientSession] = {}
    tries = 0
    while len(found) < len(wanted):
        if tries == TRIES:
            raise LoadError("not every worker took a connection")
        tries += 1
        sessions = [await stack.enter_async_context(_session(demand, 1)) for _ in range(AT_ONCE)]
        workers = await asyncio.gather(*(_worker_of(session, demand) for session in sessions))
        for worker, session in zip(workers, sessions, strict=True):
            number = next((n for n, line in wanted if n not in found and line.worker == worker), None)
            if number is None:
                await session.close()
            else:
                found[number] = session
    shared = await stack.enter_async_context(_session(demand, 0))
    count = itertools.count()
    return [_Caller(demand, number, found.get(number, shared), count) for number in range(len(demand.lines))]


def _session(demand: Demand, connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        demand.address,
        headers={"authorization": f"Bearer {demand.key}"},
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=ANSWER_S),
    )


async def _worker_of(session: aiohttp.ClientSession, demand: Demand) -> int:
    headers = {"authorization": f"Bearer {demand.operator}"}
    async with session.get("/healthz", headers=headers) as response:
        return int((await response.json()).get("worker", 1))


class _Caller:
    """One line at work."""

    def __init__(
        self, demand: Demand, number: int, session: aiohttp.ClientSession, count: itertools.count[int]
    ) -> None:
        self.line = demand.lines[number]
        self.answers: list[Answer] = []
        self._demand = demand
        self._number = number
        self._session = session
        self._count = count

    async def ask_on(self, stop: asyncio.Event) -> None:
        """Ask until told to stop, then wait for the answers under way."""
        line, under_way, turn = self.line, set[asyncio.Task[None]](), 0
        period = line.period_s
        # So that lines do not ask all at once.
        due = time.monotonic() + (0.0 if period is None else period * self._number / len(self._demand.lines))
        while not await _stopped(stop, due - time.monotonic()):
            asking = self._ask(due, line.stream != (line.alternates and turn % 2 == 1))
            turn += 1
            if period is None or line.worker is not None:
                await asking
            else:
                task = asyncio.create_task(asking)
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            due = time.monotonic() if period is None else due + period
        await asyncio.gather(*under_way)

    async def check_worker(self) -> None:
        """Know that the connection was the same all the time.

        Raises:
            LoadError: It was lost, and the next one went to somebody else.
        """
        if await _worker_of(self._session, self._demand) != self.line.worker:
            raise LoadError(f"line {self._number} lost its connection to worker {self.line.worker}")

    async def _ask(self, due: float, stream: bool) -> None:
        word = f"w{next(self._count)}"
        body: dict[str, Any] = {
            "model": self._demand.task,
            "messages": [{"role": "user", "content": f"{WORDS} {word}"}],
            "user": word,
            "stream": stream,
        }
        if self._demand.tokens is not None:
            body["max_tokens"] = self._demand.tokens
        revision, deployment, first, text, problem = 0, "", 0.0, b"", ""
        sent = time.monotonic()
        try:
            async with self._session.post("/v1/chat/completions", json=body) as response:
                revision = int(response.headers.get("x-changeover-route", 0))
                deployment = response.headers.get("x-changeover-deployment", "")
                async for part in response.content.iter_any():
                    first = first or time.monotonic()
                    text += part
            problem = self._problem(response.status, text, stream, word)
        except (aiohttp.ClientError, TimeoutError) as exc:
            problem = f"{'truncated: ' if first else ''}{exc!r}"
        ended = time.monotonic()
        self.answers.append(
            Answer(self._number, stream, due, sent, first or ended, ended, revision, deployment, problem)
        )

    def _problem(self, status: int, text: bytes, stream: bool, word: str) -> str:
        if status != 200:
            return f"{status} {text[:200].decode(errors='replace')}"
        if stream and not text.rstrip().endswith(b"data: [DONE]"):
            return "truncated: no end mark"
        if self._demand.repeats and word.encode() not in text:
            return f"not the answer to `{word}`: {text[:200].decode(errors='replace')}"
        return ""


async def _stopped(stop: asyncio.Event, wait_s: float) -> bool:
    """Wait, and say whether it is over."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(wait_s, 0.0))
    return stop.is_set()


def problems(answers: Sequence[Answer]) -> list[str]:
    """A few of the things that went wrong."""
    return [answer.problem for answer in answers if answer.problem][:3]


if __name__ == "__main__":
    main()
