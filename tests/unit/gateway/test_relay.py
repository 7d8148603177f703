"""What becomes of a stream's events on their way, where the whole door cannot be made to send them so."""

import json
from typing import Any

import pytest
from tests.unit.gateway.test_resolve import LIVE, ask

from changeover.core.errors import UpstreamError
from changeover.gateway.open import Opened
from changeover.gateway.relay import Delivery, relay_stream
from changeover.gateway.sse import Cutter
from changeover.gateway.ways import Way

WORD = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
COUNT = b'data: {"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"


class Reply:
    """Keeps what it is given; is full after every piece, as a slow caller's is."""

    def __init__(self) -> None:
        self.sent = b""
        self.drained = 0
        self.ended = False

    def start(self, headers: Any) -> None:
        assert headers.endswith(b"\r\n")

    def write(self, piece: bytes) -> None:
        assert piece
        self.sent += piece

    def end(self, piece: bytes = b"") -> None:
        self.ended = True

    @property
    def full(self) -> bool:
        return self.sent.count(b"\n\n") > self.drained

    async def drain(self) -> None:
        self.drained = self.sent.count(b"\n\n")


class Answer:
    """An engine's stream in pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    async def pour(self, into: Any) -> bool:
        while self.pieces:
            if not into(self.pieces.pop(0)):
                return False
        return True


async def relayed(first: bytes, *pieces: bytes, **asked: Any) -> tuple[Reply, Delivery]:
    call, reply, delivery = ask(stream=True, **asked), Reply(), Delivery()
    answer: Any = Answer(list(pieces))
    upstream: Any = None
    opened = Opened(
        side=None, way=Way.of(LIVE, 1), upstream=upstream, answer=answer, model="m", first=first, cutter=Cutter()
    )
    await relay_stream(call, opened, reply, b"x: y\r\n", delivery)
    return reply, delivery


async def test_however_the_caller_reads_every_event_goes_through_once_with_the_tasks_name() -> None:
    stream = WORD * 5 + COUNT + DONE
    for size in (1, 7, 100, 10_000):
        pieces = [stream[place : place + size] for place in range(0, len(stream), size)]
        reply, delivery = await relayed(WORD, *pieces, stream_options={"include_usage": True})
        assert reply.sent == (WORD + stream).replace(b'"m"', b'"summarise"')
        assert reply.ended
        assert (delivery.prompt_tokens, delivery.completion_tokens, delivery.estimated) == (3, 2, False)


async def test_the_count_is_taken_and_not_sent_where_nobody_asked_for_it() -> None:
    null = WORD.replace(b"}}]}", b'}}],"usage":null}')
    reply, delivery = await relayed(WORD, null + null + COUNT + DONE)
    assert reply.sent == (WORD + null + null + DONE).replace(b'"m"', b'"summarise"')
    assert delivery.completion_tokens == 2


@pytest.mark.parametrize("broken", [b'error: {"code":500}\n\n', b'data: {"error":{"message":"x"}}\n\n', b"data: {\n\n"])
async def test_an_error_in_the_same_piece_as_the_count_is_an_error(broken: bytes) -> None:
    with pytest.raises(UpstreamError):
        await relayed(WORD, WORD + broken + COUNT + DONE)


async def test_a_stream_without_its_end_mark_is_broken_off() -> None:
    with pytest.raises(UpstreamError, match="without its end mark"):
        await relayed(WORD, COUNT)
    with pytest.raises(UpstreamError, match="inside an event"):
        await relayed(WORD, COUNT + DONE + b'data: {"half"')


async def test_tokens_that_the_engine_did_not_count_are_estimated_and_told() -> None:
    reply, delivery = await relayed(WORD, DONE, stream_options={"include_usage": True})
    assert delivery.estimated
    last = reply.sent.split(b"\n\n")[-3]
    assert json.loads(last[6:])["usage"]["completion_tokens"] == delivery.completion_tokens
