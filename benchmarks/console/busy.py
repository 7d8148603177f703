"""Make a busy installation: thirty tasks with months of history, to look at pages with and to measure them by.

    python -m benchmarks.console.busy DIRECTORY [--tasks 30] [--exchanges 20000] [--runs 200] [--url postgresql…]

The project is complete: `changeover status` works in it, and `changeover up` starts it; its models are echo engines under
the names of real ones. Everything in it is invented, and the same each time but for ids and keys. Secrets of one key of each
role lie in its `.changeover/keys.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.console.around import add_deployments, add_keys, add_neighbours, add_trials, apply_declarations
from benchmarks.console.declared import Sketch, sketches, write_declarations
from benchmarks.console.evaluated import Comparing, MadeUp, SetClock
from benchmarks.console.judged import add_judged, judgement
from benchmarks.console.past import Past
from benchmarks.console.traffic import add_traffic, analyse
from changeover.app.create import create_installation
from changeover.app.installation import Installation
from changeover.app.local import write_private
from changeover.core.clock import SystemClock
from changeover.core.settings import open_project

JUDGED = "meeting-minutes"
"""The task of which a comparison was scored by a judge."""


def make(
    directory: Path,
    *,
    tasks: int,
    exchanges: int,
    runs: int,
    url: str | None = None,
    attempts: int | None = None,
    asleep: bool = False,
    now: datetime | None = None,
) -> Installation:
    """Make it in a directory that is empty or not there yet, and give it opened, at the moment when its history ends.

    Args:
        directory: Where the project shall be.
        tasks: How many.
        exchanges: Recorded over the last thirty days.
        runs: Comparisons, at least as many as rollouts and trials need.
        url: Of an empty database; None: SQLite within the project.
        attempts: Earlier rollouts of each task; None: some, and of the first task many.
        asleep: Whether its engines shall not run when it is started.
        now: When its history ends; None: at this moment.
    """
    chosen = sketches(tasks)
    write_declarations(directory, chosen, url)
    now = now or SystemClock().now().replace(microsecond=0)
    clock = SetClock(now)
    installation = replace(create_installation(open_project(directory)), clock=clock)
    caller = MadeUp(clock)
    for sketch in chosen:
        caller.know(sketch)
    add_deployments(installation, now - timedelta(days=200), asleep=asleep)
    secrets = add_keys(installation, now)
    asyncio.run(_tell(installation, chosen, caller, clock, runs, attempts))
    clock.put(now)
    apply_declarations(installation, now)
    add_traffic(installation, chosen, exchanges, now)
    add_neighbours(installation, chosen, now)
    analyse(installation)
    write_private(installation.project.state / "keys.json", json.dumps(secrets, indent=1))
    return installation


async def _tell(
    installation: Installation,
    chosen: list[Sketch],
    caller: MadeUp,
    clock: SetClock,
    runs: int,
    attempts: int | None,
) -> None:
    """Comparisons, rollouts and trials, in the order in which they came about for each task."""
    now = clock.now()
    comparing = Comparing(installation, caller, clock)
    past = Past(installation, caller, comparing, now)
    for place, sketch in enumerate(chosen):
        await past.tell(sketch, place, attempts)
    caller.judge = judgement
    named = {sketch.name: sketch for sketch in chosen}
    await add_judged(installation, named.get(JUDGED, chosen[-1]), caller, comparing, past.incumbents, now)
    await add_trials(installation, chosen, caller, comparing, past.incumbents, now)
    for number in range(max(runs - comparing.made, 0)):
        sketch = chosen[number % len(chosen)]
        at = now - timedelta(hours=2 + 37 * number % 700)
        await past.look(sketch, number, tried=number // len(chosen), at=at)


def main() -> None:
    """Read the command line, make it, and say where it is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console.busy", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--tasks", type=int, default=30)
    parser.add_argument("--exchanges", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--url", help="address of an empty PostgreSQL database")
    said = parser.parse_args()
    if said.directory.exists() and any(said.directory.iterdir()):
        parser.error(f"`{said.directory}` is not empty; name a directory that is, or that is not there yet")
    began = time.monotonic()
    made = make(said.directory, tasks=said.tasks, exchanges=said.exchanges, runs=said.runs, url=said.url)
    print(f"{said.directory}: {len(made.tasks)} tasks, {said.exchanges:,} exchanges, {time.monotonic() - began:.0f} s")
    made.store.close()


if __name__ == "__main__":
    main()
