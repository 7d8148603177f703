"""What the machinery of an evaluation costs: this product and its peers on the same work, in one run.

`python -m benchmarks.evals [--quick] [--peers inspect,promptfoo,lm-eval,evalscope,bare] [--json FILE]`

500 one-line cases x 2 models are 1,000 chat calls to an echo server on loopback, 32 in flight, each answer checked for
a word, results on disk. The server answers at once, or after 50 ms. Wall and processor time of the whole process with
its children, its largest resident set; medians of interleaved repeats. Peers are installed below the user's cache when
first asked for. Trust processor time before wall time where the machine has other work.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.evals.install import UnavailableError
from benchmarks.evals.measure import Plan, measure
from benchmarks.evals.ours import OURS
from benchmarks.evals.peers import PEERS
from benchmarks.evals.report import summary, table, targets_met
from benchmarks.evals.tool import Tool


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evals", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50 cases, once, without peers unless they are named")
    parser.add_argument("--peers", help=f"of {','.join(PEERS)}; `none` for this product alone (default: all)")
    parser.add_argument("--repeats", type=int, help="default 3")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the medians there too")
    arguments = parser.parse_args()
    plan = Plan(cases=50 if arguments.quick else 500, repeats=arguments.repeats or (1 if arguments.quick else 3))
    names = arguments.peers or ("none" if arguments.quick else ",".join(PEERS))
    tools: list[Tool] = [*OURS, *_installed([] if names == "none" else names.split(","), parser)]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as directory:
        figures = measure(tools, plan, Path(directory))
    results = {name: summary(each) for name, each in figures.items()}
    print(table(results))
    print(f"load of the machine {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores")
    for name, result in results.items():
        for note in result["notes"]:
            print(f"{name}: {note}")
    lines = [line for tool in OURS for line in targets_met(tool.name, results[tool.name])]
    if not arguments.quick:
        for line, _ in lines:
            print(line)
    if arguments.json is not None:
        arguments.json.write_text(
            json.dumps({"cases": plan.cases, "repeats": plan.repeats, "tools": results}, indent=2)
        )
    ours = [results[tool.name] for tool in OURS]
    sys.exit(any(result["notes"] or result["wall_s"] is None for result in ours))


def _installed(names: list[str], parser: argparse.ArgumentParser) -> list[Tool]:
    """The named peers that can be had; a line for each that cannot."""
    found: list[Tool] = []
    for name in names:
        if name not in PEERS:
            parser.error(f"no peer `{name}`; known: {', '.join(PEERS)}")
        for peer in PEERS[name]:
            try:
                peer.install()
            except UnavailableError as exc:
                print(f"{peer.name}: left out, {exc}", file=sys.stderr)
            else:
                found.append(peer)
    return found


if __name__ == "__main__":
    main()
