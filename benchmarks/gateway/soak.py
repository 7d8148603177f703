"""Ours under a moderate mixed load for minutes: is its memory flat, and is every request answered."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median
from typing import Any

from benchmarks.gateway.load import Demand, Loader, LoadError, Target, failures, parsed

SLICE_MS = 15_000
SAMPLE_S = 1.0
DEMANDS = (
    Demand(mode="open", connections=64, warm=0, run=SLICE_MS, rate=150),
    Demand(mode="streams", kind="paced", connections=30, warm=0, run=SLICE_MS),
    # Ends without waiting: callers that leave in the middle of an answer are part of the mix.
    Demand(mode="streams", kind="paced", connections=10, warm=0, run=SLICE_MS, drain=0),
)
LEAVERS = DEMANDS[2]
GROWTH_MB = 5.0
"""Between the second tenth of the time and the last; the first fills caches."""
MOST_MB = 100.0


def soak(target: Target, loader: Loader, minutes: float) -> dict[str, Any]:
    """Run the mix in slices and sample the memory of the gateway's processes."""
    tree = target.tree()
    assert tree is not None
    began, failed, requests = time.monotonic(), 0, 0
    samples: list[tuple[float, float]] = []
    notes: list[str] = []
    idle = tree.memory_mb()
    while (passed := time.monotonic() - began) < 60 * minutes:
        running = [(demand, loader.begin(target, demand)) for demand in DEMANDS]
        try:
            while any(process.poll() is None for _, process in running):
                if time.monotonic() - began - passed > SLICE_MS / 1000 + 30:
                    raise LoadError("the load generator did not end in time")
                samples.append((time.monotonic() - began, tree.memory_mb()))
                time.sleep(SAMPLE_S)
        finally:
            for _, process in running:
                process.kill()
        for demand, process in running:
            said = _said(process)
            requests += said["total"]
            bad = failures(said) - (said["errors"]["unfinished"] if demand is LEAVERS else 0)
            failed += bad
            if bad and said["first_error"]:
                notes.append(said["first_error"])
        print(f"  {passed / 60:.1f} of {minutes:g} min: {samples[-1][1]:.0f} MB", file=sys.stderr, flush=True)
    return verdict(idle, samples, requests, failed, notes)


def _said(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate()
    if process.returncode:
        raise LoadError(f"the load generator ended with {process.returncode}: {err.strip()}")
    return parsed(out)


def verdict(
    idle: float, samples: list[tuple[float, float]], requests: int, failed: int, notes: list[str]
) -> dict[str, Any]:
    """Whether memory stayed flat.

    Args:
        idle: MB before the load.
        samples: (seconds, MB), in order.
        requests: Asked in all.
        failed: Of these, not answered as they should have been.
        notes: The first error of each slice that had one.
    """
    tenth = max(len(samples) // 10, 1)
    memory = [mb for _, mb in samples]
    early, late = median(memory[tenth : 2 * tenth] or memory), median(memory[-tenth:])
    most = max(memory)
    met = late - early <= GROWTH_MB and most <= MOST_MB and failed == 0
    text = (
        f"{requests:,} requests in {samples[-1][0] / 60:.1f} min, {failed} failed; resident {idle:.0f} MB idle, "
        f"{early:.0f} early, {late:.0f} at the end, {most:.0f} at most: {'flat' if met else 'NOT as it should be'}"
    )
    figures = {"idle_mb": idle, "early_mb": early, "late_mb": late, "most_mb": most, "samples": samples}
    return {"text": text, "met": met, "requests": requests, "failed": failed, "notes": notes, **figures}
