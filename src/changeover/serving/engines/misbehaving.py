"""What an echo engine's process does wrong when it is told to, so that operators can rehearse what comes of it.

`changeover deploy echo --engine echo --option behaviour=leaks`: docs, concepts, processes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

from changeover.serving.engines.child import Child

BEFORE_THE_END: Final = 2
"""Pieces of an answer that still go out before the process dies within it."""
LEAK_BYTES: Final = 16 << 20
"""That are taken at once, ten times a second,"""
MOST_LEAK_BYTES: Final = 2 << 30
"""and no more than these: a rehearsal must not take the whole machine."""
RUBBISH: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\nconnection: close\r\n\r\nrubbish"
)

Message = dict[str, Any]
App = Callable[[Any, Any, Callable[[Message], Awaitable[None]]], Awaitable[None]]


def before_it_answers(child: Child, behaviour: str) -> None:
    """Do what is to be done before the engine would listen; several of these do not come back."""
    if behaviour == "dies_starting":
        print("misbehaving: no memory for the weights, as it was told to say", file=sys.stderr, flush=True)
        os._exit(3)
    elif behaviour == "garbles":
        child.say_anything(b"Server started! Listening somewhere.\n")
        _wait_for_ever()
    elif behaviour == "other_port":
        with socket.create_server(("127.0.0.1", 0)):
            with socket.create_server(("127.0.0.1", 0)) as other:
                port = other.getsockname()[1]
            child.ready(port, None)
            _wait_for_ever()
    elif behaviour in ("hangs", "rubbish"):
        _listen_badly(child, behaviour)
    elif behaviour == "children":
        _leave_children()
    elif behaviour == "leaks":
        threading.Thread(target=_leak, daemon=True).start()
    elif behaviour == "floods":
        threading.Thread(target=_flood, args=(child.secret,), daemon=True).start()


def within_an_answer(app: App) -> App:
    """Have the process die in the middle of its second answer, be it streamed or whole: the first may be a check."""
    answers = 0

    async def dying(scope: Any, receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
        nonlocal answers
        asked = scope["type"] == "http" and scope["method"] == "POST"
        answers += asked
        dies, sent = asked and answers > 1, 0

        async def counted(message: Message) -> None:
            nonlocal sent
            await send(message)
            sent += 1
            if dies and (sent > BEFORE_THE_END or not message.get("more_body", _streams(message))):
                await asyncio.sleep(0.05)  # what was sent is on its way
                os._exit(4)

        await app(scope, receive, counted)

    return dying


def _streams(start: Message) -> bool:
    """Whether an answer that begins so is a stream; a whole one breaks off at once, after its head."""
    return any(name == b"content-type" and value.startswith(b"text/event") for name, value in start.get("headers", ()))


def _listen_badly(child: Child, behaviour: str) -> NoReturn:
    """Say that it is ready, take connections, and answer nothing, or the same nonsense to everybody."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    child.drop_rights()
    child.ready(listener.getsockname()[1], None)
    kept: list[socket.socket] = []
    while True:
        connection, _ = listener.accept()
        if behaviour == "hangs":
            kept.append(connection)
            continue
        with connection:
            connection.recv(65536)
            connection.sendall(RUBBISH)


def _leave_children() -> None:
    """Start processes that end by themselves only long after: one in this session, one in a session of its own."""
    for alone in (False, True):
        subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, start_new_session=alone)


def _leak() -> None:
    taken: list[bytearray] = []
    while len(taken) * LEAK_BYTES < MOST_LEAK_BYTES:
        taken.append(bytearray(os.urandom(1)) * LEAK_BYTES)
        time.sleep(0.1)
    _wait_for_ever()


def _flood(secret: str) -> None:
    line = f"misbehaving: and again and again, with {secret} in it\n".encode() * 200
    with open(2, "wb", closefd=False) as log:  # writes on where a signal cut it off
        while True:
            log.write(line)


def _wait_for_ever() -> NoReturn:
    while True:
        time.sleep(3600)
