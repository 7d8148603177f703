"""Our own client's parsing, without a socket: no way of cutting an answer's bytes changes what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from changeover.serving.upstream.wire_connection import HIGH_WATER, MAX_HEAD_BYTES, Connection, Watch

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-", min_size=1, max_size=12)
VALUE = st.text([chr(code) for code in range(0x20, 0x7F)], max_size=30)
HEADERS = st.lists(
    st.tuples(st.just("X-").flatmap(lambda start: TOKEN.map(lambda rest: start + rest)), VALUE), max_size=4
)
PIECES = st.lists(st.binary(min_size=1, max_size=60), max_size=6)


class Wire(asyncio.Transport):
    """A transport without a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.aborted = False
        self.paused = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.paused += 1

    def resume_reading(self) -> None:
        self.paused -= 1


@contextmanager
def connection() -> Iterator[tuple[Connection, Wire]]:
    """A connection on which a request was just sent."""
    loop = asyncio.new_event_loop()
    try:
        made, wire = Connection(loop, Watch(loop), []), Wire()
        made.connection_made(wire)
        made.begin(b"POST / HTTP/1.1\r\n\r\n", b"")
        yield made, wire
        made.connection_lost(None)
    finally:
        loop.close()


def lines(headers: Iterable[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode()


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, int, bytes, bool]:
    """Bytes of a valid answer, its status, its body, and whether it ends with its connection."""
    status = draw(st.sampled_from([200, 201, 299, 400, 429, 500, 599]))
    pieces = draw(PIECES)
    body = b"".join(pieces)
    interim = b"".join(
        f"HTTP/1.1 {draw(st.sampled_from([100, 102, 103]))} Wait\r\n".encode() + lines(draw(HEADERS)) + b"\r\n"
        for _ in range(draw(st.integers(0, 2)))
    )
    head = interim + f"HTTP/1.1 {status} {draw(TOKEN)}\r\nContent-Type: a/b\r\n".encode() + lines(draw(HEADERS))
    framing = draw(st.sampled_from(["length", "chunks", "end"]))
    if framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body, status, body, False
    if framing == "end":
        return head + b"\r\n" + body, status, body, True
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    ending = b"0\r\n" + lines(draw(HEADERS)) + b"\r\n"
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + ending, status, body, False


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(at)]


PLACES = st.lists(st.integers(0, 5000), max_size=30)


@given(answers(), PLACES)
def test_any_cutting_of_an_answer_gives_the_same_answer(
    answer: tuple[bytes, int, bytes, bool], places: list[int]
) -> None:
    data, status, body, until_end = answer
    with connection() as (made, wire):
        taken = b""
        for number, piece in enumerate(cut(data, places)):
            made.data_received(piece)
            taken += made.take() if number % 2 else b""
        assert made.done is not until_end
        if until_end:
            made.eof_received()
        taken += made.take()
        assert (made.done, made.fault, made.status, taken) == (True, None, status, body)
        assert made.fields[b"content-type"] == b"a/b"
        made.release()
        assert made.pool == ([] if until_end else [made])
        assert wire.aborted is until_end


@given(answers(), st.integers(0, 5000), PLACES)
def test_an_answer_that_ends_early_is_never_taken_for_whole(
    answer: tuple[bytes, int, bytes, bool], kept: int, places: list[int]
) -> None:
    data, _, body, until_end = answer
    part = data[: kept % len(data)]
    with connection() as (made, wire):
        for piece in cut(part, places):
            made.data_received(piece)
        made.eof_received()
        made.connection_lost(None)
        assert wire.aborted
        if until_end and made.status:
            assert (made.done, made.fault) == (True, None)
        else:
            assert not made.done
            assert made.fault == (
                "broke off within its answer" if made.status else "closed the connection before it answered"
            )
        assert body.startswith(made.take())


@given(answers(), st.binary(min_size=1, max_size=60), PLACES)
def test_what_follows_an_answer_is_not_part_of_it_and_ends_the_connection(
    answer: tuple[bytes, int, bytes, bool], extra: bytes, places: list[int]
) -> None:
    data, status, body, until_end = answer
    if until_end or not extra.strip(b"\r\n"):
        return
    with connection() as (made, wire):
        for piece in cut(data + extra, places):
            made.data_received(piece)
        assert (made.done, made.fault, made.status, made.take()) == (True, None, status, body)
        made.release()
        assert made.pool == []
        assert wire.aborted


@given(st.binary(max_size=200), PLACES)
def test_no_bytes_whatsoever_raise_an_error_in_the_event_loop(data: bytes, places: list[int]) -> None:
    with connection() as (made, wire):
        for piece in cut(data, places):
            made.data_received(piece)
        assert made.fault is None or wire.aborted


def test_reading_pauses_while_much_is_unread_and_goes_on_when_it_is_taken() -> None:
    size = 4 * HIGH_WATER
    with connection() as (made, wire):
        made.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(3):
            made.data_received(bytes(HIGH_WATER))
        assert wire.paused == 1
        assert len(made.take()) == 3 * HIGH_WATER
        assert wire.paused == 0
        made.data_received(bytes(HIGH_WATER))
        assert wire.paused == 0  # it is all there: nothing more may come
        assert made.done


def test_headers_may_be_long_but_not_endless() -> None:
    for size, fault in [(MAX_HEAD_BYTES - 100, None), (MAX_HEAD_BYTES + 1, "sent something that is no HTTP answer")]:
        with connection() as (made, _):
            made.data_received(b"HTTP/1.1 200 OK\r\nX: " + b"x" * size + b"\r\n\r\n")
            assert made.fault == fault


def test_a_large_body_waits_for_the_engine_to_read() -> None:
    body = bytes(2 << 20)
    with connection() as (made, wire):
        made.data_received(b"HTTP/1.1 204 Fine\r\n\r\n")
        made.release()
        made.pause_writing()
        assert made.begin(b"head", body)
        assert wire.sent.endswith(b"head")
        made.resume_writing()
        assert wire.sent.endswith(b"head" + body)


def test_half_of_a_request_is_followed_by_no_other() -> None:
    with connection() as (made, wire):
        made.data_received(b"HTTP/1.1 204 Fine\r\n\r\n")
        made.release()
        assert made.pool.pop() is made
        made.pause_writing()
        made.begin(b"head", bytes(2 << 20))
        made.data_received(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        made.release()
        assert made.pool == []
        assert wire.aborted
