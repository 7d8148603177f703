"""Whatever listens where a gateway was, asking how it is doing never fails."""

from __future__ import annotations

import socket
from threading import Thread

import pytest

from changeover.app.health import gateway_state


def answer_once(listener: socket.socket, said: bytes) -> None:
    peer, _ = listener.accept()
    with peer:
        peer.recv(65_536)
        peer.sendall(said)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n" + b'{"ok":true}', {"ok": True}),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n" + b'{"ok":', None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", None),
        (b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n", None),
        (b"220 mail.example.org ESMTP\r\n", None),
        (b"", None),
    ],
)
def test_what_does_not_answer_as_a_gateway_does_not_answer(said: bytes, state: object) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = Thread(target=answer_once, args=(listener, said))
        answering.start()
        try:
            assert gateway_state(f"http://127.0.0.1:{listener.getsockname()[1]}", "key", 10.0) == state
        finally:
            answering.join()
