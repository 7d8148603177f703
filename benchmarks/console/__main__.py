"""How long the console's pages take, with 30 tasks, 1,000 runs and 1,000,000 exchanges in the store.

    python -m benchmarks.console [--quick] [--postgres] [--project DIRECTORY] [--json FILE]

Makes the busy installation, starts its gateway and its console, signs in, follows links to some addresses of every page,
and asks each of them several times. `first content` is the time until the first byte of the page is here; `cold` is what the
very first look took, and beside them stands what the console computed for it, which others on the machine change less. Then the same pages are asked in this process,
and every statement is counted; the database explains those that are about exchanges: none may read the table whole.
`--postgres` takes a server of its own instead of SQLite; `--quick` makes 20,000 exchanges and 260 runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from tests.support import postgres

from benchmarks.console.busy import make
from benchmarks.console.statements import statements_of
from benchmarks.console.visiting import ROUTES, Visitor, addresses, running_console, running_system

LIMIT_MS = 200.0
TIMES = 9
"""That each address is asked."""
QUICK, FULL = (20_000, 260), (1_000_000, 1_000)
"""Exchanges, runs."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One page."""

    page: str
    late: bool
    """Fetched once its page is there: how long it takes keeps nobody from the first content."""
    addresses: int
    p50_ms: float
    p95_ms: float
    cold_ms: float
    """The very first look at an address, the longest of them: nothing was read or drawn before."""
    cpu_ms: float
    """Median."""
    statements: int
    """Of the address that asked for most."""
    whole: tuple[str, ...]
    """Statements that read `exchanges` from end to end."""
    statuses: tuple[int, ...]


def measure(project: Path) -> list[Row]:
    """Every page of a project's console."""
    with running_system(project), running_console(project) as visitor:
        found = addresses(visitor)
        looks = {address: _looks(visitor, address) for each in found.values() for address in each}
        lasting = {address for address, (_, _, _, size) in looks.items() if not size}
        queried = asyncio.run(statements_of(project, [each for each in looks if each not in lasting]))
    parted = [
        (page, late, [address for address in known if (address in visitor.late) == late])
        for page, known in sorted(found.items())
        for late in (False, True)
    ]
    rows: list[Row] = []
    for page, late, known in parted:
        if not known:
            continue
        first = [ms for address in known for ms in looks[address][0]]
        asked = [queried[address] for address in known if address in queried]
        rows.append(
            Row(
                page=page,
                late=late,
                addresses=len(known),
                p50_ms=median(first),
                p95_ms=_percentile(first),
                cold_ms=max(visitor.cold[address] for address in known),
                cpu_ms=median(ms for address in known for ms in looks[address][1]),
                statements=max((each.statements for each in asked), default=0),
                whole=tuple(dict.fromkeys(text for each in asked for text in each.whole)),
                statuses=tuple(sorted({status for address in known for status in looks[address][2]})),
            )
        )
    return rows


def _looks(visitor: Visitor, address: str) -> tuple[list[float], list[float], set[int], int]:
    looks = [visitor.look(address) for _ in range(TIMES)]
    first, computed = [look.first_ms for look in looks], [look.cpu_ms for look in looks]
    return first, computed, {look.status for look in looks}, len(looks[0].text)


def _percentile(values: Sequence[float], share: float = 0.95) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


@contextmanager
def _database(on_postgres: bool) -> Generator[str | None]:
    """Address of an empty database; None: SQLite in the project."""
    if not on_postgres:
        yield None
        return
    if reason := postgres.missing():
        sys.exit(reason)
    with postgres.server() as server:
        yield server.fresh()


def _show(rows: Sequence[Row], made_s: float) -> bool:
    """Print the table; whether every page kept what was promised."""
    print(
        f"made in {made_s:.0f} s; each address asked {TIMES} times; limit {LIMIT_MS:.0f} ms to first content at p95\n"
    )
    print(f"{'page':44} {'addresses':>9} {'p50 ms':>8} {'p95 ms':>8} {'cold ms':>8} {'CPU ms':>8} {'statements':>11}")
    for row in rows:
        said = ["fetched later"] if row.late else [] if row.p95_ms <= LIMIT_MS else ["slow"]
        said += ["reads exchanges whole"] if row.whole else []
        said += [] if max(row.statuses) < 400 else [f"status {max(row.statuses)}"]
        figures = f"{row.p50_ms:8.1f} {row.p95_ms:8.1f} {row.cold_ms:8.1f} {row.cpu_ms:8.1f} {row.statements:11}"
        print(f"{row.page:44} {row.addresses:9} {figures}  {', '.join(said)}")
    for row in rows:
        for text in row.whole:
            print(f"\n{row.page} reads exchanges whole:\n  {' '.join(text.split())[:400]}")
    missed = [path for path, _ in ROUTES if path not in {row.page for row in rows}]
    if missed:
        print(f"\nno link leads to: {', '.join(missed)}")
    return all((row.late or row.p95_ms <= LIMIT_MS) and not row.whole and max(row.statuses) < 400 for row in rows)


def main() -> None:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.console", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20,000 exchanges and 260 runs")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL server of its own")
    parser.add_argument("--project", type=Path, help="one that was made before, instead of making one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    said = parser.parse_args()
    exchanges, runs = QUICK if said.quick else FULL
    with _database(said.postgres) as url, tempfile.TemporaryDirectory() as directory:
        began, project = time.monotonic(), said.project
        if project is None:
            project = Path(directory) / "busy"
            make(project, tasks=30, exchanges=exchanges, runs=runs, url=url, asleep=True).store.close()
        made_s = time.monotonic() - began
        rows = measure(project)
    kept = _show(rows, made_s)
    if said.json:
        said.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
