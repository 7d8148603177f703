"""What a gateway under measurement is, how one is started, and when it answers."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.gateway.load import EXPECT, Target, body
from benchmarks.gateway.process import Cores, NotStartedError, said

START_S = 90.0
POLL_S = 0.005


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a gateway runs and what it forwards to."""

    directory: Path
    """Its own, empty."""
    cores: Cores
    upstream: int
    """Port of the upstream on loopback."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A gateway that answers."""

    target: Target
    start_s: float | None = None
    """From the start of its process to its first answer."""


class Gateway(Protocol):
    """One row of the table."""

    @property
    def name(self) -> str:
        """As `--peers` and the JSON take it."""
        ...

    @property
    def title(self) -> str:
        """With its version, as the table shows it."""
        ...

    def install(self, *, now: bool) -> None:
        """Have it on this machine; without `now` only if it is there already.

        Raises:
            UnavailableError: It is not there and cannot be installed.
        """
        ...

    def running(self, place: Place) -> AbstractContextManager[Running]:
        """Run it for the time of the block.

        Raises:
            NotStartedError: It does not come to answer.
        """
        ...


def first_answer(target: Target, began: float, directory: Path, ended: Callable[[], int | None]) -> Running:
    """Ask until it answers as it should.

    Args:
        target: Whom to ask.
        began: When its process was started, on the monotonic clock.
        directory: Where its log is.
        ended: Its exit status once it has ended.

    Raises:
        NotStartedError: It ended, or said nothing right within `START_S`.
    """
    last = "no connection"
    while time.monotonic() - began < START_S:
        if ended() is not None:
            raise NotStartedError(f"it ended with {ended()}: {said(directory)}")
        try:
            status, text = _ask(target)
        except OSError:
            pass
        except http.client.HTTPException as exc:
            last = repr(exc)
        else:
            if status == 200 and EXPECT.encode() in text:
                return Running(target=target, start_s=time.monotonic() - began)
            last = f"{status} {text[:300]!r}"
        time.sleep(POLL_S)
    raise NotStartedError(f"no answer within {START_S:g} s; the last: {last}; its log: {said(directory)}")


def _ask(target: Target) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=START_S)
    try:
        headers = {"content-type": "application/json", **target.headers}
        connection.request("POST", target.path, body(target.model, "plain"), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
