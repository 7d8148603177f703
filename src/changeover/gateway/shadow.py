"""Shadow traffic: answered requests are put to a candidate too, once the caller has its answer. Nobody gets that one.

A copy is asked for as the candidate would be asked, with its own prompt and parameters, and written down for those who
decide. It executes nothing: tools are described to the model, and what it calls is only recorded. It is charged to nobody,
and is the first to go where there is too much to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from msgspec.structs import replace

from changeover.core.clock import Clock
from changeover.core.errors import ChangeoverError, NotReadyError
from changeover.core.ids import new_id
from changeover.core.settings import Price
from changeover.gateway.admit import Admission
from changeover.gateway.choose import position
from changeover.gateway.dispatch import READY_POLL_S, Fleet, Trail, able, too_late
from changeover.gateway.endpoints import CHAT
from changeover.gateway.open import Asking, Opened, open_answer
from changeover.gateway.record import Draft, Recorder
from changeover.gateway.resolve import Call
from changeover.gateway.snapshot import LiveTask, Snapshots
from changeover.gateway.violations import NOT_IN_SHAPE
from changeover.gateway.visit import MICRO, Visit
from changeover.gateway.ways import Way
from changeover.serving.upstream import Upstream
from changeover.tasks.exchanges import Content, Exchange
from changeover.tasks.routes import Route

log = logging.getLogger(__name__)

LOOK_S = 0.2
"""A copy ends within this time after its candidate is one no more."""

Skipped = Literal["gateway_busy", "engine_busy", "at_once", "stopped"]
"""Why a request that was drawn has no copy: half of the gateway's places are taken; the engine has as many requests as
there may be copies; there are as many copies; it was begun, and the rollout or the gateway ended."""


def drawn(route: Route, request: str) -> bool:
    """Whether a request is among those that are copied: the same everywhere, and a larger share holds the smaller one."""
    return position(route.task, f"{route.salt}shadow", request) < route.shadow_share


@dataclass(frozen=True, kw_only=True, eq=False)
class Copy:
    """One request on its way to a candidate."""

    original: str
    call: Call
    """As the candidate is asked; its route revision is the one that was newest when the copy began."""
    way: Way
    body: bytes
    """As the caller sent it."""
    content: Content
    """What is kept of it: as much as of the original."""
    started_at: datetime
    started: float
    """Monotonic, seconds."""

    @property
    def live(self) -> LiveTask:
        return self.call.live


@dataclass(kw_only=True)
class Shadows:
    """The copies of one gateway. All of it happens in the event loop."""

    snapshots: Snapshots
    fleet: Fleet
    admission: Admission
    recorder: Recorder
    prices: Mapping[str, Price]
    clock: Clock
    skipped: Callable[[str, Skipped], None]
    """Told of every request that was drawn and left out, with its task."""
    _under_way: dict[asyncio.Task[None], Copy] = field(default_factory=dict[asyncio.Task[None], Copy])
    _stopping: bool = False

    @property
    def under_way(self) -> int:
        """Copies that wait for their answer."""
        return len(self._under_way)

    def consider(self, visit: Visit, content: Content) -> None:
        """Begin the copy of a request whose answer is on its way, if it is to have one. Never waits, never fails.

        Args:
            visit: Has ended, whatever its end.
            content: What is kept of its exchange's content.
        """
        call = visit.call
        if call is None or self._stopping or not _may_be_copied(visit, call):
            return
        live = self.snapshots.current.tasks.get(call.live.task.name)
        if live is None or live.route.candidate is None or not drawn(live.route, visit.id):
            return
        way = live.ways[live.route.candidate]
        upstream = self.fleet.upstream(way.variant.deployment)
        reason = self._why_not(live, upstream)
        if reason is not None:
            self.skipped(live.task.name, reason)
            return
        copy = Copy(
            original=visit.id,
            call=replace(
                call,
                id=new_id("req"),
                live=live,
                pinned=way.variant,
                stream=False,
                wants_usage=True,
                internal=True,
            ),
            way=way,
            body=visit.body,
            content=content,
            started_at=self.clock.now(),
            started=self.clock.monotonic(),
        )
        task = asyncio.get_running_loop().create_task(self._ask(copy, upstream))
        self._under_way[task] = copy
        task.add_done_callback(self._ended)

    async def run(self) -> None:
        """End copies whose candidate is one no more, until cancelled: its engine may be waited for to be idle."""
        while True:
            await asyncio.sleep(LOOK_S)
            for task, copy in list(self._under_way.items()):
                live = self.snapshots.current.tasks.get(copy.live.task.name)
                if live is None or live.route.candidate != copy.way.variant.id:
                    task.cancel()

    def stop(self) -> None:
        """Begin no more, and end those that are under way."""
        self._stopping = True
        for task in self._under_way:
            task.cancel()

    async def close(self) -> None:
        """Stop, and wait until none is under way."""
        self.stop()
        if self._under_way:
            await asyncio.wait(list(self._under_way))

    def _why_not(self, live: LiveTask, upstream: Upstream | None) -> Skipped | None:
        most = live.task.declared.shadow.at_once
        if 2 * self.admission.in_flight >= self.admission.most:
            return "gateway_busy"
        if sum(copy.live.task.name == live.task.name for copy in self._under_way.values()) >= most:
            return "at_once"
        if upstream is not None and upstream.in_flight >= most:
            return "engine_busy"
        return None

    async def _ask(self, copy: Copy, upstream: Upstream | None) -> None:
        timeout_s = copy.live.task.declared.timeout_s
        opened, error = None, None
        try:
            able(copy.call, ((None, copy.way),), Trail())
            async with asyncio.timeout(timeout_s):
                upstream = upstream or await self._woken(copy.way.variant.deployment)
                # No breaker is asked or told: what becomes of a copy is held against nobody who answers applications.
                opened = await open_answer(Asking(copy.call, "shadow", copy.way, upstream, (), timeout_s))
        except TimeoutError:
            error = too_late(copy.call)
        except ChangeoverError as exc:
            error = exc
        self.recorder.record(self._draft(copy, opened, error))

    async def _woken(self, deployment: str) -> Upstream:
        """The address of a candidate that was unloaded, once it is loaded again: it is not broken.

        Raises:
            NotReadyError: It cannot be loaded, or was never unloaded and cannot answer.
        """
        while self.fleet.wake(deployment):  # noqa: ASYNC110 - a fleet of another process offers no event
            await asyncio.sleep(READY_POLL_S)
        upstream = self.fleet.upstream(deployment)
        if upstream is None:
            raise NotReadyError(f"The engine of `{deployment}` is not ready.")
        return upstream

    def _ended(self, task: asyncio.Task[None]) -> None:
        copy = self._under_way.pop(task)
        if task.cancelled():
            self.skipped(copy.live.task.name, "stopped")
        elif (bug := task.exception()) is not None:
            log.error("shadow: the copy of %s failed in the gateway itself", copy.original, exc_info=bug)

    def _draft(self, copy: Copy, opened: Opened | None, error: ChangeoverError | None) -> Draft:
        """What is written down. Without an answer the candidate failed, whoever is blamed: somebody else had answered."""
        kept = copy.content in ("full", "redacted")
        body = None if opened is None else opened.body
        looked_at = kept or body is not None
        return Draft(
            self._exchange(copy, opened, error),
            copy.body if looked_at else None,
            None if body is None else (body,),
            len(copy.body) + len(body or b"") if looked_at else 0,
            keeps_content=kept,
            checks=copy.live.checks,
        )

    def _exchange(self, copy: Copy, opened: Opened | None, error: ChangeoverError | None) -> Exchange:
        variant, counts = copy.way.variant, None if opened is None else opened.counts
        prompt, completion = (None, None) if counts is None else (counts.prompt, counts.completion)
        price = None if opened is None else self.prices.get(variant.deployment)
        return Exchange(
            id=copy.call.id,
            task=copy.live.task.name,
            revision=copy.live.route.revision,
            variant=variant.id,
            deployment=variant.deployment,
            side="shadow",
            key=None,
            internal=True,
            stream=False,
            status=200 if error is None else error.status,
            error=None if error is None else error.code,
            error_source=None if error is None else error.source,
            truncated=False,
            abandoned=False,
            attempts=1,
            failed_variants=() if error is None else (variant.id,),
            started_at=copy.started_at,
            duration_ms=1000 * (self.clock.monotonic() - copy.started),
            first_chunk_ms=None,
            prompt_tokens=prompt,
            completion_tokens=completion,
            endpoint=copy.call.endpoint.name,
            usage_estimated=opened is not None and opened.estimated,
            cost_microusd=None if price is None else round(price.cost(prompt or 0, completion or 0) * MICRO),
            content=copy.content,
            violation=NOT_IN_SHAPE if error is not None and error.code == NOT_IN_SHAPE else None,
            shadow_of=copy.original,
        )


def _may_be_copied(visit: Visit, call: Call) -> bool:
    """Whether it was answered whole, by one model other than the candidate, and for an application."""
    opened = visit.opened
    return (
        call.endpoint is CHAT
        and call.pinned is None
        and not call.internal
        and visit.whole
        and opened is not None
        and not visit.begun
        and opened.side != "candidate"
    )
