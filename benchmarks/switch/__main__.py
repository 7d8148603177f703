"""A hundred switches under load, and what becomes of a bad candidate: does anybody notice, and for how long.

`python -m benchmarks.switch [--quick] [--engines echo|real] [--only four,one,real,bad] [--switches N] [--json FILE]`

four, one   promotions and rollbacks on echo engines, over four gateway processes and over one: requests that failed,
            streams that were cut, the time that answers took near a switch and far from one, in windows that alternate
            within the run, and the time from the commit until all requests are answered by the new route
real        the same on SmolLM2-135M, twice in llama.cpp
bad         candidates in a canary that fail, answer garbage or nothing, or are ten times slower: requests and seconds
            until the incumbent answers everything again

The system runs as `changeover up`, the load in a process of its own at a steady rate, whole answers and streams mixed, every
request as another user. Each load ends by itself. The status is 1 if a request failed, a stream was cut, or a bad
candidate stayed; latencies depend on the machine, and are shown beside what is asked of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.switch.candidates import BAD, DELAY_S, take_out
from benchmarks.switch.load import Line, LoadError, lines_of
from benchmarks.switch.projects import MODEL, echo_case, real_case, weights_are_here
from benchmarks.switch.report import Section, lines, section_of_canaries, section_of_run
from benchmarks.switch.takeover import ECHO, REAL, switch_under_load
from changeover.cli.weights import fetch
from changeover.core.settings import cache_directory
from changeover.library.catalogue import Catalogue

PARTS = ("four", "one", "real", "bad")
ON_ECHO = ("four", "one", "bad")
WHOLE: Mapping[str, int] = {"four": 100, "one": 100, "real": 100, "bad": 5}
"""Switches; of `bad` rounds."""
QUICK: Mapping[str, int] = {"four": 60, "one": 40, "real": 8, "bad": 1}
QUICK_BAD = ("errors-50", "garbage", "slow-10x")
WHOLE_S, STREAM_S = 0.025, 0.025
"""Between two requests of a caller on echo engines: 160 whole answers and 40 streams a second together."""
CHUNK_S = 0.02
"""Between the chunks of an echo engine's stream: it lasts through a switch, and is not done in one."""
REAL_WORKERS = 4
CALLERS = 3
"""Of the real engines, which may have two cores between them."""


def main() -> None:
    arguments = _arguments()
    print(f"{_machine()}", flush=True)
    sections: list[Section] = []
    try:
        with tempfile.TemporaryDirectory(prefix="switch-") as name:
            for part in arguments.parts:
                print(f"running {part} …", file=sys.stderr, flush=True)
                section = _run(part, Path(name) / part, arguments.switches or arguments.amounts[part], arguments.quick)
                if section is not None:
                    sections.append(section)
    except LoadError as exc:
        sys.exit(f"the benchmark cannot run here: {exc}")
    print("\n".join(lines(sections)))
    print(f"\nload of the machine at the end {os.getloadavg()[0]:.1f}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({each.title: each.figures for each in sections}, indent=2) + "\n")
    sys.exit(not all(section.holds for section in sections))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.switch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer of everything, within three minutes")
    parser.add_argument("--engines", choices=["echo", "real"], help="only what runs on these (default: both)")
    parser.add_argument("--only", help=f"of {','.join(PARTS)} (default: all)")
    parser.add_argument("--switches", type=int, help="in each part, instead of 100; with --only bad: rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there too")
    arguments = parser.parse_args()
    chosen = PARTS if arguments.only is None else tuple(arguments.only.split(","))
    for part in chosen:
        if part not in PARTS:
            parser.error(f"no part `{part}`; known: {', '.join(PARTS)}")
    if arguments.engines is not None:
        chosen = tuple(part for part in chosen if (part in ON_ECHO) == (arguments.engines == "echo"))
    arguments.parts, arguments.amounts = chosen, QUICK if arguments.quick else WHOLE
    return arguments


def _run(part: str, directory: Path, amount: int, quick: bool) -> Section | None:
    parts: Mapping[str, Callable[[], Section | None]] = {
        "four": lambda: _on_echo(directory, 4, amount),
        "one": lambda: _on_echo(directory, 1, amount),
        "real": lambda: _on_real(directory, amount, may_fetch=not quick),
        "bad": lambda: _bad(directory, QUICK_BAD if quick else tuple(BAD), amount),
    }
    return parts[part]()


def _on_echo(directory: Path, workers: int, switches: int) -> Section:
    with echo_case(directory, workers, options={"chunk_delay_s": CHUNK_S}) as case:
        run = switch_under_load(case, lines_of(workers, whole_s=WHOLE_S, stream_s=STREAM_S), ECHO, switches)
    number = f"{workers} gateway process{'es' * (workers > 1)}"
    return section_of_run(f"{len(run.deeds)} switches in {run.seconds:.0f} s on echo engines, {number}", run)


def _on_real(directory: Path, switches: int, *, may_fetch: bool) -> Section | None:
    if not weights_are_here():
        if not may_fetch:
            print(f"real is left out: `changeover pull {MODEL}` fetches what it needs", file=sys.stderr)
            return None
        fetch([Catalogue.load().card(MODEL)], cache_directory())
    callers = tuple(Line(stream=number % 2 == 0, period_s=None, alternates=True) for number in range(CALLERS))
    with real_case(directory, REAL_WORKERS) as case:
        run = switch_under_load(case, callers, REAL, switches)
    title = f"{len(run.deeds)} switches in {run.seconds:.0f} s on SmolLM2-135M twice, {REAL_WORKERS} gateway processes"
    return section_of_run(title, run)


def _bad(directory: Path, names: tuple[str, ...], rounds: int) -> Section:
    with echo_case(directory, 1, options={"delay_s": DELAY_S}, guarded=True) as case:
        canaries = take_out(case, names, rounds)
    return section_of_canaries(
        f"bad candidates in a canary of 25 %, each {rounds} time{'s' * (rounds > 1)}, 1 gateway process", canaries
    )


def _machine() -> str:
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, load of the machine before {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}"


if __name__ == "__main__":
    main()
