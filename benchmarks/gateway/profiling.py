"""Where our processor time goes: py-spy's samples of all our processes, under whole answers and under streams."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.evals.install import UnavailableError, python_tool
from benchmarks.gateway.load import Demand, Loader, Target
from benchmarks.gateway.process import environment

PY_SPY = "py-spy==0.4.3"
SAMPLES_PER_S = 400
SHOWN = 30
DRAIN_MS = 10_000
WAITING = frozenset(
    {
        "_worker (concurrent/futures/thread.py)",
        "wait (threading.py)",
        "get (queue.py)",
        "select (selectors.py)",
        "_stop_at_end_of_input (changeover/cli/up.py)",
    }
)
"""Where threads sleep: py-spy cannot see everywhere that they do."""


def profile(target: Target, loader: Loader, seconds: float) -> dict[str, Any]:
    """Sample twice, at 64 connections and with saturated streams; the text says where the samples fell."""
    try:
        program = python_tool(PY_SPY.replace("==", "-"), PY_SPY) / "py-spy"
    except UnavailableError as exc:
        return {"text": f"no profile: py-spy {exc}", "met": False}
    run = int(1000 * (seconds + 1))
    demands = {
        "64 connections": Demand(mode="closed", connections=64, warm=0, run=run, drain=DRAIN_MS),
        "32 streams without a delay": Demand(
            mode="streams", kind="stream", connections=32, warm=0, run=run, drain=DRAIN_MS
        ),
    }
    parts: list[str] = []
    found: dict[str, Any] = {}
    for name, demand in demands.items():
        process = loader.begin(target, demand)
        try:
            stacks = _sample(program, target, seconds)
        except UnavailableError as exc:
            return {"text": f"no profile: {exc}", "met": False}
        finally:
            process.kill()
            process.communicate()
        found[name] = {"own": shares(stacks, own=True), "with_callees": shares(stacks, own=False), "stacks": stacks}
        parts += [f"{name}: own time", *_rows(found[name]["own"]), f"{name}: with what it calls"]
        parts += _rows(found[name]["with_callees"])
    return {"text": "\n".join(parts), "met": True, **found}


def _sample(program: Path, target: Target, seconds: float) -> list[str]:
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "stacks"
        argv = (
            *(str(program), "record", "--pid", str(target.pid), "--subprocesses", "--format", "raw"),
            *("--rate", str(SAMPLES_PER_S), "--duration", str(max(round(seconds), 1)), "--output", str(out)),
        )
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, env=environment(), timeout=seconds + 60, check=False
            )
        except subprocess.TimeoutExpired:
            raise UnavailableError("py-spy did not end in time") from None
        if done.returncode or not out.exists():
            raise UnavailableError(f"py-spy may not look into the process: {done.stderr.strip()[-300:]}")
        return out.read_text().splitlines()


def shares(stacks: Iterable[str], *, own: bool) -> dict[str, float]:
    """Share of the samples in each function, the largest first; threads that wait do not count.

    Args:
        stacks: Lines `outer (file.py:12);inner (file.py:30) COUNT`.
        own: Only the innermost function counts; else every function of the stack, once.
    """
    counted: Counter[str] = Counter()
    total = 0
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        names = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";") if not frame.startswith("process ")]
        if not names or not count.isdigit() or names[-1] in WAITING:
            continue
        total += int(count)
        for name in {names[-1]} if own else set(names):
            counted[name] += int(count)
    return {name: number / total for name, number in counted.most_common(SHOWN)}


def _rows(found: dict[str, float]) -> Sequence[str]:
    return [f"  {100 * share:5.1f} %  {name}" for name, share in found.items()]
