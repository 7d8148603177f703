"""The fleet: brings what runs in line with the deployments that were asked for, and writes down what it sees."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from changeover.core.clock import Clock, span
from changeover.core.errors import ChangeoverError, EngineError, StoreError
from changeover.core.sizes import in_gib
from changeover.core.threads import in_thread
from changeover.library.catalogue import Catalogue
from changeover.serving.deployments import plan_from_row
from changeover.serving.eviction import Need, NoRoom, Unload
from changeover.serving.occupancy import Bounds, Occupancy, Terms
from changeover.serving.queries import ASKED_AGAIN, Deployment, all_deployments, needs, note_state
from changeover.serving.supervisor import DeploymentStatus, Supervisor
from changeover.serving.upstream import Upstream
from changeover.store.engine import Store
from changeover.store.glance import Glance

log = logging.getLogger(__name__)

TICK_S = 0.25
SAY_S = 60.0
"""How often the log says that an engine that shall stop still has requests. It is stopped by their count, never by a clock."""


class Fleet:
    """All engines of this installation. The gateway asks it for addresses."""

    def __init__(
        self,
        store: Store,
        load_catalogue: Callable[[], Catalogue],
        cache: Path,
        supervisor: Supervisor,
        clock: Clock,
        *,
        leave: Callable[[str], Awaitable[None]] | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """Set up; nothing runs yet.

        Args:
            store: Holds the deployments that were asked for.
            load_catalogue: Reads the cards as they are now; called in a thread.
            cache: Where weights are.
            supervisor: Runs the engines.
            clock: Dates what is written down.
            leave: Awaited before an engine is stopped: returns once no other process has a request there.
            bounds: Of memory, and of how long an engine may stay that nobody asks for.
        """
        self._store = store
        self._glance = Glance(store)
        self._rows: list[Deployment] = []
        """As they were read last."""
        self._leave = leave
        self._load_catalogue = load_catalogue
        self._cache = cache
        self._supervisor = supervisor
        self._clock = clock
        self._started: set[str] = set()
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._ending: set[str] = set()
        """Of those that are stopping: the ones whose process is being ended, beyond recall."""
        self._due = asyncio.Event()
        """Set when one has stopped, since another may wait for its memory, and when one is asked for that is unloaded."""
        self._occupancy = Occupancy(supervisor, bounds or Bounds())
        supervisor.has_room = self._has_room_twice
        self._wanted: set[str] = set()
        """Unloaded ones that somebody asks for, until they can answer."""
        self._no_room: dict[str, str] = {}
        """Of those the ones that memory does not hold, and what was written down of it."""
        self._waiting: dict[str, str] = {}
        """Those that wait for room, and what was written down of it."""
        self._seen: dict[str, DeploymentStatus] = {}

    def upstream(self, name: str) -> Upstream | None:
        """The address of a deployment, None while it cannot answer."""
        return self._supervisor.upstream(name)

    def is_ready(self, name: str) -> bool:
        """Whether a deployment can answer, if need be once it is loaded again."""
        return self._supervisor.upstream(name) is not None or self._can_be_woken(name)

    def wake(self, name: str) -> bool:
        """Have a deployment loaded again that was unloaded. False if it was not, or memory does not hold it now."""
        name = self._supervisor.engine_of(name)
        if not self._can_be_woken(name):
            return False
        if name not in self._wanted:
            self._wanted.add(name)
            self._due.set()
        return True

    def asleep(self) -> frozenset[str]:
        """Those that can be woken."""
        return frozenset(name for name in self._started if self._can_be_woken(name))

    def _can_be_woken(self, name: str) -> bool:
        return self._supervisor.asleep(name) and self._supervisor.engine_of(name) not in self._no_room

    def statuses(self) -> list[DeploymentStatus]:
        """What the supervisor sees now."""
        return self._supervisor.statuses()

    async def run(self) -> None:
        """Reconcile for ever. A store that is gone changes nothing: what runs goes on running."""
        while True:
            try:
                await self._see_to_memory()  # first: it needs no store
                await self.reconcile()
            except StoreError as exc:
                self._glance.forget()
                log.warning("deployments: %s", exc)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._due.wait()
            self._due.clear()

    async def reconcile(self) -> None:
        """Look once: start, stop, write down."""
        if self._glance.tells_news():
            self._rows, self._occupancy.needed_as = await in_thread(self._read_rows)
        rows = self._rows
        # What goes comes first: in an exchange the other one must see that it has to wait.
        for row in rows:
            if row.desired == "stopped" and row.name in self._started:
                self._started.discard(row.name)
                self._stopping[row.name] = asyncio.create_task(self._stop(row.name))
        for row in rows:
            waits = row.name not in self._started or (row.state == ASKED_AGAIN and self._gave_up(row.name))
            if row.desired != "running" or not waits:
                self._waiting.pop(row.name, None)
            elif row.name not in self._stopping:
                await self._start(row)
            elif row.name not in self._ending:
                await self._keep_on(row.name)
        names = {row.name for row in rows}
        fresh = {status.name: status for status in self._supervisor.statuses() if status.name in names}
        if changed := [each for name, each in fresh.items() if self._differs(self._seen.get(name), each)]:
            await in_thread(partial(self._note, changed))
            self._seen = fresh

    def _gave_up(self, name: str) -> bool:
        states = {status.name: status.state for status in self._supervisor.statuses()}
        return states.get(name, "failed") == "failed"

    async def _start(self, row: Deployment) -> None:
        if row.name in self._waiting and await self._must_wait(row.name):
            return
        try:
            # Read anew: a card may have been written since this process began.
            catalogue = await in_thread(self._load_catalogue)
            plan = plan_from_row(row, catalogue, self._cache)
            make = partial(Terms.of, plan, row.memory_bytes, self._occupancy.bounds)
            self._occupancy.know(row.name, await in_thread(make))
            if await self._must_wait(row.name):
                return
            self._started.add(row.name)
            await self._supervisor.ensure(plan)
        except ChangeoverError as exc:
            # It cannot even be planned: say so in its row and leave the others alone.
            self._started.add(row.name)
            await in_thread(partial(self._note_state, row.name, "failed", exc.message))

    async def _must_wait(self, name: str) -> bool:
        """Whether an engine has to wait for the memory of others, which are unloaded for it where nobody needs them.

        Its row says so then. Where nothing goes, waiting would help nobody: whoever asked for it was told that it does not
        fit, or the budget has become smaller since.
        """
        decision = self._occupancy.room_for(name, self._here())
        said = self._wait_for(name, decision)
        if said is None:
            self._waiting.pop(name, None)
            if isinstance(decision, NoRoom):
                log.warning("%s: %s", name, decision.fit)
            return False
        if self._waiting.get(name) != said:
            self._waiting[name] = said
            await in_thread(partial(self._note_state, name, ASKED_AGAIN, said))
        return True

    def _wait_for(self, name: str, decision: Unload | NoRoom) -> str | None:
        """What an engine waits for, as a person reads it; None: for nothing. Unloads those that go for it."""
        if isinstance(decision, Unload):
            for each in decision.names:
                if self._supervisor.unload(each, f"unloaded to make room for {name}"):
                    log.info("%s: unloaded, nobody needs it and %s has no room beside it", each, name)
            return f"waits for the memory of {', '.join(decision.names)}" if decision.names else None
        if self._stopping:
            return f"waits for the memory of {', '.join(sorted(self._stopping))}: {decision.fit}"
        if decision.until_rest:
            return f"waits until {', '.join(decision.until_rest)} can be unloaded: {decision.fit}"
        return None

    def _here(self) -> set[str]:
        """Deployments that hold memory, or are about to."""
        return {name for name in self._started if self._supervisor.loaded(name)} | self._stopping.keys()

    def _has_room_twice(self, name: str, held: int) -> bool:
        return self._occupancy.has_room_twice(name, held, self._here())

    async def _see_to_memory(self) -> None:
        """Unload what nobody asks for, load what somebody does, and start anew what leaks."""
        for name, allowed_s in self._occupancy.idle(self._started).items():
            if self._supervisor.unload(name, f"unloaded after {span(allowed_s)} without a request"):
                log.info("%s: unloaded, nobody asked for it", name)
        for name, (held, limit) in self._occupancy.leaking(self._started).items():
            beside = self._has_room_twice(name, held)
            self._supervisor.renew(name, f"took {in_gib(held)}, and may take {in_gib(limit)}", beside=beside)
        for name in sorted(self._wanted | self._no_room.keys()):
            await self._wake(name)

    async def _wake(self, name: str) -> None:
        if not self._supervisor.asleep(name) or name not in self._started:
            self._wanted.discard(name)
            self._no_room.pop(name, None)
            return
        if self._supervisor.loaded(name):
            return  # it wakes
        decision = self._occupancy.room_for(name, self._here())
        said = self._wait_for(name, decision) if name in self._wanted else None
        if name in self._wanted and decision == Unload():
            self._supervisor.wake(name)
        elif isinstance(decision, NoRoom) and said is None:
            self._wanted.discard(name)
            if name not in self._no_room:
                self._no_room[name] = f"unloaded, and not loaded again: {decision.fit}"
                log.warning("%s: %s", name, self._no_room[name])
                with contextlib.suppress(StoreError):
                    await in_thread(partial(self._note_state, name, "idle", self._no_room[name]))
        if not isinstance(decision, NoRoom):
            self._no_room.pop(name, None)

    async def _stop(self, name: str) -> None:
        saying = asyncio.create_task(self._say_that_it_waits(name))
        try:
            await self._supervisor.drain(name)
            if self._leave is not None:
                for each in (name, *self._supervisor.riders(name)):
                    await self._leave(each)
            self._ending.add(name)
            await self._supervisor.stop(name, drain_s=0)
        except EngineError:
            pass  # it was never started: there is nothing to stop
        finally:
            saying.cancel()
            self._ending.discard(name)
            del self._stopping[name]
            self._due.set()

    async def _keep_on(self, name: str) -> None:
        """It was to be stopped and shall run after all, while its last requests were under way: nothing has to be loaded."""
        task = self._stopping[name]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(EngineError):
            self._supervisor.keep_on(name)
            self._started.add(name)

    async def _say_that_it_waits(self, name: str) -> None:
        while True:
            await asyncio.sleep(SAY_S)
            here = self._supervisor.in_flight(name)
            log.warning("%s: not stopped yet, requests are under way there (%d of this process)", name, here)

    def _read_rows(self) -> tuple[list[Deployment], Mapping[str, Need]]:
        with self._store.read() as connection:
            return all_deployments(connection), needs(connection)

    def _note(self, changed: list[DeploymentStatus]) -> None:
        """Write states that are others than were last written."""
        with self._store.write() as connection:
            for status in changed:
                note_state(
                    connection,
                    status.name,
                    state=status.state,
                    detail=status.detail,
                    address=status.address,
                    pid=status.pid,
                    restarts=status.restarts,
                    # Of one that loads it says nothing about what it will need.
                    memory_bytes=status.memory_bytes if status.state == "ready" else None,
                    now=self._clock.now(),
                )

    def _note_state(self, name: str, state: str, reason: str) -> None:
        with self._store.write() as connection:
            note_state(connection, name, state=state, detail=reason, now=self._clock.now())

    @staticmethod
    def _differs(before: DeploymentStatus | None, now: DeploymentStatus) -> bool:
        """Whether a change is worth a write: memory that moves by a few per cent is not."""
        if before is None:
            return True
        if (before.state, before.detail, before.pid, before.restarts) != (now.state, now.detail, now.pid, now.restarts):
            return True
        return abs((before.memory_bytes or 0) - (now.memory_bytes or 0)) > 0.1 * (before.memory_bytes or 1)
