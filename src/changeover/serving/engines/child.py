"""What every engine process does first and last: take its configuration, lose its rights, end with its parent.

Nothing here may import what takes long: it runs before the engine.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_NOBODY = 65534


class Child:
    """This process, as its parent sees it."""

    def __init__(self, at_end: Callable[[], object] | None = None, *, dies_by: signal.Signals = signal.SIGKILL) -> None:
        """Read the configuration, and end with the parent from now on.

        Whatever is printed from here on, by native code too, goes to standard error: the parent expects one line.

        Args:
            at_end: Called, in a thread of its own, when the parent wants the end or is gone; None: this process ends.
            dies_by: The signal that the kernel sends when the parent dies. One that can be caught lets a process end what
                it has started itself.
        """
        self._dies_by = dies_by
        self._answers = os.dup(1)
        os.dup2(2, 1)
        _forbid_more_rights()
        self.config: dict[str, Any] = json.loads(_first_line())
        self._parent: int = self.config.pop("parent")
        self.secret: str = self.config.pop("secret")
        _end_with(self._parent, dies_by)
        threading.Thread(target=_at_eof, args=(at_end or _end_now,), name="life line", daemon=True).start()

    def hand_over(self, path: str) -> None:
        """Give a file or folder to whoever this process becomes."""
        if os.geteuid() == 0:
            with contextlib.suppress(OSError):
                os.chown(path, _NOBODY, _NOBODY)

    def drop_rights(self, needs: Sequence[str] = ()) -> str | None:
        """Become nobody if this is root; a note for people if that is not possible here.

        Args:
            needs: Files and folders, with all that is in them, that must be readable afterwards; if one would not be, this
                stays root. What is not there is left out.
        """
        if os.geteuid() != 0:
            return None
        closed = _closed_to_nobody(needs)
        if closed is not None:
            _end_with(self._parent, self._dies_by)
            return f"runs as root: no other user can read `{closed}`"
        try:
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
        except OSError as exc:
            return f"runs as root: this machine does not let it become another user ({exc.strerror})"
        _end_with(self._parent, self._dies_by)  # the kernel forgets it when the user changes
        return None

    def listen(self, backlog: int) -> socket.socket:
        """A listening socket: where this process was told to, or on a free port that only this machine reaches.

        Raises:
            OSError: There is none to be had.
        """
        path: str | None = self.config.get("socket")
        if path is None:
            return socket.create_server(("127.0.0.1", 0), backlog=backlog)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(backlog)
        return listener

    def ready(self, port: int, note: str | None) -> None:
        """Tell the parent that requests can come."""
        self._say({"ready": True, "port": port, "note": note})

    def say_anything(self, words: bytes) -> None:
        """Say to the parent what it does not expect: for rehearsals."""
        os.write(self._answers, words)

    def failed(self, reason: str) -> NoReturn:
        """Tell the parent why there will be no engine, and end."""
        with contextlib.suppress(OSError):
            self._say({"ready": False, "error": reason})
        os._exit(1)

    def _say(self, what: dict[str, Any]) -> None:
        os.write(self._answers, json.dumps(what).encode() + b"\n")
        os.close(self._answers)


def _closed_to_nobody(paths: Sequence[str]) -> str | None:
    """The first of some paths that an unprivileged user could not read; None if it could read all, or cannot be asked."""
    there = [path for path in paths if os.path.exists(path)]
    try:
        os.setegid(_NOBODY)
        os.seteuid(_NOBODY)
        return next((closed for path in there if (closed := _closed(path)) is not None), None)
    except OSError:
        return None
    finally:
        os.seteuid(0)
        os.setegid(0)


def _closed(path: str) -> str | None:
    """The first that this user may not read of a path and of what is in it."""
    if not os.access(path, os.R_OK, effective_ids=True):
        return path
    if not os.path.isdir(path):
        return None
    if not os.access(path, os.X_OK, effective_ids=True):
        return path
    with os.scandir(path) as inside:
        return next((closed for each in inside if (closed := _closed(each.path)) is not None), None)


def _forbid_more_rights() -> None:
    """No core files (they would hold prompts), no rights by set-user-id programs, no terminal signals."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _end_with(parent: int, by: signal.Signals) -> None:
    """Get a signal when the parent dies, however it dies. SIGKILL works while native code holds the interpreter, too."""
    _prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:  # it died before we asked
        _end_now()


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _first_line() -> bytes:
    """Read without `sys.stdin`: its lock, held by the waiting thread below, would break an orderly exit."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 65536) or _end_now()
    return line


def _at_eof(then: Callable[[], object]) -> None:
    """The parent holds the other end of standard input and never writes again: its end means ours."""
    while os.read(0, 4096):
        pass
    then()


def _end_now() -> NoReturn:
    os._exit(0)
