"""A console that really runs, and somebody who looks at every page of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import psutil
from starlette.routing import compile_path

from changeover.console.app import PAGES

COMMAND = (sys.executable, "-m", "changeover")
PATIENCE_S = 120.0
MOST_OF_ROUTE = 3
"""Addresses of one page that are looked at."""
LINKS = re.compile(r'(?:href|data-live|hx-get)="(/[^"#]*)')
LATE = re.compile(r'hx-get="(/[^"#]*)"(?: hx-trigger="(load)")?')
"""What a page fetches by itself: once it is there, or whenever something has changed."""
LED = re.compile(r'href="(/[^"#]*)')
WITHOUT_SCRIPTS = re.compile(r"<noscript>.*?</noscript>", re.DOTALL)
APART = re.compile(r"^/(static|sign-|language)")
ROUTES = tuple((page.path, compile_path(page.path)[0]) for page in PAGES if "GET" in page.methods)
"""Every page that can be looked at, with what its addresses look like."""


@dataclass(frozen=True)
class Look:
    """One page that was asked for."""

    status: int
    first_ms: float
    """Until the first byte of the page was here."""
    cpu_ms: float
    """That the console computed for it, whoever else wanted the machine."""
    text: str


@dataclass
class Visitor:
    """Somebody who is signed in, in a connection that stays open."""

    process: psutil.Process
    port: int
    cookie: str = ""
    cold: dict[str, float] = field(default_factory=dict[str, float])
    """Of each address: what its very first look took, milliseconds."""
    late: set[str] = field(default_factory=set[str])
    """Addresses that pages fetch once they are there."""
    _connection: HTTPConnection | None = field(default=None, repr=False)

    def sign_in(self, key: str) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        headers = {"content-type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/sign-in", urlencode({"key": key}), headers)
        answer = connection.getresponse()
        assert answer.status == 303, answer.read().decode()
        self.cookie = answer.headers["set-cookie"].partition(";")[0]
        connection.close()

    def look(self, address: str) -> Look:
        """Ask for a page; once more where the connection had been given up meanwhile, as browsers do."""
        try:
            return self._look(address)
        except (ConnectionError, HTTPException):
            self.close()
            return self._look(address)

    def _look(self, address: str) -> Look:
        self._connection = self._connection or HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        computed = self._computed_ms()
        began = time.perf_counter()
        self._connection.request("GET", address, headers={"cookie": self.cookie})
        answer = self._connection.getresponse()
        lasting = answer.headers.get("content-type", "").startswith("text/event-stream")
        text = "" if lasting else answer.read(1).decode("latin-1")
        first_ms = 1000 * (time.perf_counter() - began)
        if lasting:
            answer.close()
            self.close()
        else:
            text += answer.read().decode("utf-8", "replace")
        self.cold.setdefault(address, first_ms)
        return Look(answer.status, first_ms, self._computed_ms() - computed, text)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _computed_ms(self) -> float:
        """What all threads of the console have computed so far; the system counts nanoseconds here and ticks elsewhere."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in threads) / 1e6


def route_of(address: str) -> str | None:
    """The page that an address belongs to; None: none of those that are looked at."""
    path = urlsplit(address).path
    return next((name for name, pattern in ROUTES if pattern.fullmatch(path)), None)


def addresses(visitor: Visitor, most: int = MOST_OF_ROUTE) -> dict[str, list[str]]:
    """Follow links from every page without parameters: at most so many addresses of each page that can be come to."""
    found: dict[str, list[str]] = {path: [path] for path, _ in ROUTES if "{" not in path}
    loaded: set[str] = set()
    renewed: set[str] = set()
    led: set[str] = set()
    waiting = [path for paths in found.values() for path in paths]
    while waiting:
        text = WITHOUT_SCRIPTS.sub("", visitor.look(waiting.pop(0)).text)
        for link, loads in LATE.findall(text):
            (loaded if loads else renewed).add(unescape(link))
        led |= {*map(unescape, LED.findall(text))}
        for link in linked(text):
            route = route_of(link)
            known = found.setdefault(route, []) if route is not None else None
            if known is not None and link not in known and len(known) < most:
                known.append(link)
                waiting.append(link)
    # A page that follows what happens fetches itself, too: that it is come to by a link says so.
    visitor.late = loaded | (renewed - led - {path for path, _ in ROUTES})
    return found


def linked(text: str) -> Sequence[str]:
    """Addresses of the console that a page names."""
    return [link for link in map(unescape, LINKS.findall(text)) if not APART.match(link)]


@contextmanager
def running_console(project: Path) -> Generator[Visitor]:
    """The console of a project, and somebody who may see all of it."""
    with _process(project, "console", "--json", "--port", "0") as (process, said):
        visitor = Visitor(psutil.Process(process.pid), int(str(urlsplit(said["address"]).port)))
        secrets = json.loads((project / ".changeover" / "keys.json").read_text())
        visitor.sign_in(secrets.get("admin") or secrets["operator"])
        try:
            yield visitor
        finally:
            visitor.close()


@contextmanager
def running_system(project: Path) -> Generator[None]:
    """The project's gateway and those of its engines that shall run."""
    with _process(project, "up", "--json", "--until-stdin-closes"):
        yield


@contextmanager
def _process(project: Path, *command: str) -> Generator[tuple[subprocess.Popen[str], Mapping[str, str]]]:
    with (project / f"{command[0]}.log").open("a") as log:
        process = subprocess.Popen(
            (*COMMAND, *command),
            cwd=project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        line = process.stdout.readline()
        assert line, (project / f"{command[0]}.log").read_text()
        yield process, json.loads(line)
    finally:
        process.stdin.close()
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.close()
