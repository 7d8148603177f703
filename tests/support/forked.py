"""Commands as processes that begin with everything imported, the library read: forked from one that waits for them.

Started anew, a command spends most of its time on imports. From `changeover/__main__.py` on, what runs here is the same, in a
process, a directory, an environment and streams of its own. That a command also begins on its own is shown by those that
`processes.changeover`, `processes.begin` and `processes.start` start.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

from changeover.library.catalogue import Catalogue

IMPORTED = (
    "changeover.cli.main",
    "changeover.cli.guard",
    "changeover.cli.running",
    "changeover.app.create",
    "changeover.app.deploy",
    "changeover.app.gateway",
    "changeover.app.system",
    "changeover.cli.status",
    "changeover.cli.deploy",
    "changeover.cli.switch",
    "changeover.cli.compare",
    "changeover.cli.evaluate",
)
MOST = 1 << 20
"""Bytes of what a command is asked with."""


def run(
    directory: Path, arguments: Sequence[str], environment: Mapping[str, str], patience_s: float
) -> tuple[int, str, str]:
    """Run `changeover ARGUMENTS…` to its end, with nothing on its standard input: exit status, output, errors.

    Raises:
        TimeoutError: It did not end in time; it was killed.
    """
    asked = {"directory": str(directory), "arguments": list(arguments), "environment": dict(environment)}
    with (
        open(os.devnull, "rb") as nothing,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line,
    ):
        line.connect(_waiting())
        socket.send_fds(line, [json.dumps(asked).encode()], [nothing.fileno(), out.fileno(), err.fileno()])
        pid = int(line.recv(32))
        line.settimeout(patience_s)
        try:
            status = int(line.recv(32))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
        for stream in (out, err):
            stream.seek(0)
        return status, out.read().decode(), err.read().decode()


@dataclass
class Begun:
    """A command that goes on, until it is told to end."""

    pid: int
    said: IO[str]
    """What it writes, errors too."""
    _line: socket.socket

    def interrupt(self, patience_s: float) -> tuple[int, str]:
        """Press Ctrl-C, and wait for the end: exit status, and what was not read yet."""
        os.kill(self.pid, signal.SIGINT)
        self._line.settimeout(patience_s)
        try:
            status = int(self._line.recv(32))
        except TimeoutError:
            os.kill(self.pid, signal.SIGKILL)
            raise
        with self._line, self.said:
            return status, self.said.read()


def begin(directory: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> Begun:
    """Start `changeover ARGUMENTS…` with nothing on its standard input."""
    asked = {"directory": str(directory), "arguments": list(arguments), "environment": dict(environment)}
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.connect(_waiting())
    reads, writes = os.pipe()
    with open(os.devnull, "rb") as nothing:
        socket.send_fds(line, [json.dumps(asked).encode()], [nothing.fileno(), writes, writes])
    os.close(writes)
    return Begun(int(line.recv(32)), os.fdopen(reads), line)


@cache
def _waiting() -> str:
    """Where the process waits that commands are forked from; it ends with this one."""
    directory = tempfile.TemporaryDirectory(prefix="changeover-forked-")
    process = subprocess.Popen(
        (sys.executable, "-m", __name__, directory.name), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout
    assert stdout.readline(), "the process that commands are forked from did not start"

    def end() -> None:
        stdin.close()
        stdout.close()
        process.terminate()
        process.wait()
        directory.cleanup()

    atexit.register(end)
    return str(Path(directory.name) / "socket")


def _wait(directory: str) -> dict[str, Any]:
    """Fork a command for everybody who asks. Comes back in the command's process only, with what was asked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(Path(directory) / "socket"))
        listener.listen(16)
        print("waiting", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait for a command
        gc.freeze()
        while True:
            line, _ = listener.accept()
            if os.fork():
                line.close()
                continue
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            message, streams, _, _ = socket.recv_fds(line, MOST, 3)
            if pid := os.fork():
                _tell(line, pid)
            line.close()
            for place, stream in enumerate(streams):
                os.dup2(stream, place)
                os.close(stream)
            return json.loads(message)


def _tell(line: socket.socket, pid: int) -> None:
    """Say who the command is and, at its end, how it ended."""
    with suppress(OSError):  # whoever asked has gone
        line.send(str(pid).encode())
    _, ended = os.waitpid(pid, 0)
    with suppress(OSError):
        line.send(str(os.waitstatus_to_exitcode(ended)).encode())
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in IMPORTED:
        importlib.import_module(name)
    Catalogue.load()
    asked = _wait(sys.argv[1])
    os.chdir(asked["directory"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["changeover", *asked["arguments"]]
    runpy.run_module("changeover", run_name="__main__", alter_sys=True)
