"""What one streamed event costs the gateway: its processor time, before an engine that writes an event every so often.

An engine that computes shares the cores with the gateway, so a ratio of two paces moves with whatever else the machine
does. Processor time does much less: here the engine only waits and writes, in the very bytes of llama.cpp's server, and what
is counted is the time that the kernel gave to the gateway's threads.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.promises import command
from benchmarks.serving.running import TASK, Door, gateway, patiently
from changeover.serving.pace import pace_of
from changeover.serving.upstream import Upstream, make_client

AT_ONCE = (1, 4, 8)
EVERY_S = 0.006
"""Between two tokens of a stream: what SmolLM2-135M takes on two cores."""
TOKENS = 250
SECRET = "paced"
HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: paced\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    b"Connection: close\r\n\r\n"
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """So many streams at once."""

    at_once: int
    ms_per_1000: float
    """Processor time of the gateway for a thousand events, the median of the rounds."""
    least_ms_per_1000: float
    idle_ms_per_s: float
    """Its processor time in a second in which nobody asks; left out of the above."""


@dataclass(frozen=True, kw_only=True)
class Paced:
    """A listening engine that computes nothing."""

    port: int
    secret: str


@asynccontextmanager
async def paced(every_s: float) -> AsyncGenerator[Paced]:
    """An engine whose streams all get their next token at the same moments, as those of one batch do."""
    engine = _Engine(every_s)
    server = await asyncio.start_server(engine.answer, "127.0.0.1", 0)
    beat = asyncio.create_task(engine.beat())
    try:
        yield Paced(port=server.sockets[0].getsockname()[1], secret=SECRET)
    finally:
        beat.cancel()
        server.close()


class _Engine:
    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._turn = asyncio.Event()

    async def beat(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            self._turn.set()
            self._turn = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
            )
            asked = json.loads(await reader.readexactly(length)) if length else {}
            if asked.get("stream"):
                await self._stream(writer, asked["max_tokens"])
            else:
                writer.write(_whole())
        finally:
            writer.close()

    async def _stream(self, writer: asyncio.StreamWriter, tokens: int) -> None:
        writer.write(HEAD + _chunk(_event({"role": "assistant", "content": None})))
        for number in range(tokens):
            await self._turn.wait()
            writer.write(_chunk(_event({"content": f" {number}"})))
        usage = {"completion_tokens": tokens, "prompt_tokens": 40, "total_tokens": tokens + 40}
        last = _event({}, "length") + _event(None, usage=usage) + b"data: [DONE]\n\n"
        writer.write(_chunk(last) + b"0\r\n\r\n")


def _event(delta: dict[str, Any] | None, finish: str | None = None, usage: dict[str, Any] | None = None) -> bytes:
    """An event as llama.cpp's server writes it."""
    choices = [] if delta is None else [{"finish_reason": finish, "index": 0, "delta": delta}]
    said = {
        "choices": choices,
        "created": 1764500000,
        "id": "chatcmpl-O7Qb1mDk3tJx5ZpVnY2wRsLuA8cEfGhi",
        "model": "direct",
        "system_fingerprint": "b6900-0123456789",
        "object": "chat.completion.chunk",
        **({} if usage is None else {"usage": usage}),
    }
    return b"data: " + json.dumps(said, separators=(",", ":")).encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _whole() -> bytes:
    said = {
        "choices": [{"finish_reason": "length", "index": 0, "message": {"role": "assistant", "content": "Hi"}}],
        "model": "direct",
        "object": "chat.completion",
        "usage": {"completion_tokens": 1, "prompt_tokens": 40, "total_tokens": 41},
    }
    body = json.dumps(said).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
        len(body),
        body,
    )


def busy_s(pid: int) -> float:
    """Processor time that the kernel has given to a process' threads, in seconds, to the nanosecond."""
    each = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in each) / 1e9


async def measured(every_s: float, rounds: int) -> list[Row]:
    """The cost of an event, by how many streams go at once."""
    with tempfile.TemporaryDirectory() as name:
        (project := Path(name) / "project").mkdir()
        async with paced(every_s) as engine:
            with gateway(engine, project) as door:
                client = make_client("wire")
                try:
                    through = client.upstream("gateway", f"http://127.0.0.1:{door.port}", door.secret, None)
                    await patiently(through)
                    return [await _row(through, door, at_once, rounds) for at_once in AT_ONCE]
                finally:
                    await client.close()


async def _row(through: Upstream, door: Door, at_once: int, rounds: int) -> Row:
    costs: list[float] = []
    idles: list[float] = []
    clock = asyncio.get_running_loop().time
    for number in range(rounds + 1):
        before, began = busy_s(door.pid), clock()
        await asyncio.sleep(1.0)
        idles.append((busy_s(door.pid) - before) / (clock() - began))
        before, began = busy_s(door.pid), clock()
        pace = await pace_of(through, model=TASK, at_once=at_once, requests=at_once, tokens=TOKENS, first=number)
        spent = busy_s(door.pid) - before - median(idles) * (clock() - began)
        costs.append(1e6 * spent / sum(each.tokens for each in pace.answers))
    return Row(
        at_once=at_once,
        ms_per_1000=median(costs[1:]),  # the first round warms up
        least_ms_per_1000=min(costs[1:]),
        idle_ms_per_s=1000 * median(idles),
    )


def run(quick: bool) -> dict[str, object]:
    """Everything that `--json` writes."""
    return {"rows": [asdict(row) for row in asyncio.run(measured(EVERY_S, 3 if quick else 9))]}


def show(report: dict[str, Any]) -> None:
    """Print the table as Markdown, ready for docs/benchmarks.md."""
    print("| streams at once | processor time of the gateway for 1,000 events | least | idle |")
    print("|--:|--:|--:|--:|")
    for row in report["rows"]:
        print(
            f"| {row['at_once']} | {row['ms_per_1000']:.0f} ms | {row['least_ms_per_1000']:.0f} ms | "
            f"{row['idle_ms_per_s']:.1f} ms/s |"
        )


if __name__ == "__main__":
    command(__doc__, run, show)
