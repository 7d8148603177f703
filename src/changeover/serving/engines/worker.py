"""What a worker does, whichever engine computes in it: takes requests from the front, one line of JSON each, and answers.

A worker runs in the engine's own environment (see `at_home.py`), so nothing but the standard library may be imported. It has
one thread: an engine that holds Python's lock while it computes then keeps nobody waiting but itself, and the front, which
is another process, can always say that it is well and hear that a caller left.
"""

from __future__ import annotations

import json
import math
import os
import re
import select
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from changeover.serving.engines.child import Child
from changeover.serving.engines.pieces import Pieces

MOST_FAILURES: Final = 3
"""Steps that fail in a row, after which the process ends: another one may do better."""
LEAST_LOGPROB: Final = -9999.0
"""What cannot be is said to be so unlikely, as other servers do: JSON has no infinity."""
_SOURCE: Final = re.compile(r"^(\[[\d:]+\] )?\S+\.(cc|cpp|hpp|h|py):\d+: ")
_READ_BYTES: Final = 1 << 20
Ask = Mapping[str, Any]
"""A request, as `front_asked.py` writes it."""
Score = tuple[float | None, Sequence[tuple[int, float]]]
"""Log-probability of the token that stands there, None for the first of all, and the likeliest tokens with theirs."""


class Refused(Exception):
    """The request cannot be answered, and it is the caller's to change."""


class Channel:
    """Lines of JSON, to the front and from it."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._rest = b""

    def receive(self, *, wait: bool) -> list[Ask]:
        """What has arrived; with `wait`, at least one. Ends the process when the front is gone."""
        lines: list[Ask] = []
        while select.select([self._socket], [], [], None if wait and not lines else 0)[0]:
            data = self._socket.recv(_READ_BYTES)
            if not data:
                os._exit(0)
            *whole, self._rest = (self._rest + data).split(b"\n")
            lines += [json.loads(line) for line in whole]
        return lines

    def send(self, said: Mapping[str, Any]) -> None:
        """One line. Waits while the front does not read."""
        try:
            self._socket.sendall(json.dumps(said).encode() + b"\n")
        except OSError:  # the front is gone
            os._exit(0)


class Run:
    """One answer under way: what an engine reports of it goes to the front."""

    def __init__(self, ask: Ask, choice: int, prompt: Sequence[int], limit: int, engine: Engine, channel: Channel):
        self.id: int = ask["id"]
        self.ask = ask
        self.choice = choice
        self.prompt = prompt
        self.limit = limit
        """Tokens that it may have."""
        self.taken: list[int] = []
        """Tokens that it has."""
        self.done = False
        self._channel = channel
        self._engine = engine
        self._pieces = Pieces(engine.text, ask.get("stop") or ())
        self._logprobs = ask.get("logprobs") is not None

    @property
    def seed(self) -> int | None:
        """Each choice has another one, so that they differ."""
        seed = self.ask["sampling"].get("seed")
        return None if seed is None else seed + self.choice

    def take(self, tokens: Sequence[int], scores: Sequence[Score] = (), *, finish: str | None = None) -> None:
        """Report tokens.

        Args:
            tokens: The next ones.
            scores: One for each of them, if they were asked for.
            finish: `stop` or `length`, with the last ones.
        """
        text, entries = "", list[Any]()
        for at, token in enumerate(tokens):
            self.taken.append(token)
            if token in self._engine.ends:
                finish = "stop"
                break
            text += self._pieces.push(token)
            if self._logprobs and at < len(scores):
                entries.append(self._entry(token, scores[at]))
            if self._pieces.stopped:
                finish = "stop"
                break
            if len(self.taken) >= self.limit:
                finish = "length"
                break
        if finish is not None:
            text += self._pieces.end()
            self.done = True
        self._channel.send(
            {
                "id": self.id,
                "choice": self.choice,
                "text": text,
                "tokens": len(self.taken),
                "finish": finish,
                **({"logprobs": entries} if entries else {}),
            }
        )

    def score_prompt(self, scores: Sequence[Score]) -> None:
        """Report the log-probabilities of the prompt's tokens, before any other."""
        entries = [self._entry(token, score) for token, score in zip(self.prompt, scores, strict=True)]
        said = {"id": self.id, "choice": self.choice, "text": "", "tokens": 0, "finish": None}
        self._channel.send({**said, "logprobs": entries})

    def fail(self, why: str) -> None:
        """Report that there will be no more, and that it is not the caller's fault."""
        self._end("failed", why)

    def refuse(self, why: str) -> None:
        """Report that there will be nothing, because of what was asked."""
        self._end("refused", why)

    def _end(self, how: str, why: str) -> None:
        if not self.done:
            self.done = True
            self._channel.send({"id": self.id, how: why})

    def _entry(self, token: int, score: Score) -> dict[str, Any]:
        logprob, likeliest = score
        top = [{"token": self._engine.text([each]), "logprob": _finite(value)} for each, value in likeliest]
        own = None if logprob is None else _finite(logprob)
        return {"token": self._engine.text([token]), "logprob": own, "top": top}


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else LEAST_LOGPROB


class Engine(Protocol):
    """What computes."""

    ends: frozenset[int]
    """Tokens that end an answer."""

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        ...

    def warm(self) -> None:
        """Do everything once: what libraries import only then may not be readable after rights were lost."""
        ...

    def templated(self, ask: Ask) -> str:
        """The messages and tools of a request as the model's chat template puts them. Raises `Refused`."""
        ...

    def tokens(self, text: str, *, special: bool) -> list[int]:
        """`special`: with what the model wants at a text's beginning."""
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """Marks of a family's format are text too: whoever reads the answer looks for them."""
        ...

    def start(self, run: Run) -> None:
        """Take it in; nothing is computed yet. Raises `Refused`."""
        ...

    def cancel(self, run: Run) -> None:
        """Its caller has left, or has enough."""
        ...

    def step(self, hear: Callable[[], None]) -> None:
        """Compute a little for all runs and report what came. What takes long calls `hear` between."""
        ...

    def failed(self, why: str) -> bool:
        """A step has raised: end what cannot go on, and be ready for more. Whether what a request asked explains it."""
        ...


class Worker:
    """Hears requests, and lets the engine compute between."""

    def __init__(self, engine: Engine, channel: Channel, context_tokens: int) -> None:
        self._engine = engine
        self._channel = channel
        self._context_tokens = context_tokens
        self._runs: dict[int, list[Run]] = {}
        self._failures = 0

    def work(self) -> None:
        """For ever."""
        while True:
            self.hear(wait=not self._engine.busy)
            if self._engine.busy:
                self._step()
            self._runs = {id: runs for id, runs in self._runs.items() if not all(run.done for run in runs)}

    def hear(self, *, wait: bool = False) -> None:
        """Take in what the front has said meanwhile."""
        for ask in self._channel.receive(wait=wait):
            if ask["op"] == "cancel":
                for run in self._runs.pop(ask["id"], ()):
                    if not run.done:
                        run.done = True
                        self._engine.cancel(run)
            elif ask["op"] == "ping":
                self._channel.send({"pong": True})
            else:
                self._answer(ask)

    def _answer(self, ask: Ask) -> None:
        try:
            if ask["op"] == "tokens":
                self._channel.send({"id": ask["id"], "list": self._engine.tokens(ask["text"], special=False)})
            else:
                self._start(ask)
        except Refused as exc:
            self._channel.send({"id": ask["id"], "refused": str(exc)})
        except Exception as exc:  # of one request; the others go on
            traceback.print_exc()
            self._channel.send({"id": ask["id"], "failed": f"The engine failed: {reason(exc)}"})

    def _start(self, ask: Ask) -> None:
        if "messages" in ask:
            prompt = self._engine.tokens(self._engine.templated(ask), special=False)
        else:
            prompt = ask.get("tokens") or self._engine.tokens(ask["text"], special=True)
        left = self._context_tokens - len(prompt)
        if left <= 0 or not prompt:
            self._channel.send({"id": ask["id"], "too_long": len(prompt), "context": self._context_tokens})
            return
        limit = min(ask.get("limit") or left, left)
        runs = [Run(ask, choice, prompt, limit, self._engine, self._channel) for choice in range(ask["choices"])]
        for run in runs:
            self._engine.start(run)
        self._runs[ask["id"]] = runs
        self._channel.send({"id": ask["id"], "prompt_tokens": len(prompt)})

    def _step(self) -> None:
        try:
            self._engine.step(self.hear)
            self._failures = 0
        except Exception as exc:  # what runs may be lost, but not the engine
            traceback.print_exc()
            self._failures += 1
            if self._engine.failed(reason(exc)):
                self._failures = 0
            if self._failures >= MOST_FAILURES:
                sys.stderr.flush()
                os._exit(1)


def reason(exc: Exception) -> str:
    """The last line of what libraries say, without the place in their sources that native ones begin it with."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return _SOURCE.sub("", lines[-1])[:300] if lines else type(exc).__name__


def work(load: Callable[[Mapping[str, Any]], Engine]) -> None:
    """Be a worker: load the engine, say so, and answer until the front is gone."""
    child = Child()
    try:
        engine = load(child.config)
        engine.warm()
    except Exception as exc:  # whatever libraries raise; a person reads it
        traceback.print_exc()
        child.failed(reason(exc))
    note = child.drop_rights()
    channel = Channel(child.config["channel"])
    child.ready(0, note)
    try:
        Worker(engine, channel, child.config["context_tokens"]).work()
    except BaseException:  # an orderly end would wait for threads of native code
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)
