"""What callers say of answers they got: taken, checked against the record, and written for whoever watches a rollout."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from changeover.core.clock import Clock
from changeover.core.errors import RequestError, nearest
from changeover.gateway.admit import Admission
from changeover.gateway.http import Headers, Reply, send_json
from changeover.gateway.keys import STEERERS, Key
from changeover.gateway.redact import Redactor
from changeover.gateway.resolve import may_call, read_fields
from changeover.gateway.snapshot import Snapshots
from changeover.store.engine import Store
from changeover.tasks.feedback import Feedback, Rated, add_feedback, rated_exchange

LONGEST_COMMENT = 2_000
"""Characters."""
MOST_AT_ONCE = 100
"""Ratings that are being written, or wait for their request to be; more are refused."""
PAUSES_S = (0.05, 0.1, 0.15, 0.3, 0.4, 0.0)
"""Between looks for a request that is not written yet; a second in all. The record lags by a tenth of one."""
_ID = re.compile(r"req_[0-9a-z]{10}-[0-9a-z]{8}")
_FIELDS = ("request_id", "good", "comment")


class UnknownRequestError(RequestError):
    """There is no such request of this key, or nothing is kept of it."""

    status = 404
    code = "unknown_request"


@dataclass(frozen=True, kw_only=True)
class Rating:
    """What a caller sent."""

    request: str
    good: bool
    comment: str | None


class Ratings:
    """Takes feedback. In a thread of its own: a flood of it must not delay what follows routes and keys."""

    def __init__(self, store: Store, snapshots: Snapshots, clock: Clock) -> None:
        self._store = store
        self._snapshots = snapshots
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feedback")
        # Fair between keys: one that asks for requests which do not exist holds its places for a second each.
        self._places = Admission(MOST_AT_ONCE)

    async def take(self, key: Key, body: bytes, reply: Reply, headers: Headers) -> None:
        """Write one rating, and say so.

        Raises:
            RequestError: The body is not what is asked for, or nobody answered that request.
            UnknownRequestError: No row of such a request of this key, or of its team.
            CapacityError: Too many at once.
            StoreError: The store cannot be used.
        """
        rating = rating_of(read_fields(body))
        self._places.enter(key.id)
        try:
            rated = await self._found(rating.request, key)
            if rated.variant is None:
                raise RequestError(f"`{rating.request}` was answered by nobody: there is nothing to rate.")
            given = self._given(rating, rated, rated.variant, key)
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, given)
        finally:
            self._places.leave(key.id)
        said = {"object": "feedback", "request_id": rating.request, "good": rating.good, "comment": given.comment}
        send_json(reply, 200, said, headers)

    def close(self) -> None:
        """Take no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _found(self, id: str, key: Key) -> Rated:
        """The exchange that is rated, if this key may rate it. One that was answered just now is waited for."""
        loop = asyncio.get_running_loop()
        if _ID.fullmatch(id):
            for pause in PAUSES_S:
                rated = await loop.run_in_executor(self._thread, self._read, id)
                if rated is not None:
                    if _may_rate(key, rated):
                        return rated
                    break
                await asyncio.sleep(pause)
        # Whoever may not rate a request learns nothing of it.
        raise UnknownRequestError(
            f"No request `{id[:80]}` of this key or its team is kept. Send the `x-changeover-request-id` of an answer; "
            'of a task with `record = "off"` there is none but while a rollout is under way.'
        )

    def _given(self, rating: Rating, rated: Rated, variant: str, key: Key) -> Feedback:
        return Feedback(
            id=0,
            exchange=rating.request,
            task=rated.task,
            variant=variant,
            good=rating.good,
            comment=self._keepable(rating.comment, rated.task),
            key=key.id,
            at=self._clock.now(),
        )

    def _keepable(self, comment: str | None, task: str) -> str | None:
        """What may be kept of a comment: as much as of the request itself."""
        live = self._snapshots.current.tasks.get(task)
        record = "off" if live is None else live.task.declared.record
        if comment is None or record in ("off", "metadata"):
            return None
        return Redactor().text(comment) if record == "redacted" else comment

    def _read(self, id: str) -> Rated | None:
        with self._store.read() as connection:
            return rated_exchange(connection, id)

    def _write(self, given: Feedback) -> None:
        with self._store.write() as connection:
            add_feedback(connection, given)


def rating_of(fields: Mapping[str, Any]) -> Rating:
    """Read a rating.

    Raises:
        RequestError: Says which field is wrong.
    """
    for name in fields:
        if name not in _FIELDS:
            raise RequestError(f"`{name[:80]}`: unknown field. {nearest(name[:80], _FIELDS)}")
    id, good, comment = (fields.get(name) for name in _FIELDS)
    if not isinstance(id, str) or not id:
        raise RequestError("`request_id` is missing: the `x-changeover-request-id` of the answer that is rated.")
    if not isinstance(good, bool):
        raise RequestError("`good` must be true or false.")
    if comment is not None and not isinstance(comment, str):
        raise RequestError("`comment` must be a text.")
    if comment is not None and len(comment) > LONGEST_COMMENT:
        raise RequestError(f"`comment` has {len(comment)} characters; at most {LONGEST_COMMENT} are taken. Shorten it.")
    return Rating(request=id, good=good, comment=comment)


def _may_rate(key: Key, rated: Rated) -> bool:
    own = rated.key == key.id or (key.team is not None and rated.team == key.team)
    return own or (key.role in STEERERS and may_call(key, rated.task))
