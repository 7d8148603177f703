"""The worker as its front sees it: a process with a channel, and a queue of what it says for each request."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

MOST_LINE_BYTES: Final = 64 << 20
SILENT_S: Final = 300.0
"""A worker that has not answered for so long, although it was asked whether it is well, counts as hung."""
Said = Mapping[str, Any]


class LostError(Exception):
    """The worker is gone."""


class StartError(Exception):
    """The worker could not load its model; says why."""


class WorkerProcess:
    """The process, and our end of the channel."""

    def __init__(self, argv: Sequence[str], config: Mapping[str, Any]) -> None:
        """Start it and wait until it has loaded its model. It ends when this process does.

        Raises:
            StartError: It cannot load it.
        """
        self.channel, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, pass_fds=(theirs.fileno(),)
            )
        except OSError as exc:
            raise StartError(f"`{argv[0]}` could not be started: {exc.strerror}") from exc
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        told = {**config, "channel": theirs.fileno(), "parent": os.getpid(), "secret": ""}
        try:
            self._process.stdin.write(json.dumps(told).encode() + b"\n")
            self._process.stdin.flush()  # and it stays open: its end is the worker's
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        theirs.close()
        said: Said = json.loads(line) if line else {"error": self.ended()}
        if not said.get("ready"):
            raise StartError(str(said["error"]))
        self.note: str | None = said["note"]

    def ended(self) -> str:
        """How the process ended."""
        return f"the model's process ended with status {self._process.wait()}"


class Worker:
    """What the application asks."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._queues: dict[int, asyncio.Queue[Said | None]] = {}
        self._asked_at: float | None = None
        """Since when it owes an answer to whether it is well."""
        self._writer: asyncio.StreamWriter | None = None

    async def listen(self) -> str:
        """Hand on what the worker says, until it ends; say how it ended."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._process.channel, limit=MOST_LINE_BYTES)
        try:
            while line := await reader.readline():
                self._asked_at = None
                said: dict[str, Any] = msgspec.json.decode(line)
                queue = self._queues.get(said.get("id", 0))
                if queue is not None:
                    queue.put_nowait(said)
        finally:
            for queue in self._queues.values():
                queue.put_nowait(None)
        return await asyncio.to_thread(self._process.ended)

    def well(self) -> bool:
        """Whether it answers; asks it, for the next time."""
        now = time.monotonic()
        if self._writer is None:
            return False
        if self._asked_at is None:
            self._asked_at = now
            self._send({"op": "ping"})
        return now - self._asked_at < SILENT_S

    def ask(self, ask: Said) -> Answer:
        """Send a request. Whoever asks closes the answer in any case."""
        number = next(self._numbers)
        queue = self._queues[number] = asyncio.Queue[Said | None]()
        self._send({**ask, "id": number})
        return Answer(self, number, queue)

    def forget(self, number: int, *, cancel: bool) -> None:
        if self._queues.pop(number, None) is not None and cancel:
            self._send({"op": "cancel", "id": number})

    def _send(self, said: Said) -> None:
        if self._writer is not None:
            self._writer.write(msgspec.json.encode(said) + b"\n")


class Answer:
    """What comes of one request."""

    def __init__(self, worker: Worker, number: int, queue: asyncio.Queue[Said | None]) -> None:
        self._worker = worker
        self._number = number
        self._queue = queue
        self.whole = False
        """There is no more to come."""

    async def next(self) -> Said:
        """The next thing that the worker says of it.

        Raises:
            LostError: The worker is gone.
        """
        said = await self._queue.get()
        if said is None:
            raise LostError
        return said

    def close(self) -> None:
        """Hear no more of it; what is under way is cancelled."""
        self._worker.forget(self._number, cancel=not self.whole)
