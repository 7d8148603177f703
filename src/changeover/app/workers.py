"""Several gateways on one address: started, told where engines are, started again when they die or hang, stopped together.

All of them accept from one listening socket. So a worker that dies takes with it the connections that it had accepted,
and no others: what waits in the socket's queue is taken by the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import final
from weakref import WeakKeyDictionary, WeakSet

import msgspec

from changeover.app.gateway import DRAIN_S, METRICS_DIRECTORY
from changeover.app.local import make_private
from changeover.app.logs import register_secret
from changeover.app.worker import Order, Said, Setup, Where
from changeover.core.errors import ChangeoverError
from changeover.core.settings import Project
from changeover.serving.patch import Patch
from changeover.serving.upstream import Client, ClientKind, Upstream, make_client
from changeover.serving.upstream.base import Address

log = logging.getLogger(__name__)

TELL_S = 0.05
"""How often it is looked for engines that came or went without a word."""
READY_S = 60.0
STEADY_S = 10.0
"""A worker that lived for so long is started again at once; another one after a growing pause."""
FIRST_PAUSE_S, MOST_PAUSE_S = 0.2, 10.0
SILENT_S = 15.0
"""A worker that has said nothing for so long hangs. It says something every half second; what delays that on a machine
whose cores and disks are all busy is seconds. One that is killed wrongly breaks its callers' answers; one that hangs has
accepted no new connection, so only those that it holds wait."""
FIRST_WORD_S = READY_S
"""The same for one that is starting: its libraries may have to come from a slow disk."""
MOST_STEP_S = 1.0
"""What lies between two looks and is longer, this process has slept through; only so much of it counts as silence."""
KILL_AFTER_S = DRAIN_S + 5
"""A worker that has not ended by then, after it was asked to, does not hear."""
MOST_LINE_BYTES = 1 << 20


@final
class Addresses:
    """The client of a supervisor whose engines other processes call: knows how each is reached, and who heard it."""

    def __init__(self, kind: ClientKind) -> None:
        self._kind: ClientKind = kind
        self._client: Client | None = None
        self._lives = 0
        self._where: WeakKeyDictionary[Upstream, Where] = WeakKeyDictionary()
        self._made: dict[str, WeakSet[Upstream]] = {}
        """By deployment: several, while one process takes over from another."""

    def upstream(
        self,
        name: str,
        base_url: str,
        secret: str | None,
        model: str | None,
        *,
        probe_path: str = "/v1/models",
        socket: str | None = None,
        patch: Patch | None = None,
    ) -> Upstream:
        """The way to one engine. See `Client.upstream`."""
        if self._client is None:
            self._client = make_client(self._kind)
        made = self._client.upstream(name, base_url, secret, model, probe_path=probe_path, socket=socket, patch=patch)
        self._lives += 1
        self._where[made] = Where(
            base_url=base_url, secret=secret, model=model, life=self._lives, socket=socket, patch=patch
        )
        self._made.setdefault(name, WeakSet()).add(made)
        register_secret(secret)
        return made

    async def close(self) -> None:
        """Close all connections of this process."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def where(self, upstream: Upstream) -> Where:
        """How other processes reach an engine."""
        return self._where[upstream]

    def hear(self, name: str, pieces: int) -> None:
        """Another process has got pieces of answers from a deployment: whoever watches it shall not take it for hung."""
        for upstream in self._made.get(name, ()):
            if isinstance(upstream, Address):
                upstream.heard += pieces

    def asked(self, name: str) -> None:
        """Another process has, or had, a request at a deployment: it is not idle."""
        for upstream in self._made.get(name, ()):
            if isinstance(upstream, Address):
                upstream.answered += 1


@dataclass(frozen=True)
class Engines:
    """What workers have to know of engines, and what they may want of them."""

    upstreams: Callable[[], Mapping[str, Upstream]]
    """All that can answer now, by deployment."""
    asleep: Callable[[], frozenset[str]]
    """Deployments that can answer once they are woken."""
    wake: Callable[[str], object]


@final
class Silence:
    """How long a worker has said nothing, by the time that this process was awake: while it slept it heard nobody."""

    def __init__(self) -> None:
        self._lasted_s = 0.0
        self._bound_s = FIRST_WORD_S

    def end(self) -> None:
        """It has said something."""
        self._lasted_s, self._bound_s = 0.0, SILENT_S

    def too_long(self, since_last_look_s: float) -> bool:
        """Whether it hangs; called at every look."""
        self._lasted_s += min(since_last_look_s, MOST_STEP_S)
        return self._lasted_s > self._bound_s


@dataclass(eq=False)
class _One:
    """One worker, whichever process it is at the moment."""

    number: int
    process: asyncio.subprocess.Process | None = None
    """None while there is none."""
    told: tuple[Mapping[str, Where], frozenset[str]] | None = None
    """Engines that can answer, and those that can be woken; None: nothing yet."""
    left: dict[int, asyncio.Event] = field(default_factory=dict[int, asyncio.Event])
    """By number of the order to leave a deployment; set when nothing of it is in flight there."""
    ready: bool = False
    silence: Silence = field(default_factory=Silence)

    def say(self, message: Setup | Order) -> None:
        stdin = None if self.process is None else self.process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(msgspec.json.encode(message) + b"\n")

    def signal(self, number: int) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def gone(self) -> None:
        """Nothing of it is in flight anywhere any more."""
        self.process, self.ready = None, False
        for event in self.left.values():
            event.set()
        self.left.clear()


class Workers:
    """All workers of one system."""

    def __init__(self, project: Project, count: int, addresses: Addresses, engines: Engines) -> None:
        """Set up; nothing runs yet.

        Args:
            project: Its settings are the workers'.
            count: How many.
            addresses: Made the upstreams.
            engines: What they are told of, and may want woken.
        """
        self._project = project
        self._addresses = addresses
        self._known = engines
        self._all = [_One(number) for number in range(1, count + 1)]
        self._listener: socket.socket | None = None
        self._stopping = False
        self._leaves = 0
        self._changed = asyncio.Event()
        """Set when one became ready, and when they shall stop."""

    async def serve(self, listener: socket.socket) -> None:
        """Keep them answering until `stop`; then answers under way end, and so do they."""
        self._listener = listener
        self._clear_metrics()
        tasks = [asyncio.create_task(self._keep(one, listener)) for one in self._all]
        looking = asyncio.create_task(self._look())
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in (*tasks, looking):
                task.cancel()
            await asyncio.gather(*tasks, looking, return_exceptions=True)

    async def ready(self) -> None:
        """Wait until all of them answer, or `stop` was called.

        Raises:
            ChangeoverError: It takes too long.
        """
        try:
            async with asyncio.timeout(READY_S):
                while not self._stopping and not all(one.ready for one in self._all):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            late = ", ".join(str(one.number) for one in self._all if not one.ready)
            raise ChangeoverError(f"Workers not ready within {READY_S:g} s: `{late}`. The log says why.") from None

    def stop(self) -> None:
        """Begin to drain; a second call does not wait for answers under way."""
        if not self._stopping:
            asyncio.get_running_loop().call_later(KILL_AFTER_S, self._signal, signal.SIGKILL)
        self._stopping = True
        self._changed.set()
        if self._listener is not None:
            self._listener.close()  # else the kernel would go on taking connections that nobody answers
        self._signal(signal.SIGTERM)

    def tell(self) -> None:
        """Tell all workers at once which engines can answer now."""
        told = self._engines(), self._known.asleep()
        for one in self._all:
            if one.process is not None and one.told != told:
                one.told = told
                one.say(Order(engines=told[0], asleep=told[1]))

    async def leave(self, name: str) -> None:
        """Wait until no worker has a request in flight at a deployment that gets no new ones any more."""
        self.tell()
        self._leaves += 1
        waits: list[asyncio.Event] = []
        for one in self._all:
            if one.process is not None:
                event = one.left[self._leaves] = asyncio.Event()
                waits.append(event)
                one.say(Order(leave=name, number=self._leaves))
        # By count, however long it takes; a worker that dies has none in flight.
        for event in waits:
            await event.wait()

    async def _keep(self, one: _One, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_S
        while not self._stopping:
            began = loop.time()
            ended = await self._live(one, listener)
            if self._stopping:
                return
            steady = loop.time() - began >= STEADY_S
            pause = FIRST_PAUSE_S if steady else min(2 * pause, MOST_PAUSE_S)
            log.warning("gateway worker %d %s; it is started again", one.number, ended)
            await asyncio.sleep(0 if steady else pause / 2)

    async def _live(self, one: _One, listener: socket.socket) -> str:
        """One life of a worker's process; says how it ended."""
        try:
            process = await asyncio.create_subprocess_exec(
                # The number is only for people who look at the list of processes.
                *(sys.executable, "-m", "changeover.app.worker", str(one.number)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C is for the parent, which lets them drain
                limit=MOST_LINE_BYTES,
            )
        except (OSError, ValueError) as exc:  # no more processes, or the listener was closed meanwhile
            return f"cannot be started: {exc}"
        one.process, one.silence = process, Silence()
        try:
            engines = self._engines()
            one.told = engines, frozenset()
            one.say(self._setup(one, listener, engines))
            if self._stopping:
                one.signal(signal.SIGTERM)
            await self._hear(one, process)
            status = await process.wait()
        finally:
            one.gone()
            if process.returncode is None:
                process.kill()
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"

    def _setup(self, one: _One, listener: socket.socket, engines: Mapping[str, Where]) -> Setup:
        project = self._project
        return Setup(
            number=one.number,
            listener=listener.fileno(),
            root=str(project.root),
            cache=str(project.cache),
            settings=msgspec.Raw(project.settings.model_dump_json().encode()),
            engines=engines,
        )

    async def _hear(self, one: _One, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None, "it is a pipe"
        while line := await process.stdout.readline():
            said = msgspec.json.decode(line, type=Said)
            one.silence.end()
            if said.ready:
                one.ready = True
                self._changed.set()
            if said.left is not None and said.left in one.left:
                one.left.pop(said.left).set()
            for name, pieces in said.heard.items():
                self._addresses.hear(name, pieces)
            for name in said.asked:
                self._addresses.asked(name)
            for name in said.wake:
                self._known.wake(name)

    async def _look(self) -> None:
        """Tell of engines that came or went without a word, and end workers that hang: what died or hangs says nothing."""
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while True:
            self.tell()
            before, looked = looked, loop.time()
            self._end_silent(looked - before)
            await asyncio.sleep(TELL_S)

    def _end_silent(self, since_last_look_s: float) -> None:
        for one in self._all:
            if one.process is not None and one.silence.too_long(since_last_look_s):
                log.warning("gateway worker %d hangs: no sign of life for too long; it is killed", one.number)
                one.signal(signal.SIGKILL)
                one.silence = Silence()  # the kernel may need a while; it is not said at every look

    def _engines(self) -> dict[str, Where]:
        return {name: self._addresses.where(upstream) for name, upstream in self._known.upstreams().items()}

    def _signal(self, number: int) -> None:
        for one in self._all:
            one.signal(number)

    def _clear_metrics(self) -> None:
        directory = self._project.state / METRICS_DIRECTORY
        shutil.rmtree(directory, ignore_errors=True)
        make_private(directory)
