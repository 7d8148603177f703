"""Plays: one prompt, asked of several deployments or tasks at once, and what each has answered so far."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from changeover.app.asking import Piece, asking
from changeover.core.errors import ChangeoverError
from changeover.core.ids import new_id
from changeover.evals.datasets import Message

State = Literal["waiting", "answering", "done", "failed", "stopped"]
ENDED: frozenset[State] = frozenset({"done", "failed", "stopped"})

MOST_PLAYS = 20
"""Of one session; the oldest go."""
MOST_COLUMNS = 4
MOST_CHARS = 200_000
"""Of one answer with its reasoning; a longer one is broken off."""
MOST_CHARS_OF_ALL = 40_000_000
"""Of all sessions, with the prompts; one that is being answered counts as if every answer became as long as it may."""
BREATH_S = 0.06
"""Between two looks at an answer that is written."""
SHORTEST_S = 0.05
"""In less time no pace is told: it would be one of buffers."""
SILENCE_S = 15.0
"""After so long without a word it is said that the page is still listened to."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What is asked, of all alike."""

    user: str
    system: str = ""
    earlier: tuple[Message, ...] = ()
    """Of a conversation: what was said between the system's message and the user's last."""
    max_tokens: int | None = None
    temperature: float | None = None
    exchange: str = ""
    """Id of the recorded exchange that it was taken from; empty: it was written here."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """As a model is given them."""
        head = (Message(role="system", content=self.system),) if self.system else ()
        return (*head, *self.earlier, Message(role="user", content=self.user))

    def body(self, name: str) -> dict[str, Any]:
        """What the gateway is sent."""
        asked = [{"role": message.role, "content": message.content} for message in self.messages]
        chosen = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        return {"model": name, "messages": asked, **{key: value for key, value in chosen.items() if value is not None}}


@dataclass(kw_only=True)
class Column:
    """One of those who are asked, and its answer so far."""

    name: str
    """As the gateway takes it: a task, or `@` and a deployment."""
    state: State = "waiting"
    text: str = ""
    reasoning: str = ""
    error: str | None = None
    who: Mapping[str, str] = field(default_factory=dict[str, str])
    """Who answered, as the gateway says."""
    finish_reason: str | None = None
    first_s: float | None = None
    """From the question to the first word, or thought."""
    last_s: float | None = None
    """From the question to the last."""
    pieces: int = 0
    """In which the answer came: as long as nobody has counted, about its tokens."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    doing: asyncio.Task[None] | None = field(default=None, repr=False)
    _news: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def most_chars(self) -> int:
        """That its answer has, or may come to have."""
        return len(self.text) + len(self.reasoning) if self.ended else MOST_CHARS

    @property
    def tokens(self) -> int | None:
        """Of the answer; None before its first. Exact where the gateway has counted, see `counted`."""
        return self.completion_tokens if self.completion_tokens is not None else self.pieces or None

    @property
    def counted(self) -> bool:
        """Whether the tokens were counted, and not only the pieces."""
        return self.completion_tokens is not None

    @property
    def pace(self) -> float | None:
        """Tokens a second after the first; None where there are too few to tell, or all came at once."""
        if self.tokens is None or self.tokens < 2 or self.first_s is None or self.last_s is None:
            return None
        seconds = self.last_s - self.first_s
        return (self.tokens - 1) / seconds if seconds >= SHORTEST_S else None

    async def ask(self, way: tuple[str, str], prompt: Prompt) -> None:
        """Ask, and keep what comes. What goes wrong stands in the column."""
        began = time.monotonic()
        try:
            async with asking(*way, prompt.body(self.name)) as answer:
                self.who = answer.who
                async for piece in answer.pieces:
                    self._take(piece, time.monotonic() - began)
                    if len(self.text) + len(self.reasoning) > MOST_CHARS:
                        self.error = f"It was broken off after {MOST_CHARS:,} characters."
                        break
            self.state = "done"
        except ChangeoverError as failure:
            self.state, self.error = "failed", failure.message
        except asyncio.CancelledError:
            self.state = "stopped"
            raise
        finally:
            self._tell()

    def _take(self, piece: Piece, after_s: float) -> None:
        if piece.text or piece.reasoning:
            self.first_s = after_s if self.first_s is None else self.first_s
            self.last_s = after_s
            self.state, self.pieces = "answering", self.pieces + 1
        self.text += piece.text
        self.reasoning += piece.reasoning
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.prompt_tokens = self.prompt_tokens if piece.prompt_tokens is None else piece.prompt_tokens
        counted = piece.completion_tokens
        self.completion_tokens = self.completion_tokens if counted is None else counted
        self._tell()

    def _tell(self) -> None:
        told, self._news = self._news, asyncio.Event()
        told.set()

    async def looks(self) -> AsyncGenerator[bool]:
        """Give True whenever something may be new, False after a long silence; end once nothing will be any more."""
        while True:
            news, over = self._news, self.ended
            yield True
            if over:
                return
            while not self.ended and not news.is_set():
                try:
                    async with asyncio.timeout(SILENCE_S):
                        await news.wait()
                except TimeoutError:
                    yield False
            await asyncio.sleep(BREATH_S)


@dataclass(frozen=True, kw_only=True)
class Play:
    """A prompt with everybody who was asked it."""

    id: str
    prompt: Prompt
    columns: tuple[Column, ...]
    at: datetime

    @property
    def ended(self) -> bool:
        return all(column.ended for column in self.columns)

    @property
    def most_chars(self) -> int:
        """That it holds, or may come to hold."""
        said = [self.prompt.system, self.prompt.user, *(message.content or "" for message in self.prompt.earlier)]
        return sum(map(len, said)) + sum(column.most_chars for column in self.columns)

    def begin(self, way: tuple[str, str]) -> None:
        """Ask everybody at once. Needs a running event loop; whoever begins it stops it."""
        for column in self.columns:
            column.doing = asyncio.create_task(column.ask(way, self.prompt))

    async def stop(self) -> None:
        """End what has not ended."""
        doing = [column.doing for column in self.columns if column.doing is not None and not column.doing.done()]
        for task in doing:
            task.cancel()
        if doing:
            await asyncio.wait(doing)
        for column in self.columns:
            if not column.ended:  # cancelled before it could begin
                column.state = "stopped"


class Memory:
    """What the plays of all sessions take of this process's memory. Whoever begins one has the eldest forgotten for it."""

    def __init__(self, most_chars: int = MOST_CHARS_OF_ALL) -> None:
        self._most_chars = most_chars
        self._by_id: dict[str, tuple[Play, Plays]] = {}
        """Each with whose it is, the eldest first."""

    @property
    def chars(self) -> int:
        """That all plays hold, or may come to hold."""
        return sum(play.most_chars for play, _ in self._by_id.values())

    async def keep(self, play: Play, whose: Plays) -> None:
        """Count a play, and have others forgotten where there is no room: those that have ended first, the eldest first."""
        self._by_id[play.id] = play, whose
        while self.chars > self._most_chars:
            others = [each for each in self._by_id.values() if each[0] is not play]
            if not others:
                return
            eldest, owner = next((each for each in others if each[0].ended), others[0])
            await owner.forget(eldest.id)

    def let_go(self, id: str) -> None:
        """Count a play no more."""
        self._by_id.pop(id, None)


class Plays:
    """The newest plays of a session."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._by_id: dict[str, Play] = {}
        """The eldest first."""

    def __iter__(self) -> Iterator[Play]:
        """Newest first."""
        return reversed(self._by_id.values())

    def find(self, id: str) -> Play | None:
        return self._by_id.get(id)

    async def begin(self, way: tuple[str, str], prompt: Prompt, names: Sequence[str], at: datetime) -> Play:
        """Ask a prompt of everybody; the oldest plays make room."""
        play = Play(id=new_id("play"), prompt=prompt, columns=tuple(Column(name=name) for name in names), at=at)
        self._by_id[play.id] = play
        play.begin(way)
        await self._memory.keep(play, self)
        while len(self._by_id) > MOST_PLAYS:
            await self.forget(next(iter(self._by_id)))
        return play

    async def forget(self, id: str) -> None:
        """Stop a play, and let go of it."""
        self._memory.let_go(id)
        play = self._by_id.pop(id, None)
        if play is not None:
            await play.stop()

    async def close(self) -> None:
        """Stop and forget them all."""
        while self._by_id:
            await self.forget(next(reversed(self._by_id)))
