"""Comparisons of the busy installation: the real ones, with answers that are made up and given at once.

How good a variant is at a task is a number; whether it answers a sample well follows from that and from how hard the
sample is, the same each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, cast

from benchmarks.console.declared import Sketch, all_texts
from changeover.app.installation import Installation
from changeover.app.matching import Prepared, match_between, prepared
from changeover.evals.caller import Reply
from changeover.evals.comparison import compare
from changeover.evals.queries import Comparison, find_comparison
from changeover.evals.runner import Runner
from changeover.evals.sandbox import Sandbox
from changeover.serving.queries import keep_variant
from changeover.serving.variants import Variant

AT_ONCE = 24
JUDGE = "answer-judge"
"""The task that judges, where a judge is asked."""
NOISE = 0.15
"""How far luck with one sample goes beside how hard it is, share of the score."""
FAILING = 0.004
"""Share of answers that never come."""
HOSTILE = (
    "<script>document.title = 'taken over'</script>",
    '<img src=x onerror="alert(1)">',
    "[a link](javascript:alert(1)) and ![a picture](http://127.0.0.1:9/x.png)",
    "</td></tr></table></main><h1>Out of the box</h1>",
    "{{ 7 * 7 }} {% include '/etc/passwd' %}",
    "\u202egnorw\u202c \u2066text\u2069 \x1b[31mred\x1b[0m \ufffd",
    "x" * 400,
)
"""Answers of models that are hostile, or out of their mind; some of the good ones begin so."""


class SetClock:
    """A clock that stands where it is put, and moves on with what is asked."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._seconds = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._seconds

    def put(self, now: datetime) -> None:
        self._now = now

    def passes(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._seconds += seconds


class StoppedError(Exception):
    """A comparison shall stay as it is: under way."""


@dataclass
class MadeUp:
    """Answers as a caller gets them, without anybody who would think about them."""

    clock: SetClock
    skill: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    """By task and variant: the share of samples that it answers well, 0 to 1."""
    texts: dict[str, tuple[Sketch, int]] = field(default_factory=dict[str, tuple[Sketch, int]])
    """Whose sample a text is."""
    judge: Callable[[str], str] | None = None
    """What the judge says to what it is asked; None: nobody judges."""
    calls_left: int | None = None
    """After so many calls it stops; None: never."""

    def know(self, task: Sketch) -> None:
        """Be able to answer the samples of a task."""
        self.texts.update((text, (task, number)) for text, number in all_texts(task))

    async def ask(
        self, model: str, messages: Sequence[Mapping[str, Any]], *, timeout_s: float, **parameters: Any
    ) -> Reply:
        """Answer well, or not. See `Caller`."""
        if self.calls_left is not None:
            if self.calls_left == 0:
                raise StoppedError
            self.calls_left -= 1
        name, _, variant = model.partition("@")
        asked = str(messages[-1]["content"])
        if name == JUDGE and self.judge is not None:
            return Reply(
                text=self.judge(asked),
                error=None,
                finish_reason="stop",
                prompt_tokens=len(asked) // 4,
                completion_tokens=24,
                duration_ms=640,
            )
        task, number = self.texts[asked]
        luck, speed = chance(name, variant, number), chance("speed", variant)
        took = 180 + 1_400 * speed + 900 * chance("took", variant, number) ** 3
        self.clock.passes(took / 1000 / AT_ONCE)
        if luck < FAILING:
            return Reply(text=None, error="the engine answered with status 503: out of memory", duration_ms=took)
        text = self.answer(task, name, variant, number)
        words = len(text) // 4 + 1
        return Reply(
            text=text,
            error=None,
            finish_reason="stop",
            prompt_tokens=len(asked) // 4 + 40,
            completion_tokens=words,
            duration_ms=took,
        )

    def answer(self, task: Sketch, name: str, variant: str, number: int) -> str:
        """What a variant says to a sample."""
        hard, luck = chance(task.name, number), chance(name, variant, number)
        well = hard + NOISE * (luck - 0.5) < self.skill.get((name, variant), 0.8)
        text = task.filled(task.good if well else task.bad, number)
        if not task.labels and luck > 0.97:
            return f"{HOSTILE[number % len(HOSTILE)]}\n\n{text}"
        return text

    async def close(self) -> None:
        """It holds nothing."""


def chance(*of: object) -> float:
    """A number from 0 to 1 that is always the same for the same things."""
    digest = blake2b("\n".join(map(str, of)).encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48


class Comparing:
    """Makes comparisons in the past."""

    def __init__(self, installation: Installation, caller: MadeUp, clock: SetClock) -> None:
        self._installation = installation
        self._caller = caller
        self._clock = clock
        self._prepared: dict[str, Prepared] = {}
        self.made = 0

    async def compare(
        self, incumbent: Variant, candidate: Variant, at: datetime, actor: str, ready: Prepared | None = None
    ) -> Comparison:
        """Compare two variants of a task at a moment, by the task's own scorer or by another."""
        id = await self._run(incumbent, candidate, at, actor, ready)
        with self._installation.store.read() as connection:
            return find_comparison(connection, id)

    async def leave_under_way(self, incumbent: Variant, candidate: Variant, at: datetime, actor: str) -> None:
        """Begin a comparison that has not come to its end."""
        self._caller.calls_left = 40
        try:
            await self._run(incumbent, candidate, at, actor)
        except StoppedError:
            return
        finally:
            self._caller.calls_left = None

    async def _run(
        self, incumbent: Variant, candidate: Variant, at: datetime, actor: str, ready: Prepared | None = None
    ) -> str:
        self._clock.put(at)
        name = incumbent.task
        if name not in self._prepared:
            self._prepared[name] = prepared(self._installation, name)
        with self._installation.store.write() as connection:
            keep_variant(connection, candidate, at)
        ready = ready or self._prepared[name]
        match = match_between(self._installation, ready, incumbent, candidate, actor)
        runner = Runner(
            store=self._installation.store,
            caller=self._caller,
            sandbox=cast("Sandbox", None),  # no scorer of these tasks runs code
            clock=self._clock,
            at_once=AT_ONCE,
            prices=self._installation.project.settings.prices,
            judges=ready.judges,
        )
        self.made += 1
        id, _ = await compare(
            match,
            store=self._installation.store,
            runner=runner,
            clock=self._clock,
            on_progress=lambda live: None,
            progress_s=float("inf"),
        )
        return id
