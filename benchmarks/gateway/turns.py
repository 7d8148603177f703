"""Two checkouts of ours taking turns under the same load: what a change costs or saves, on a machine that is never quiet.

Both run at once on the gateway's core, one idle while the other is asked. Loads are short and alternate, so that a busy
minute hits both; medians of processor time are compared, and no absolute figure means anything.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gateway.gateways import Place, first_answer
from benchmarks.gateway.load import Demand, Loader, Target
from benchmarks.gateway.ours import TASK
from benchmarks.gateway.process import NotStartedError, Tree, environment, free_port, said, started

TURNS = 10
TURN_MS = 700
SETTLE_S = 0.35
"""After a load: records are written behind the answers."""
HERE = Path(__file__).resolve().parents[2]
MAKE = """\
import sys
from pathlib import Path
from benchmarks.gateway.ours import make_project
print(make_project(Path(sys.argv[1]), int(sys.argv[2]), None))
"""
SERVE = "from changeover.cli import main; main()"
DEMANDS: Mapping[str, Demand] = {
    "µs a request, 64 connections": Demand(mode="closed", connections=64, warm=0, run=TURN_MS),
    "µs a request, 1 connection": Demand(mode="closed", connections=1, warm=0, run=TURN_MS),
    "µs a chunk, 32 streams": Demand(mode="streams", kind="stream", connections=32, warm=0, run=TURN_MS),
    "µs a chunk, 200 paced streams": Demand(mode="streams", kind="paced", connections=200, warm=0, run=TURN_MS),
}


@dataclass
class Side:
    """One checkout under load."""

    name: str
    target: Target
    tree: Tree
    used: list[float] = field(default_factory=list[float])
    """Processor time of each turn, µs for each request or chunk."""


def take_turns(other: Path, place: Place, loader: Loader) -> dict[str, Any]:
    """Compare the checkout at `other` with this one, for every kind of load.

    Raises:
        NotStartedError: One of them does not come to answer.
    """
    found: dict[str, Any] = {"met": True, "other": str(other)}
    rows = [f"{'':32}{'other':>10}{'this':>10}{'this / other':>14}"]
    with ExitStack() as stack:
        sides = [stack.enter_context(_running(name, root, place)) for name, root in (("other", other), ("this", HERE))]
        for name, demand in DEMANDS.items():
            theirs, mine = (median(used) for used in _measured(sides, demand, loader))
            found[name] = {"other": theirs, "this": mine, "ratio": mine / theirs}
            rows.append(f"{name:32}{theirs:10.1f}{mine:10.1f}{mine / theirs:14.2f}")
        found["mb"] = {side.name: side.tree.memory_mb() for side in sides}
    rows.append(f"{'MB resident at the end':32}{found['mb']['other']:10.0f}{found['mb']['this']:10.0f}")
    return {**found, "text": "\n".join(rows)}


def _measured(sides: list[Side], demand: Demand, loader: Loader) -> list[list[float]]:
    for turn in range(TURNS + 1):
        for side in sides:
            before = side.tree.cpu_s()
            reported = loader.run(side.target, demand)
            time.sleep(SETTLE_S)
            count = reported["total"] if demand.mode == "closed" else reported["all_chunks"]
            if turn:  # the first warms
                side.used.append(1e6 * (side.tree.cpu_s() - before) / max(count, 1))
    taken = [side.used for side in sides]
    for side in sides:
        side.used = []
    return taken


@contextmanager
def _running(name: str, root: Path, place: Place) -> Generator[Side]:
    project = place.directory / name
    code = {"PYTHONPATH": f"{root}:{root / 'src'}"}
    made = subprocess.run(
        (sys.executable, "-c", MAKE, str(project), str(place.upstream)),
        cwd=root,
        env=environment(code),
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise NotStartedError(f"`{root}` cannot make a project: {made.stderr.strip()[-300:]}")
    port, began = free_port(), time.monotonic()
    argv = (sys.executable, "-c", SERVE, "up", "--json", "--until-stdin-closes", "--port", str(port))
    with started(argv, core=place.cores.gateway, directory=project, extra=code, pipe=True) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise NotStartedError(f"`{root}` ended before it said where it listens: {said(project)}")
        headers = {"authorization": f"Bearer {made.stdout.strip()}"}
        target = Target(port=port, model=TASK, headers=headers, pid=process.pid)
        first_answer(target, began, project, process.poll)
        yield Side(name, target, Tree(process.pid))
