"""Tokens a second, time to the first token, load time and memory of an embedded engine, directly and through the gateway.

The gateway stands before the very process that is asked directly, and both are asked in turns, so that a machine that
others use slows both down; what is reported are medians of ratios within a turn. llama.cpp beside it is a bare process
with the same weights, threads and slots, called natively, without a server.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.promises import Target, at_least, at_most, command
from benchmarks.serving.running import TASK, Door, Engine, engine, gateway, native, patiently
from changeover.core.settings import cache_directory
from changeover.library.catalogue import Catalogue
from changeover.library.pull import artifact_path, present
from changeover.serving.pace import QUESTION, answered, pace_of
from changeover.serving.plan import EnginePlan
from changeover.serving.upstream import Upstream, make_client

MODELS = ("smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct")
TURNS = {1: 12, 4: 6, 8: 4}
"""How often each is asked in turn, by requests at once: many short turns, since what else the machine does changes within
seconds."""
SLOTS = 8
CONTEXT = 1024
TOKENS = 64
THREADS = 2
ASKED = {"ratio": 0.97, "first_ms": 3.0, "load": 1.1}
RULES = "Rule {number}: a note is answered briefly, in the language in which it was written, and names its sender. "
"""Repeated, it is the common prompt of a task."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """So many requests at once."""

    at_once: int
    native_per_s: float
    direct_per_s: float
    gateway_per_s: float
    ratio: float
    """Of the gateway's pace to the direct one, the median of the turns."""
    direct_first_ms: float
    gateway_first_ms: float
    memory_mib: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One model."""

    model: str
    rows: tuple[Row, ...]
    added_first_ms: float
    """What the gateway adds to the time to the first token, the median of single requests in turns."""
    load_s: float
    native_load_s: float
    load_ratio: float
    prompt_tokens: int
    cold_first_ms: float
    """Of a task's prompt that the engine has not read before."""
    warm_first_ms: float
    """Of the same prompt before another question."""


class Numbers:
    """Numbers of questions: none is asked twice, or the engine would have read it already."""

    def __init__(self) -> None:
        self._next = 1

    def take(self, count: int) -> int:
        first, self._next = self._next, self._next + count
        return first


async def measured(plan: EnginePlan, quick: bool) -> Measured:
    """Everything of one model."""
    singles, loads = (8, 2) if quick else (40, 7)
    numbers = Numbers()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        async with engine(plan, directory) as running:
            (project := directory / "project").mkdir()
            with gateway(running, project) as door, native(plan, THREADS, directory) as alone:
                direct, through, close = _ways(running, door)
                try:
                    await patiently(through)
                    rows = [await _row(direct, through, alone, running, at_once, numbers) for at_once in TURNS]
                    added = await _added(direct, through, singles, numbers)
                    prefix = await _prefix(through, 3 if quick else 7, numbers)
                finally:
                    await close()
        ours, bare = await _loads(plan, directory, loads)
    return Measured(
        model=plan.model,
        rows=tuple(rows),
        added_first_ms=added,
        load_s=median(ours),
        native_load_s=median(bare),
        load_ratio=median(mine / theirs for mine, theirs in zip(ours, bare, strict=True)),
        prompt_tokens=prefix[0],
        cold_first_ms=prefix[1],
        warm_first_ms=prefix[2],
    )


def _ways(running: Engine, door: Door) -> tuple[Upstream, Upstream, Any]:
    client = make_client("wire")
    direct = client.upstream("direct", f"http://127.0.0.1:{running.port}", running.secret, None)
    through = client.upstream("gateway", f"http://127.0.0.1:{door.port}", door.secret, None)
    return direct, through, client.close


async def _row(direct: Upstream, through: Upstream, alone: Any, running: Engine, at_once: int, numbers: Numbers) -> Row:
    requests = at_once
    natives, directs, throughs = [], [], []
    for turn in range(TURNS[at_once] + 1):
        bodies = [_body(numbers.take(1)) for _ in range(requests)]
        natives.append(await asyncio.to_thread(alone.tokens_per_s, bodies, at_once))
        order = ((directs, direct, "direct"), (throughs, through, TASK))
        for into, upstream, model in order if turn % 2 else reversed(order):
            first = numbers.take(requests)
            into.append(
                await pace_of(upstream, model=model, at_once=at_once, requests=requests, tokens=TOKENS, first=first)
            )
    # The first turn warms all of them up.
    natives, directs, throughs = natives[1:], directs[1:], throughs[1:]
    return Row(
        at_once=at_once,
        native_per_s=median(natives),
        direct_per_s=median(each.tokens_per_s for each in directs),
        gateway_per_s=median(each.tokens_per_s for each in throughs),
        ratio=median(b.tokens_per_s / a.tokens_per_s for a, b in zip(directs, throughs, strict=True)),
        direct_first_ms=1000 * median(each.first_s for each in directs),
        gateway_first_ms=1000 * median(each.first_s for each in throughs),
        memory_mib=running.memory_mib(),
    )


async def _added(direct: Upstream, through: Upstream, singles: int, numbers: Numbers) -> float:
    """What the gateway adds to the first token, in milliseconds."""
    differences = []
    for number in range(singles):
        order = [("direct", direct), (TASK, through)]
        found = {}
        for model, upstream in order if number % 2 else reversed(order):
            found[model] = (await answered(upstream, {**_body(numbers.take(1), 2), "model": model, **STREAM})).first_s
        differences.append(1000 * (found[TASK] - found["direct"]))
    return median(differences)


async def _prefix(through: Upstream, times: int, numbers: Numbers) -> tuple[int, float, float]:
    """Tokens of a task's common prompt, and the time to the first token before and after the engine has read it."""
    cold, warm, tokens = [], [], 0
    for _ in range(times):
        before = "".join(RULES.format(number=numbers.take(1)) for _ in range(20))
        for into in (cold, warm):
            pace = await pace_of(
                through, model=TASK, at_once=1, requests=1, tokens=2, first=numbers.take(1), before=before
            )
            into.append(1000 * pace.first_s)
            tokens = pace.answers[0].prompt_tokens
    return tokens, median(cold), median(warm)


async def _loads(plan: EnginePlan, directory: Path, times: int) -> tuple[Sequence[float], Sequence[float]]:
    """Seconds to load, ours and llama.cpp's alone, in turns."""
    ours, bare = [], []
    for _ in range(times):
        async with engine(plan, directory) as running:
            ours.append(running.load_s)
        with native(plan, THREADS, directory) as alone:
            bare.append(alone.load_s)
    return ours, bare


STREAM: Mapping[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


def _body(number: int, tokens: int = TOKENS) -> dict[str, Any]:
    question = {"role": "user", "content": QUESTION.format(number=number)}
    return {"messages": [question], "max_tokens": tokens, "temperature": 0}


def run(quick: bool) -> dict[str, object]:
    """Everything that `--json` writes."""
    found, absent = [], []
    for name in MODELS[:1] if quick else MODELS:
        card = Catalogue.load().card(name)
        artifact = card.artifacts[0]
        if not present(artifact, cache_directory()):
            absent.append(name)
            continue
        plan = EnginePlan(
            deployment="direct",
            backend="local",
            model=name,
            artifact=artifact_path(artifact, cache_directory()),
            weights_digest=artifact.sha256,
            options={"slots": SLOTS, "context_tokens": CONTEXT, "threads": THREADS},
        )
        found.append(asyncio.run(measured(plan, quick)))
    return {
        "models": [asdict(each) for each in found],
        "targets": [asdict(target) for each in found for target in _targets(each)],
        "absent": absent,
    }


def _targets(each: Measured) -> list[Target]:
    return [
        *(
            at_least(
                f"{each.model}, {row.at_once} at once: pace through the gateway / direct", ASKED["ratio"], row.ratio, 0
            )
            for row in each.rows
        ),
        at_most(f"{each.model}: added to the first token, ms", ASKED["first_ms"], each.added_first_ms, 0),
        at_most(f"{each.model}: load / llama.cpp's own", ASKED["load"], each.load_ratio, 0),
    ]


def show(report: dict[str, Any]) -> None:
    """Print the tables as Markdown, ready for docs/benchmarks.md."""
    print("| model | at once | llama.cpp alone | direct | gateway | ratio | first token, direct | gateway | memory |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for each in report["models"]:
        for row in each["rows"]:
            print(
                f"| {each['model']} | {row['at_once']} | {row['native_per_s']:.1f} tok/s | {row['direct_per_s']:.1f} | "
                f"{row['gateway_per_s']:.1f} | {row['ratio']:.3f} | {row['direct_first_ms']:.0f} ms | "
                f"{row['gateway_first_ms']:.0f} ms | {row['memory_mib']:.0f} MiB |"
            )
    for each in report["models"]:
        print(
            f"\n{each['model']}: the gateway adds {each['added_first_ms']:.2f} ms to the first token; loaded in "
            f"{each['load_s']:.2f} s, llama.cpp alone {each['native_load_s']:.2f} s (× {each['load_ratio']:.2f}); a prompt "
            f"of {each['prompt_tokens']} tokens {each['cold_first_ms']:.0f} ms to the first token, "
            f"{each['warm_first_ms']:.0f} ms once it was read."
        )
    print("\n| promise | asked | measured | |\n|---|--:|--:|---|")
    for target in report["targets"]:
        met = "met" if target["met"] else "**not met**"
        print(f"| {target['name']} | {target['asked']:g} | {target['measured']:.3g} | {met} |")
    for name in report["absent"]:
        print(f"\nNot measured: {name}; `changeover pull {name}` fetches it.")


if __name__ == "__main__":
    command(__doc__, run, show)
