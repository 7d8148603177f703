"""A warden: starts a server that is not ours, says when it can answer, and leaves nothing of it behind.

Servers such as vLLM's start processes of their own and know nothing of our life line. The warden is the child that the
supervisor knows; it adopts whatever the server starts, and ends all of it when its own end comes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

import psutil

from changeover.serving.engines.child import Child

PORT: Final = "{port}"
"""Stands for the chosen port in the command and in the environment."""
SOCKET: Final = "{socket}"
"""Stands for the path of a Unix socket in `unix_argv`, the command of a server that can listen on one."""
SECRET: Final = "{secret}"
"""Stands for the deployment's secret, in the environment only: a command line can be read by everybody on the machine."""
CHANCES: Final = 4
"""Ports that are tried where each was taken by somebody else before the server came to it."""
LOOK_EVERY_S: Final = 0.1
GRACE_S: Final = 1.5
"""Between asking the server to end and killing it; the supervisor kills the warden after two seconds."""
_LIBC: Final = ctypes.CDLL(None)
"""Loaded here: between fork and exec nothing may be."""
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


def main() -> None:
    """Run the server until it or the parent ends."""
    end = threading.Event()
    child = Child(at_end=end.set, dies_by=signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda signum, frame: end.set())
    _call_prctl(_PR_SET_CHILD_SUBREAPER, 1)
    note = child.drop_rights() if child.config.get("drop_rights", True) else None
    try:
        place, server = _begin(child, end)
    except OSError as exc:
        child.failed(f"`{child.config['argv'][0]}` could not be started: {exc.strerror}")
    try:
        if server.poll() is not None:
            _end_all(server)
            child.failed(f"`{os.path.basename(child.config['argv'][0])}` ended with status {server.returncode}")
        if not end.is_set():
            child.ready(place if isinstance(place, int) else 0, note)
        while not end.is_set() and server.poll() is None:
            end.wait(LOOK_EVERY_S)
    finally:
        _end_all(server)
    os._exit(0 if end.is_set() else abs(server.returncode or 0) or 1)


def _begin(child: Child, end: threading.Event) -> tuple[int | str, subprocess.Popen[bytes]]:
    """Start the server and wait until it answers or has ended; and again, on another port, where somebody was quicker.

    Raises:
        OSError: It cannot be started.
    """
    config = child.config
    socket_path: str | None = config.get("socket")
    for chance in range(CHANCES, 0, -1):
        place = _free_port() if socket_path is None or "unix_argv" not in config else socket_path
        server = _start(config, place, child.secret)
        while not end.is_set() and server.poll() is None and not _answers(place, config["ready_path"], child.secret):
            end.wait(LOOK_EVERY_S)
        if server.poll() is None or end.is_set() or chance == 1 or not _is_taken(place):
            break
        print(f"warden: port {place} was taken meanwhile; another one is tried", file=sys.stderr, flush=True)
        _end_all(server)
    return place, server


def _start(config: Mapping[str, Any], place: int | str, secret: str) -> subprocess.Popen[bytes]:
    """Start the server on a port, or on a socket whose path is given."""
    port = str(place) if isinstance(place, int) else ""
    parts: list[str] = config["argv"] if isinstance(place, int) else config["unix_argv"]
    argv = [str(part).replace(PORT, port).replace(SOCKET, str(place)) for part in parts]
    said: Mapping[str, str] = config["environment"]
    environment = {name: value.replace(PORT, port).replace(SECRET, secret) for name, value in said.items()}
    # Same session as the warden: the supervisor kills both as one group when it has to.
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=sys.stderr,
        env={**os.environ, **environment},
        cwd=config.get("directory"),
        preexec_fn=_die_with_the_warden,
    )


def _die_with_the_warden() -> None:
    _call_prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _call_prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _LIBC.prctl(option, value, 0, 0, 0)


def _free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _is_taken(place: int | str) -> bool:
    """Whether somebody listens on a port whose server has ended."""
    if isinstance(place, str):
        return False
    with socket.socket() as other:
        try:
            other.bind(("127.0.0.1", place))
        except OSError:
            return True
        return False


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=2)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _answers(place: int | str, path: str, secret: str) -> bool:
    connection = HTTPConnection("127.0.0.1", place, timeout=2) if isinstance(place, int) else _UnixConnection(place)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {secret}"})
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _end_all(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, and then kill it and all that it ever started, wherever that has moved."""
    if server.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            server.terminate()
        deadline = time.monotonic() + GRACE_S
        while server.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    # What a dead process had started is ours by now; killing one may hand us more.
    while remaining := _descendants():
        for process in remaining:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(remaining, timeout=1)
        if server.poll() is None:
            server.wait()


def _descendants() -> Sequence[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if _lives(each)]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    main()
