"""Stage 7: write down what happened, off the request's path.

Under pressure content goes first, then rows; what was used is counted in any case. A store that is gone is tried again;
meanwhile rows wait in memory up to a bound, and what does not fit is counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Protocol

import msgspec
from msgspec.structs import force_setattr, replace

from changeover.core.errors import StoreError
from changeover.gateway.assembled import message_in
from changeover.gateway.redact import Redactor
from changeover.gateway.usage import Usage
from changeover.gateway.violations import Checks, said
from changeover.store.engine import Store
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import add_exchanges

log = logging.getLogger(__name__)

MOST_CONTENT_BYTES = 32 << 20
"""Content waiting to be written; more is dropped and counted."""
MOST_WAITING = 200_000
"""Rows waiting to be written; more are counted and lost."""
BATCH = 128
FLUSH_S = 0.1
PRESSING = 4 * BATCH
"""So many waiting rows are written without a pause."""
RETRY_S = 1.0
LOUD_S = 30.0
"""Between two lines of the log about a store that is gone."""


class Sink(Protocol):
    """Whoever else wants to know of requests: metrics, traces."""

    def take(self, batch: Sequence[Exchange]) -> None:
        """Take what ended since the last time. Called in a thread; must not fail and not take long."""
        ...


class Draft(msgspec.Struct, frozen=True):
    """An exchange whose content is still raw bytes: turning them into text is the writer's work."""

    exchange: Exchange
    request: bytes | None
    response: Sequence[bytes] | None
    content_bytes: int = 0
    """Of both."""
    keeps_row: bool = True
    """False: it is counted, and leaves nothing behind."""
    keeps_content: bool = True
    """False: the content is here to be looked at, and is not written."""
    checks: Checks | None = None
    """What the answer is looked at for, before it is written; None: nothing."""


class Recorder:
    """A bounded queue and the task that empties it into the store."""

    def __init__(self, store: Store, usage: Usage, sinks: Sequence[Sink] = ()) -> None:
        self._store = store
        self._usage = usage
        self._sinks = sinks
        self._waiting: deque[Draft] = deque()
        self._fresh: list[Exchange] = []
        self._content_bytes = 0
        self._due = asyncio.Event()
        self._writing = asyncio.Lock()
        # One thread, and not any of a pool: what each keeps of the memory that it used adds up to tens of megabytes.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="record")
        self._said_at = -LOUD_S
        self.dropped_content = 0
        """Rows whose content was left out under pressure."""
        self.lost = 0
        """Rows that did not fit at all."""
        self.failing = False
        """The store took nothing when last tried."""

    @property
    def waiting(self) -> int:
        """Rows not written yet."""
        return len(self._waiting)

    def record(self, draft: Draft) -> None:
        """Take an exchange. Never waits, never fails; what was used is counted whatever becomes of the rest."""
        self._usage.count(draft.exchange)
        if len(self._fresh) < MOST_WAITING:
            self._fresh.append(draft.exchange)
        if not self._due.is_set():
            self._due.set()
        if not draft.keeps_row:
            return
        if len(self._waiting) >= MOST_WAITING:
            self.lost += 1
            return
        size = draft.content_bytes
        if self._content_bytes + size > MOST_CONTENT_BYTES:
            if draft.keeps_content:
                self.dropped_content += 1
                draft = Draft(replace(draft.exchange, content="dropped"), None, None)
            else:
                draft = Draft(draft.exchange, None, None)
            size = 0
        self._content_bytes += size
        self._waiting.append(draft)

    async def run(self) -> None:
        """Write until cancelled; `flush` afterwards writes the rest."""
        while True:
            await self._due.wait()
            if len(self._waiting) < PRESSING:
                await asyncio.sleep(FLUSH_S)
            self._due.clear()
            try:
                await self.flush()
                self.failing = False
            except StoreError as exc:
                self._complain(exc)
                self._due.set()
                await asyncio.sleep(RETRY_S)

    async def flush(self) -> None:
        """Write everything that waits, and what was used.

        Raises:
            StoreError: The store refused; nothing is lost, the rows go on waiting.
        """
        async with self._writing:
            fresh, self._fresh = self._fresh, []
            loop = asyncio.get_running_loop()
            if fresh and self._sinks:
                await loop.run_in_executor(self._thread, self._tell, fresh)
            # Not what comes meanwhile: few large transactions cost less than many small ones.
            left = len(self._waiting)
            while True:
                batch = list(islice(self._waiting, min(BATCH, left)))
                await loop.run_in_executor(self._thread, self._write, batch)
                for _ in batch:
                    self._content_bytes -= self._waiting.popleft().content_bytes
                left -= len(batch)
                if left <= 0:
                    return

    def _tell(self, fresh: Sequence[Exchange]) -> None:
        for sink in self._sinks:
            try:
                sink.take(fresh)
            except Exception:  # somebody who only looks must not stop the record
                log.exception("record: a sink failed")

    def _write(self, batch: list[Draft]) -> None:
        try:
            # Before the transaction: others wait for its end.
            finished = [_finish(draft) for draft in batch]
            with self._store.append() as connection:
                add_exchanges(connection, finished)
                written = self._usage.write(connection)
        finally:
            for draft in batch:
                _let_go(draft.exchange)
        self._usage.written(written)

    def _complain(self, exc: StoreError) -> None:
        now = asyncio.get_running_loop().time()
        self.failing = True
        if now - self._said_at >= LOUD_S:
            self._said_at = now
            log.warning("record: %d exchanges wait: %s", len(self._waiting), exc)


def _finish(draft: Draft) -> Exchange:
    """The exchange with its content, and with what is wrong with the answer."""
    exchange = draft.exchange
    if draft.request is None:
        return exchange
    if draft.checks is not None and draft.response is not None and exchange.violation is None:
        force_setattr(exchange, "violation", _violation(draft.checks, draft.request, draft.response, exchange))
    if not draft.keeps_content:
        return exchange
    response = None if draft.response is None else _message(b"".join(draft.response), exchange)
    if exchange.content == "redacted":
        redactor = Redactor()
        request: str = redactor.json_bytes(draft.request)
        response = None if response is None else redactor.json_bytes(response.encode())
    else:
        request = draft.request.decode("utf-8", "replace")
    # Into the one that is there, until it is written: a copy of thirty fields costs as much as all the rest of this.
    force_setattr(exchange, "request", request)
    force_setattr(exchange, "response", response)
    return exchange


def _violation(checks: Checks, request: bytes, response: Sequence[bytes], exchange: Exchange) -> str | None:
    try:
        answer = said(b"".join(response), stream=exchange.stream)
    except ValueError:
        return None  # what is no answer at all was an error to the caller already
    return checks.violation(exchange.id, request, answer)


def _let_go(exchange: Exchange) -> None:
    """Forget the content: spans that wait for their collector hold exchanges for longer than the record does."""
    if exchange.request is not None:
        force_setattr(exchange, "request", None)
        force_setattr(exchange, "response", None)


def _message(raw: bytes, exchange: Exchange) -> str | None:
    """The assistant's message as JSON text, put together from a stream's deltas; None where there is none.

    Engines answer in odd shapes sometimes. That is theirs to mend, and no reason to lose the rest of the record.
    """
    try:
        if exchange.stream:
            return msgspec.json.encode(message_in(raw)).decode()
        if exchange.endpoint == "chat":
            return bytes(msgspec.json.decode(raw, type=_Whole).choices[0].message).decode("utf-8", "replace")
        return raw.decode("utf-8", "replace")
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError):
        return None


class _Choice(msgspec.Struct):
    message: msgspec.Raw


class _Whole(msgspec.Struct):
    choices: list[_Choice]
