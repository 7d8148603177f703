"""The demo's system: `changeover up` in a process of its own, exactly as a user starts it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from changeover.app.installation import Installation
from changeover.cli.frame import out
from changeover.cli.running import wait_ready
from changeover.core.errors import ChangeoverError
from changeover.core.sizes import in_mib
from changeover.serving.queries import all_deployments

STOP_S = 30


@dataclass(frozen=True)
class Child:
    """A system that listens."""

    address: str
    first_key: str
    log: Path

    def show(self, installation: Installation) -> None:
        """Wait for the engines and say where everything is."""
        with installation.store.read() as connection:
            names = [row.name for row in all_deployments(connection)]
        wait_ready(installation, names)
        with installation.store.read() as connection:
            rows = all_deployments(connection)
        out.print(f"  gateway  {self.address}/v1", highlight=False)
        for row in rows:
            memory = "" if row.memory_bytes is None else f"  {in_mib(row.memory_bytes)}"
            out.print(f"  engine   {row.name:<30} {row.address}  process {row.pid}{memory}")
        out.print(f"  [dim]log      {self.log}[/]")


@contextmanager
def running_system(directory: Path) -> Generator[Child]:
    """Start `changeover up` in a project and stop it at the end of the block. It dies with this process."""
    log = directory / "up.log"
    command = (sys.executable, "-m", "changeover", "up", "--json", "--until-stdin-closes")
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise ChangeoverError(f"`changeover up` did not start. Its last words: {_last_line(log)}")
        said = json.loads(line)
        yield Child(address=said["address"], first_key=said["first_key"], log=log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _last_line(log: Path) -> str:
    lines = log.read_text().strip().splitlines()
    return lines[-1] if lines else "none"
