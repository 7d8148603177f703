"""Stage 7: write down what happened, off the request's path.

Under pressure content goes first, then nothing else: the few numbers of a request are small and are kept. A store that
is gone is tried again; meanwhile rows wait in memory up to a bound, and what does not fit is counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from changeover.core.errors import StoreError, UpstreamError
from changeover.gateway.sse import events, payload
from changeover.store.engine import Store
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import add_exchanges

log = logging.getLogger(__name__)

MOST_CONTENT_BYTES = 32 << 20
"""Content waiting to be written; more is dropped and counted."""
MOST_WAITING = 200_000
"""Rows waiting to be written; more are counted and lost."""
BATCH = 500
FLUSH_S = 0.1
RETRY_S = 1.0


@dataclass(frozen=True)
class Draft:
    """An exchange whose content is still raw bytes: turning them into text is the writer's work."""

    exchange: Exchange
    request: bytes | None
    response: tuple[bytes, ...] | None

    @property
    def content_bytes(self) -> int:
        return len(self.request or b"") + sum(map(len, self.response or ()))


class Recorder:
    """A bounded queue and the task that empties it into the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[Draft] = deque()
        self._content_bytes = 0
        self._due = asyncio.Event()
        self.dropped_content = 0
        """Rows whose content was left out under pressure."""
        self.lost = 0
        """Rows that did not fit at all."""

    @property
    def waiting(self) -> int:
        """Rows not written yet."""
        return len(self._waiting)

    def record(self, draft: Draft) -> None:
        """Take an exchange. Never waits, never fails."""
        if len(self._waiting) >= MOST_WAITING:
            self.lost += 1
            return
        if self._content_bytes + draft.content_bytes > MOST_CONTENT_BYTES:
            self.dropped_content += 1
            draft = Draft(draft.exchange, None, None)
        self._content_bytes += draft.content_bytes
        self._waiting.append(draft)
        self._due.set()

    async def run(self) -> None:
        """Write until cancelled; `flush` afterwards writes the rest."""
        while True:
            await self._due.wait()
            self._due.clear()
            await asyncio.sleep(FLUSH_S)
            try:
                await self.flush()
            except StoreError as exc:
                log.warning("record: %d exchanges wait: %s", len(self._waiting), exc)
                self._due.set()
                await asyncio.sleep(RETRY_S)

    async def flush(self) -> None:
        """Write everything that waits.

        Raises:
            StoreError: The store refused; nothing is lost, the rows go on waiting.
        """
        while self._waiting:
            batch = [self._waiting[place] for place in range(min(BATCH, len(self._waiting)))]
            await asyncio.to_thread(self._write, batch)
            for _ in batch:
                self._content_bytes -= self._waiting.popleft().content_bytes

    def _write(self, batch: list[Draft]) -> None:
        finished = [_finish(draft) for draft in batch]
        with self._store.write() as connection:
            add_exchanges(connection, finished)


def _finish(draft: Draft) -> Exchange:
    if draft.request is None:
        return draft.exchange
    response = None if draft.response is None else _message(b"".join(draft.response), stream=draft.exchange.stream)
    return replace(draft.exchange, request=draft.request.decode("utf-8", "replace"), response=response)


def _message(raw: bytes, *, stream: bool) -> str | None:
    """The assistant's message as JSON text, put together from a stream's deltas; None where there is none.

    Engines answer in odd shapes sometimes. That is theirs to mend, and no reason to lose the rest of the record.
    """
    try:
        if stream:
            return msgspec.json.encode({"role": "assistant", "content": "".join(_pieces(raw))}).decode()
        return bytes(msgspec.json.decode(raw, type=_Whole).choices[0].message).decode("utf-8", "replace")
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError, UpstreamError):
        return None


def _pieces(raw: bytes) -> Iterator[str]:
    for event in events(raw):
        try:
            fields = payload(event)
        except UpstreamError:
            return  # the stream broke off here; what came before stands
        if fields is not None:
            for choice in msgspec.convert(fields, _Event).choices[:1]:
                yield choice.delta.content or ""


class _Choice(msgspec.Struct):
    message: msgspec.Raw


class _Whole(msgspec.Struct):
    choices: list[_Choice]


class _Delta(msgspec.Struct):
    content: str | None = None


class _Step(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)


class _Event(msgspec.Struct):
    choices: list[_Step] = msgspec.field(default_factory=list[_Step])
