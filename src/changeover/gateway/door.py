"""The door: the order of a request's stages is written once, in `Door._answer`."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from changeover.core.clock import Clock
from changeover.core.errors import ChangeoverError
from changeover.core.ids import new_id
from changeover.core.settings import GatewaySettings, Price
from changeover.gateway.admin import Desk, asked_for
from changeover.gateway.admit import Admission, wanted
from changeover.gateway.allowances import Allowances
from changeover.gateway.authenticate import allow, allow_whole, authenticate
from changeover.gateway.breaker import Breakers
from changeover.gateway.choose import choose
from changeover.gateway.deliver import Delivering, deliver
from changeover.gateway.dispatch import Fleet, Limits, Trail, able, dispatch, too_late
from changeover.gateway.endpoints import CHAT, Endpoint
from changeover.gateway.envelope import refuse
from changeover.gateway.feedback import Ratings
from changeover.gateway.forbidden import refuse_forbidden
from changeover.gateway.http import BodyLimit, ClientGone, Head, Headers, Reply, send_json
from changeover.gateway.keys import STEERERS, Keyring
from changeover.gateway.pages import Pages
from changeover.gateway.plain import is_plain_chat
from changeover.gateway.record import Recorder
from changeover.gateway.relay import break_off
from changeover.gateway.resolve import Call, read_fields, resolve, sticky_of, task_and_pin
from changeover.gateway.routes import Route, WrongMethod, find_route
from changeover.gateway.shadow import Shadows
from changeover.gateway.snapshot import LiveTask, Snapshots
from changeover.gateway.tool_desk import ToolDesk
from changeover.gateway.traces import Traces
from changeover.gateway.uploads import Uploads
from changeover.gateway.visit import Visit
from changeover.gateway.waiting import Line, Outlook
from changeover.gateway.ways import Turn, Way

log = logging.getLogger(__name__)

GRACE_S = 0.3


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the door is made of; `app` puts it together."""

    settings: GatewaySettings
    prices: Mapping[str, Price]
    snapshots: Snapshots
    keyring: Keyring
    allowances: Allowances
    fleet: Fleet
    breakers: Breakers
    admission: Admission
    recorder: Recorder
    shadows: Shadows
    traces: Traces
    pages: Pages
    ratings: Ratings
    admin: Desk
    tools: ToolDesk
    most_upload: BodyLimit
    """Of a request to a tool."""
    uploads: Uploads
    """Of all of them."""
    clock: Clock


class Door:
    """Answers every request of every application."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._clock = parts.clock
        self._admission = parts.admission
        self._line = Line(parts.settings.max_waiting, parts.settings.ready_wait_s, parts.clock)
        self._limits = Limits(ready_wait_s=parts.settings.ready_wait_s, clock=parts.clock, breakers=parts.breakers)
        self._dearest: dict[str, tuple[LiveTask, tuple[float, float] | None]] = {}
        """By the name that was called: the price that a reservation reckons with."""

    def begin(self, head: Head) -> Visit:
        """Take a request as soon as its head is here: route it by path and method, and find out who calls."""
        visit = Visit(new_id("req"), head, self._clock.now(), self._clock.monotonic())
        try:
            route = find_route(head.path, head.method)
            if route.roles or head.header(b"authorization") is not None:
                visit.key = authenticate(head.headers, self._parts.keyring, visit.started_at)
                if route.roles:
                    allow(visit.key, route.roles)
                if route.whole:
                    allow_whole(visit.key)
            visit.route = route
            if route.page == "tools":
                assert visit.key is not None, "no route of tools is open to anybody"
                visit.most_body, visit.upload = self._parts.most_upload, self._parts.uploads.begin(visit.key.id)
        except ChangeoverError as error:
            visit.error = error
            visit.keeps_body = False
        return visit

    def abandoned(self, visit: Visit) -> None:
        """Forget a request that never became whole."""
        visit.left = True
        if visit.upload is not None:
            visit.upload.end()

    async def answer(self, visit: Visit, body: bytes, reply: Reply) -> None:
        """Answer a request that is here whole; whatever happens, the reply is used or the caller is gone."""
        route = visit.route
        try:
            if route is None:
                raise visit.error or ChangeoverError("The request was refused.")
            if route.page == "feedback":
                assert visit.key is not None, "no feedback without a key"
                await self._parts.ratings.take(visit.key, body, reply, _id_header(visit))
            elif route.page == "admin":
                await self._steer(visit, route, body, reply)
            elif route.page == "tools":
                visit.body = body
                del body
                await self._use_tools(visit, reply)
            elif route.endpoint is None:
                self._parts.pages.answer(route.page, visit.head, reply, visit.key, _id_header(visit))
            else:
                await self._call(visit, body, reply, route.endpoint)
        except ClientGone:
            pass
        except ChangeoverError as error:
            self._parts.pages.refused(error)
            more = [(b"allow", ", ".join(error.allowed).encode())] if isinstance(error, WrongMethod) else []
            refuse(reply, error, visit.id, [*more, *_id_header(visit)])
        finally:
            if visit.upload is not None:
                visit.upload.end()

    async def _steer(self, visit: Visit, route: Route, body: bytes, reply: Reply) -> None:
        """Answer one of the admin API."""
        assert visit.key is not None, "no route of the admin API is open to anybody"
        asked = asked_for(route, visit.head, visit.key, body)
        try:
            said = await self._parts.admin.see_to(asked)
        except ChangeoverError:
            raise
        except Exception as exc:  # the edge of one request: it must not end as a cut connection
            log.exception("request %s", visit.id)
            raise ChangeoverError(f"The gateway itself failed. Its log says why, under `{visit.id}`.") from exc
        send_json(reply, 200, said, _id_header(visit))

    async def _use_tools(self, visit: Visit, reply: Reply) -> None:
        """Answer one of the routes of tools and jobs. Whatever they ask of tasks comes through this door again."""
        try:
            await self._parts.tools.answer(visit, reply)
        except ChangeoverError:
            raise
        except asyncio.CancelledError:
            if visit.left:
                raise ClientGone from None
            raise
        except Exception as exc:  # the edge of one request: it must not end as a cut connection
            log.exception("request %s", visit.id)
            raise ChangeoverError(f"The gateway itself failed. Its log says why, under `{visit.id}`.") from exc

    async def _call(self, visit: Visit, body: bytes, reply: Reply, endpoint: Endpoint) -> None:
        try:
            await self._answer(visit, body, reply, endpoint)
        except ClientGone:
            raise
        except ChangeoverError as error:
            visit.error, visit.status = error, error.status
            if not visit.delivery.started:
                raise
            break_off(reply, error, visit.id, endpoint, visit.delivery)
        except asyncio.CancelledError:
            if visit.left:
                raise ClientGone from None
            task = asyncio.current_task()
            if not visit.late or task is None:
                raise
            task.uncancel()
            self._end_late(visit, reply, endpoint)
        except Exception as exc:  # the edge of one request: it must not end as a cut connection
            log.exception("request %s", visit.id)
            visit.error = ChangeoverError(f"The gateway itself failed. Its log says why, under `{visit.id}`.")
            visit.status = visit.error.status
            if not visit.delivery.started:
                raise visit.error from exc
            break_off(reply, visit.error, visit.id, endpoint, visit.delivery)
        finally:
            self._write_down(visit)

    def _end_late(self, visit: Visit, reply: Reply, endpoint: Endpoint) -> None:
        """Say that the task's time is over, in whichever way is left."""
        assert visit.call is not None, "only a call has a deadline"
        error = visit.error = too_late(visit.call)
        visit.status = error.status
        if not visit.delivery.started:
            raise error
        break_off(reply, error, visit.id, endpoint, visit.delivery)

    async def _answer(self, visit: Visit, body: bytes, reply: Reply, endpoint: Endpoint) -> None:
        """(Authenticated) → resolve → admit → choose → dispatch → relay; `_write_down` records, whatever the end."""
        parts, key = self._parts, visit.key
        assert key is not None, "no route to a model is open to anybody"
        visit.body = body
        fields, plain = read_fields(body), endpoint is CHAT and is_plain_chat(body)
        if not plain:
            refuse_forbidden(fields)
        if key.role in STEERERS:
            await self._remember(fields)
        snapshots = parts.snapshots
        visit.call = call = resolve(
            visit.id, endpoint, fields, key, snapshots.current, snapshots.remembered, plain=plain
        )
        # `dispatch` keeps the deadline itself; this one is for an answer that has begun.
        visit.deadline = self._clock.monotonic() + call.live.task.declared.timeout_s + GRACE_S
        self._admission.enter(key.id)
        try:
            if (key.limits or key.team_limits) and not call.internal:
                most = wanted(call, len(body), self._price(call))
                held = parts.allowances.reserve_now(key, most, visit.started_at)
                visit.reservation = held or await parts.allowances.reserve(key, most)
            trace = parts.traces.begin(visit.id, visit.head.header(b"traceparent"), visit.head.headers)
            headers: Sequence[tuple[str, str]] = ()
            if trace is not None:
                visit.trace, headers = trace.id, trace.headers()
            turns, deadline = _turns(call, visit.trail), visit.deadline - GRACE_S
            if parts.fleet.upstream(turns[0][1].variant.deployment) is None and self._outlook(call, turns) != "ready":
                others_at = (self._clock.monotonic() + deadline) / 2
                await self._line.wait(call.name, partial(self._now, visit, call, others_at), deadline)
                # Asked of nobody yet, it is answered by the route of now: that may be another one since.
                visit.call = call = self._again(visit.call)
                turns = _turns(call, visit.trail)
            visit.opened = opened = await dispatch(
                call, turns, parts.fleet, visit.trail, self._limits, headers, deadline
            )
            visit.delivery.first_at = self._clock.monotonic()
            asking = Delivering(visit, call, turns, parts.fleet, self._limits, headers, deadline)
            await deliver(asking, opened, reply)
        finally:
            self._admission.leave(key.id)

    def _again(self, call: Call) -> Call:
        """The same call under the newest route of its task; unchanged where the task is gone."""
        live = self._parts.snapshots.current.tasks.get(call.live.task.name)
        if live is None or live is call.live:
            return call
        sticky = call.sticky
        if live.route.candidate is not None and not sticky:
            sticky = sticky_of(call.body, call.key, call.endpoint)
        return msgspec.structs.replace(call, live=live, sticky=sticky)

    def _now(self, visit: Visit, call: Call, others_at: float) -> Outlook:
        visit.call = call = self._again(visit.call or call)
        return self._outlook(call, _turns(call, visit.trail), others_at)

    def _outlook(self, call: Call, turns: Sequence[Turn], others_at: float = math.inf) -> Outlook:
        """Whether anybody in turn can answer, or will once engines have been exchanged or one is loaded again.

        One that was unloaded is waited for rather than that the next in turn is asked: it has not failed. But no longer than
        until `others_at`, in monotonic seconds, where others can answer: they need time too.
        """
        parts = self._parts
        names = [way.variant.deployment for _, way in turns]
        for name in names:
            if parts.fleet.upstream(name) is not None:
                return "ready"
            if parts.fleet.wake(name):
                late = self._clock.monotonic() >= others_at
                return "ready" if late and any(map(parts.fleet.upstream, names)) else "coming"
        if not call.live.exchange:
            return "absent"
        states = parts.snapshots.current.states
        return "coming" if any(states.get(name, "failed") != "failed" for name in names) else "absent"

    async def _remember(self, fields: Mapping[str, Any]) -> None:
        """Read a variant that no route names from the store, once; in a thread, so that nobody else waits."""
        _, pinned = task_and_pin(fields)
        snapshots = self._parts.snapshots
        if pinned is not None and snapshots.remembered(pinned) is None:
            await asyncio.to_thread(snapshots.remember, pinned)

    def _price(self, call: Call) -> tuple[float, float] | None:
        """The dearest of those who may answer, in millionths of a dollar a token: which is the price by the million."""
        if not self._parts.prices:
            return None
        live, price = self._dearest.get(call.name, (None, None))
        if live is not call.live:
            price = _dearest(call.live, self._parts.prices)
            self._dearest[call.name] = (call.live, price)
        return price

    def _write_down(self, visit: Visit) -> None:
        call = visit.call
        if call is None:
            return
        if visit.delivery.completion_tokens is None or call.endpoint.wrapped:
            visit.count_the_rest()
        microusd = visit.microusd(self._parts.prices)
        if visit.reservation is not None:
            visit.reservation.settle(visit.used(microusd))
        share = call.live.task.declared.record_share
        sampled = share >= 1 or random.random() < share
        draft = visit.draft(call, self._clock, microusd, sampled)
        self._parts.recorder.record(draft)
        if call.live.route.shadow_share > 0:
            self._parts.shadows.consider(visit, draft.exchange.content)


def _dearest(live: LiveTask, prices: Mapping[str, Price]) -> tuple[float, float] | None:
    known = [prices[each.deployment] for each in live.variants.values() if each.deployment in prices]
    return max(
        ((price.usd_per_million_prompt_tokens, price.usd_per_million_completion_tokens) for price in known),
        key=sum,
        default=None,
    )


def _turns(call: Call, trail: Trail) -> Sequence[Turn]:
    """Stage 4, `choose`: whom to ask, in turn. Who named a variant gets that one or an error, never another."""
    live = call.live
    turns = live.only_turns
    if call.pinned is not None:
        turns = ((None, live.ways.get(call.pinned.id) or Way.of(call.pinned, live.route.revision)),)
    return able(call, turns or live.turns(choose(live.route, call.sticky)), trail)


def _id_header(visit: Visit) -> Headers:
    return [(b"x-changeover-request-id", visit.id.encode())]
