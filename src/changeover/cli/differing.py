"""The work of `changeover diff`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from changeover.app.named import Named, find_two, prompt_diff
from changeover.cli.exits import EXIT_FAIL, EXIT_PASS
from changeover.cli.frame import out, plain, print_json
from changeover.cli.running import opened
from changeover.serving.bundles import changes


def diff(a: str, b: str, task: str | None, as_json: bool) -> int:
    """Print what differs. Returns the exit status: 0 the same, 1 different."""
    one, other = find_two(opened(), a, b, task)
    found = changes(one.bundle, other.bundle)
    lines = prompt_diff(one, other)
    if as_json:
        sides = {"a": _side(one), "b": _side(other)}
        said = [asdict(each) for each in found]
        print_json({**sides, "same": not found, "differences": said, "prompt": "\n".join(lines)})
        return EXIT_FAIL if found else EXIT_PASS
    sides = _columns()
    for each in (one, other):
        sides.add_row(plain(each.name), plain(each.deployment), each.bundle.short)
    out.print(sides)
    if not found:
        out.print("the same bundle")
        return EXIT_PASS
    table = _columns()
    for change in found:
        table.add_row(plain(change.name), plain(change.old), "→" if change.old else "", plain(change.new))
    out.print()
    out.print(table)
    if lines:
        out.print()
        for line in lines:
            out.print(plain(line), style=_STYLES.get(line[:1]), highlight=False, soft_wrap=True)
    return EXIT_FAIL


_STYLES = {"+": "green", "-": "red", "@": "dim"}


def _columns() -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(4):
        table.add_column(overflow="fold")
    return table


def _side(named: Named) -> dict[str, Any]:
    return {
        "name": named.name,
        "deployment": named.deployment,
        "task": named.task,
        "bundle": named.bundle.digest,
    }
