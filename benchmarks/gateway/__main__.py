"""What a gateway costs: ours with everything on and its peers, on one core with the same bodies, in one run.

`python -m benchmarks.gateway [--quick] [--peers nginx,envoy,vllm_router,tensorzero,litellm] [--json FILE]`
`python -m benchmarks.gateway --soak MINUTES` · `--profile [SECONDS]` · `--against CHECKOUT`

A gateway has a core to itself; a load generator and an upstream in C share another. Requests are 2.4 KB, answers
1.75 KB, streams 64 chunks with usage; every answer is checked. Ours authenticates, limits, records everything into
SQLite and counts; the others forward, and LiteLLM and TensorZero translate. All on loopback, all bounded. Peers are
installed below the user's cache when first asked for; nginx is the system's. Each runs alone, rounds interleaved,
medians. On a busy machine trust processor time before requests a second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.evals.install import UnavailableError
from benchmarks.gateway.gateways import Gateway, Place
from benchmarks.gateway.load import Loader, upstream
from benchmarks.gateway.measure import FULL, QUICK, measure
from benchmarks.gateway.native import compiled
from benchmarks.gateway.ours import Ours
from benchmarks.gateway.peers import PEERS, SLOW_TO_START
from benchmarks.gateway.process import Cores, NotStartedError
from benchmarks.gateway.profiling import profile
from benchmarks.gateway.report import lines, summarise, table
from benchmarks.gateway.soak import soak
from benchmarks.gateway.turns import take_turns


def main() -> None:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        status = _run(arguments)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        status = 130
    except (UnavailableError, NotStartedError) as exc:
        print(f"the benchmark cannot run here: {exc}", file=sys.stderr)
        status = 1
    sys.exit(status)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gateway", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round with what is installed, within a minute")
    parser.add_argument("--peers", help=f"of {','.join(PEERS)}; `none` for this product alone (default: all)")
    parser.add_argument("--rounds", type=int, help=f"default {FULL.rounds}, with --quick {QUICK.rounds}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    parser.add_argument("--client", choices=["aiohttp", "wire"], help="`gateway.client` of ours; default: its default")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="instead: is our memory flat under mixed load")
    parser.add_argument(
        "--profile", type=float, nargs="?", const=8.0, metavar="SECONDS", help="instead: where our processor time goes"
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="CHECKOUT",
        help="instead: processor time of another checkout of ours beside this one's",
    )
    arguments = parser.parse_args()
    for name in _names(arguments):
        if name not in PEERS:
            parser.error(f"no peer `{name}`; known: {', '.join(PEERS)}")
    return arguments


def _names(arguments: argparse.Namespace) -> list[str]:
    if arguments.peers is not None:
        return [] if arguments.peers == "none" else arguments.peers.split(",")
    return [name for name in PEERS if not (arguments.quick and name in SLOW_TO_START)]


def _run(arguments: argparse.Namespace) -> int:
    programs, cores, ours = compiled(), Cores.here(), Ours(client=arguments.client)
    ours.install(now=True)
    plan = QUICK if arguments.quick else FULL
    if arguments.rounds is not None:
        plan = type(plan)(**{**vars(plan), "rounds": arguments.rounds})
    absent: dict[str, str] = {}
    alone = arguments.soak is not None or arguments.profile is not None or arguments.against is not None
    peers = [] if alone else _installed(_names(arguments), absent, now=not arguments.quick)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        directory = Path(name)
        with upstream(programs, cores, directory / "upstream") as port:
            loader = Loader(programs, cores, directory)

            def place(home: Path) -> Place:
                return Place(directory=home, cores=cores, upstream=port)

            if alone:
                home = directory / "ours"
                home.mkdir()
                if arguments.against is not None:
                    return _say(take_turns(arguments.against.resolve(), place(home), loader), arguments.json)
                with ours.running(place(home)) as running:
                    if arguments.profile:
                        found = profile(running.target, loader, arguments.profile)
                    else:
                        found = soak(running.target, loader, arguments.soak or 0.0)
                return _say(found, arguments.json)
            results = measure([*peers, ours], plan, place, loader, directory)
    summary = {
        **summarise(results),
        "absent": absent,
        "quick": arguments.quick,
        "machine": _machine(cores, load),
    }
    print(table(summary))
    for line in (*lines(summary), *(f"{name}: absent, {reason}" for name, reason in absent.items())):
        print(line)
    machine = summary["machine"]
    print(
        f"load of the machine {machine['load_before']:.1f} before, {machine['cores']} cores, Python {machine['python']}"
    )
    _write(summary, arguments.json)
    return 0 if results[ours.name].rounds else 1


def _installed(names: Sequence[str], absent: dict[str, str], *, now: bool) -> list[Gateway]:
    """The named peers that can be had; the reason of each that cannot goes into `absent`."""
    found: list[Gateway] = []
    for name in names:
        try:
            PEERS[name].install(now=now)
        except UnavailableError as exc:
            absent[name] = str(exc)
        else:
            found.append(PEERS[name])
    return found


def _machine(cores: Cores, load: float) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "gateway_core": cores.gateway,
        "load_core": cores.load,
        "load_before": load,
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def _say(found: dict[str, Any], file: Path | None) -> int:
    print(found.pop("text"))
    _write(found, file)
    return 0 if found["met"] else 1


def _write(found: dict[str, Any], file: Path | None) -> None:
    if file is not None:
        file.write_text(json.dumps(found, indent=2) + "\n")


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    """End as after Ctrl-C, so that everything that was started is stopped."""
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
