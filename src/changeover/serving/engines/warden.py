"""A warden: starts a server that is not ours, says when it can answer, and leaves nothing of it behind.

Servers such as vLLM's start processes of their own and know nothing of our life line. The warden is the child that the
supervisor knows; it adopts whatever the server starts, and ends all of it when its own end comes.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from typing import IO, Any, Final, cast

import psutil

from changeover.serving.engines.child import Child

PORT: Final = "{port}"
"""Stands for the chosen port in the command and in the environment."""
SOCKET: Final = "{socket}"
"""Stands for the path of a Unix socket in `unix_argv`, the command of a server that can listen on one."""
FOLDER: Final = "{folder}"
"""Stands for a folder of the server's own in the command and in the environment: private, empty, gone with the server."""
SECRET: Final = "{secret}"
"""Stands for the deployment's secret, in the environment only: a command line can be read by everybody on the machine."""
CHANCES: Final = 4
"""Ports that are tried where each was taken by somebody else before the server came to it."""
LOOK_EVERY_S: Final = 0.1
STEP_S: Final = 3600.0
"""For a step between answering and being ready; the supervisor loses its patience earlier."""
GRACE_S: Final = 1.5
"""Between asking the server to end and killing it; the supervisor kills the warden after two seconds."""
Place = int | str
"""A port, or the path of a Unix socket."""
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
    note = _drop_rights(child)
    folder = _own_folder(child.config)
    name = os.path.basename(child.config["argv"][0])
    try:
        place, server, said = _begin(child, folder, end)
    except OSError as exc:
        _remove(folder)
        child.failed(f"`{child.config['argv'][0]}` could not be started: {exc.strerror}")
    try:
        problem = _take_steps(child.config.get("after", ()), place, child.secret, server, end)
        if server.poll() is not None:
            problem = f"`{name}` ended with status {server.returncode}"
        if problem is not None and not end.is_set():
            _end_all(server)
            _remove(folder)
            child.failed(problem)
        if not end.is_set():
            child.ready(
                place if isinstance(place, int) else 0, "; ".join(each for each in (said, note) if each) or None
            )
        while not end.is_set() and server.poll() is None:
            end.wait(LOOK_EVERY_S)
    finally:
        _end_all(server)
        _remove(folder)
    os._exit(0 if end.is_set() else abs(server.returncode or 0) or 1)


def _drop_rights(child: Child) -> str | None:
    """Become nobody, unless the server would then not reach what it needs; a note if this stays root."""
    owns: Sequence[str] = child.config.get("owns", ())
    for folder in owns:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        child.hand_over(folder)
    return child.drop_rights((*child.config.get("needs", ()), *owns))


def _own_folder(config: Mapping[str, Any]) -> str | None:
    if not any(FOLDER in part for part in (*map(str, config["argv"]), *config["environment"].values())):
        return None
    # Directly there: sockets are made in it, whose paths may have no more than a hundred characters.
    return tempfile.mkdtemp(prefix="changeover-", dir="/tmp")


def _remove(folder: str | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _begin(child: Child, folder: str | None, end: threading.Event) -> tuple[Place, subprocess.Popen[bytes], str | None]:
    """Start the server, and wait until it answers or has ended; again, on another port, where somebody else was quicker.

    Gives where it listens, its process, and what it says of itself.

    Raises:
        OSError: It cannot be started.
    """
    config = child.config
    chances = CHANCES
    while True:
        place: Place = config["socket"] if "socket" in config and "unix_argv" in config else _free_port()
        server, said = _start(config, place, child.secret, folder), None
        while not end.is_set() and server.poll() is None:
            said = _answer(place, config["ready_path"], child.secret)
            if said is not None:
                break
            end.wait(LOOK_EVERY_S)
        chances -= 1
        if server.poll() is None or end.is_set() or not chances or not _is_taken(place):
            return place, server, said
        print(f"warden: port {place} was taken meanwhile; another one is tried", file=sys.stderr, flush=True)
        _end_all(server)


def _start(config: Mapping[str, Any], place: Place, secret: str, folder: str | None) -> subprocess.Popen[bytes]:
    def filled(text: str) -> str:
        return text.replace(PORT, str(place)).replace(SOCKET, str(place)).replace(FOLDER, folder or "")

    said: Mapping[str, str] = config["environment"]
    environment = {name: filled(value).replace(SECRET, secret) for name, value in said.items()}
    # Same session as the warden: the supervisor kills both as one group when it has to.
    return subprocess.Popen(
        [filled(str(part)) for part in config["argv" if isinstance(place, int) else "unix_argv"]],
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


def _is_taken(place: Place) -> bool:
    """Whether somebody else has a port whose server has ended."""
    if isinstance(place, str):
        return False
    with socket.socket() as other:
        # Else the ends of our own looks at a server that is gone would be taken for somebody else.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", place))
        except OSError:
            return True
        return False


class _OnSocket(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(place: Place, timeout_s: float) -> HTTPConnection:
    return (
        HTTPConnection("127.0.0.1", place, timeout=timeout_s) if isinstance(place, int) else _OnSocket(place, timeout_s)
    )


def _answer(place: Place, path: str, secret: str) -> str | None:
    """None while it is not ready; else what it says of itself, which most servers do not."""
    connection = _connection(place, 2)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {secret}"})
        answer = connection.getresponse()
        return _field(answer.read(), "note") if answer.status == 200 else None
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def _take_steps(
    steps: Sequence[Mapping[str, Any]],
    place: Place,
    secret: str,
    server: subprocess.Popen[bytes],
    end: threading.Event,
) -> str | None:
    """Send what a server has to be told before it can do its work; why that failed, None if it did not.

    A step is `{"post": path, "json": body}`, or `{"post": path, "file": path}`. With `"unless": path`, it is left out
    where that is answered with 200: a HEAD, or with `"asked": body` a POST.
    """
    problems: list[str] = []
    # In a thread: one step may take minutes, and the end is not to wait for it.
    taking = threading.Thread(target=_take, args=(steps, place, secret, problems), daemon=True)
    taking.start()
    while taking.is_alive() and not end.is_set() and server.poll() is None:
        taking.join(LOOK_EVERY_S)
    return problems[0] if problems else None


def _take(steps: Sequence[Mapping[str, Any]], place: Place, secret: str, problems: list[str]) -> None:
    for step in steps:
        try:
            if _is_done(step, place, secret):
                continue
            if "file" in step:
                with open(step["file"], "rb") as file:
                    status, body = _sent(place, secret, "POST", step["post"], file, os.fstat(file.fileno()).st_size)
            else:
                status, body = _sent(place, secret, "POST", step["post"], json.dumps(step["json"]).encode())
        except (OSError, HTTPException) as exc:
            problems.append(f"`{step['post']}` was not answered: {exc}")
            return
        if status >= 300:
            problems.append(f"`{step['post']}` was refused with status {status}: {_field(body, 'error')[:300]}")
            return


def _is_done(step: Mapping[str, Any], place: Place, secret: str) -> bool:
    if "unless" not in step:
        return False
    asked = step.get("asked")
    body = None if asked is None else json.dumps(asked).encode()
    return _sent(place, secret, "HEAD" if body is None else "POST", step["unless"], body)[0] == 200


def _sent(
    place: Place, secret: str, method: str, path: str, body: bytes | IO[bytes] | None = None, length: int | None = None
) -> tuple[int, bytes]:
    connection = _connection(place, STEP_S)
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    if length is not None:
        headers |= {"content-type": "application/octet-stream", "content-length": str(length)}
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _field(body: bytes, name: str) -> str:
    """One text of a JSON object; empty where there is none."""
    try:
        fields: Any = json.loads(body)
    except ValueError:
        return ""
    value = cast("dict[str, Any]", fields).get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, str) else ""


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
