"""What a benchmark asks for, held against what it measured; and its command line."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A promise and what was measured."""

    name: str
    asked: float
    measured: float
    allowance: float
    """Monte Carlo error, three standard errors, that is forgiven."""
    met: bool


def noise(rate: float, runs: int) -> float:
    """Three standard errors of a share of so many runs."""
    return 3.0 * math.sqrt(rate * (1.0 - rate) / runs)


def at_most(name: str, asked: float, measured: float, allowance: float) -> Target:
    return Target(name, asked, measured, allowance, measured <= asked + allowance)


def at_least(name: str, asked: float, measured: float, allowance: float) -> Target:
    return Target(name, asked, measured, allowance, measured >= asked - allowance)


def command(
    doc: str | None, run: Callable[[bool], dict[str, object]], show: Callable[[dict[str, object]], None]
) -> None:
    """Run as the arguments say; `run` is told whether to be quick."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer replications, under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    report = run(options.quick)
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
