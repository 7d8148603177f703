"""A gateway for the clients: `changeover up` on a project of echo engines, until standard input closes.

Run by the project's own Python, which has what the lane's has not. Says address and keys in one line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.processes import system
from tests.support.projects import QUICK_STEPS, TASK, write_project

TASKS = {
    "summarise": "",
    "thinking": 'reasoning = "Let me see."\nreasoning_format = "think"\n',
    "overloaded": 'fault = "error_429"\n',
    "slow": "delay_s = 0.8\n",
}
"""By name, what their echo engines are told."""
LIMITED = ("one-at-a-time", "--limit", "concurrent=1")


def write(directory: Path) -> Path:
    """Write the project."""
    project = write_project(directory, ["summarise"])
    for name, options in TASKS.items():
        if options:
            told = f"{QUICK_STEPS}[echo]\n{options}"
            text = TASK.format(timeout_s=20, record="metadata", bake_s=300, steps=told)
            (project / "tasks" / f"{name}.toml").write_text(text)
    return project


def main() -> None:
    """Serve until the caller is done."""
    with TemporaryDirectory() as directory, system(write(Path(directory) / "p")) as up:
        limited = up.call("key", "new", *LIMITED, "--json")
        keys = {"first": up.key, "limited": limited.json["key"] if limited.status == 0 else ""}
        print(json.dumps({"address": up.address, "keys": keys}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
