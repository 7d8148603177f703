"""The door: an ASGI application whose order of stages is written once, in `Door._answer`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from changeover.core.clock import Clock
from changeover.core.errors import ChangeoverError, RequestError, UpstreamError
from changeover.core.ids import new_id
from changeover.core.settings import GatewaySettings
from changeover.gateway.admit import Admission
from changeover.gateway.authenticate import authenticate
from changeover.gateway.choose import choose, order
from changeover.gateway.dispatch import Fleet, Limits, Opened, Trail, dispatch
from changeover.gateway.envelope import refuse
from changeover.gateway.http import ClientGone, Headers, Receive, Scope, Send, header, read_body, send_json
from changeover.gateway.keys import Key, Keyring
from changeover.gateway.record import Draft, Recorder
from changeover.gateway.relay import Delivery, break_off, relay
from changeover.gateway.resolve import Call, pinned_variant, resolve
from changeover.gateway.snapshot import Snapshot, Snapshots
from changeover.serving.variants import Variant
from changeover.tasks.exchanges import Exchange
from changeover.tasks.routes import Side

log = logging.getLogger(__name__)


@dataclass
class Visit:
    """One request on its way through the stages: what the record is made from, whatever the end."""

    id: str
    started_at: datetime
    started: float
    call: Call | None = None
    body: bytes = b""
    opened: Opened | None = None
    trail: Trail = field(default_factory=Trail)
    delivery: Delivery = field(default_factory=Delivery)
    status: int = 200
    error: ChangeoverError | None = None
    abandoned: bool = False


class Door:
    """Answers every request of every application."""

    def __init__(
        self,
        *,
        settings: GatewaySettings,
        snapshots: Snapshots,
        keyring: Keyring,
        fleet: Fleet,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._snapshots = snapshots
        self._keyring = keyring
        self._fleet = fleet
        self._recorder = recorder
        self._clock = clock
        self.admission = Admission(settings.max_in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route by path and method; nothing else of the address is looked at."""
        visit = Visit(id=new_id("req"), started_at=self._clock.now(), started=self._clock.monotonic())
        path, method = scope["path"], scope["method"]
        try:
            if path == "/healthz" and method in ("GET", "HEAD"):
                await self._health(send)
            elif path == "/v1/models" and method == "GET":
                await self._models(scope, send, visit)
            elif path == "/v1/chat/completions" and method == "POST":
                await self._chat(scope, receive, send, visit)
            else:
                raise _no_such_route(path, method)
        except ChangeoverError as error:
            await refuse(send, error, visit.id, _id_header(visit))

    async def _health(self, send: Send) -> None:
        # The state of the store is shown and is no reason to fail: answers go on from the last snapshot.
        await send_json(
            send,
            200,
            {
                "status": "ok",
                "route_revision": self._snapshots.current.revision,
                "store_stale": self._snapshots.stale,
                "records_waiting": self._recorder.waiting,
                "records_without_content": self._recorder.dropped_content,
                "records_lost": self._recorder.lost,
            },
        )

    async def _models(self, scope: Scope, send: Send, visit: Visit) -> None:
        authenticate(header(scope, b"authorization"), self._keyring)
        tasks = self._snapshots.current.tasks
        models = [
            {"id": name, "object": "model", "created": int(live.route.created_at.timestamp()), "owned_by": "changeover"}
            for name, live in sorted(tasks.items())
        ]
        await send_json(send, 200, {"object": "list", "data": models}, _id_header(visit))

    async def _chat(self, scope: Scope, receive: Receive, send: Send, visit: Visit) -> None:
        try:
            with _in_our_words(visit):
                await self._answer(scope, receive, send, visit)
        except ClientGone:
            visit.abandoned = True
        except ChangeoverError as error:
            visit.error, visit.status = error, error.status
            if not visit.delivery.started:
                raise
            await break_off(send, error, visit.id, visit.delivery)
        finally:
            self._record(visit)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, visit: Visit) -> None:
        """Authenticate → resolve → admit → choose → dispatch → relay; `_chat` records, whatever the end."""
        key = authenticate(header(scope, b"authorization"), self._keyring)
        visit.body = await read_body(scope, receive, int(self._settings.max_body_mib * (1 << 20)))
        snapshot = self._snapshots.current
        visit.call = call = await self._resolve(visit, key, snapshot)
        limits = Limits(ready_wait_s=self._settings.ready_wait_s, clock=self._clock)
        with self.admission.admit():
            async with (
                _while_caller_stays(receive, visit),
                _within(call.live.task.declared.timeout_s),
                dispatch(call, _turns(call), self._fleet, visit.trail, limits) as opened,
            ):
                visit.opened = opened
                await relay(call, opened, send, _headers(visit, call, opened), visit.delivery, self._clock)

    async def _resolve(self, visit: Visit, key: Key, snapshot: Snapshot) -> Call:
        pinned = pinned_variant(visit.body) if key.role == "operator" else None
        if pinned is not None:
            # A variant that no route names is read from the store once; a thread, so that nobody else waits.
            await asyncio.to_thread(self._snapshots.remember, pinned)
        return resolve(visit.id, visit.body, key, snapshot, self._snapshots.remembered)

    def _record(self, visit: Visit) -> None:
        call = visit.call
        if call is None:
            return
        keeps_content = call.live.task.declared.record == "full" and call.key.role == "application"
        self._recorder.record(
            Draft(
                exchange=_exchange(visit, call, self._clock),
                request=visit.body if keeps_content else None,
                response=tuple(visit.delivery.kept) if keeps_content and visit.delivery.kept else None,
            )
        )


@contextmanager
def _in_our_words(visit: Visit) -> Generator[None]:
    """Turn a bug of ours into an error that a caller can report; the log has the rest."""
    try:
        yield
    except (ChangeoverError, ClientGone):
        raise
    except Exception as exc:  # the edge of one request: it must not end as a cut connection
        log.exception("request %s", visit.id)
        raise ChangeoverError(f"The gateway itself failed. Its log says why, under `{visit.id}`.") from exc


def _turns(call: Call) -> tuple[tuple[Side | None, Variant], ...]:
    """Stage 4, `choose`: whom to ask, in turn. Who named a variant gets that one or an error, never another."""
    if call.pinned is not None:
        return ((None, call.pinned),)
    route, variants = call.live.route, call.live.variants
    return tuple((side, variants[id]) for side, id in order(route, choose(route, call.sticky)))


@asynccontextmanager
async def _while_caller_stays(receive: Receive, visit: Visit) -> AsyncGenerator[None]:
    """Stop the work of the block, and with it the engine's, as soon as the caller leaves."""
    work = asyncio.current_task()
    assert work is not None

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not visit.delivery.ended:
            visit.abandoned = True
            work.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not visit.abandoned:
            raise
        work.uncancel()
        raise ClientGone from None
    finally:
        watcher.cancel()


@asynccontextmanager
async def _within(seconds: float) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as exc:
        error = UpstreamError(f"The model did not finish within the task's {seconds:g} s.")
        error.status = 504
        raise error from exc


def _headers(visit: Visit, call: Call, opened: Opened) -> Headers:
    """Who answered, for whoever wants to know."""
    return [
        *_id_header(visit),
        (b"x-changeover-route", str(call.live.route.revision).encode()),
        (b"x-changeover-deployment", opened.variant.deployment.encode()),
        (b"x-changeover-bundle", opened.variant.bundle.digest[:12].encode()),
    ]


def _id_header(visit: Visit) -> Headers:
    return [(b"x-changeover-request-id", visit.id.encode())]


def _exchange(visit: Visit, call: Call, clock: Clock) -> Exchange:
    opened, delivery, error = visit.opened, visit.delivery, visit.error
    first = None if delivery.first_at is None else 1000 * (delivery.first_at - visit.started)
    return Exchange(
        id=visit.id,
        task=call.live.task.name,
        revision=call.live.route.revision,
        variant=None if opened is None else opened.variant.id,
        deployment=None if opened is None else opened.variant.deployment,
        side=None if opened is None else opened.side,
        key=call.key.id,
        internal=call.key.role == "operator" and call.pinned is not None,
        stream=call.stream,
        status=visit.status,
        error=None if error is None else error.code,
        error_source=None if error is None else error.source,
        truncated=delivery.truncated,
        abandoned=visit.abandoned,
        attempts=visit.trail.attempts,
        failed_variants=tuple(visit.trail.failed),
        started_at=visit.started_at,
        duration_ms=1000 * (clock.monotonic() - visit.started),
        first_chunk_ms=first,
        prompt_tokens=delivery.prompt_tokens,
        completion_tokens=delivery.completion_tokens,
    )


def _no_such_route(path: str, method: str) -> RequestError:
    error = RequestError(f"No route `{method} {path}`. This gateway answers /v1/chat/completions and /v1/models.")
    error.status, error.code = 404, "no_such_route"
    return error
