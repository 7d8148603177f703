"""The shell blocks of pages, run as a reader would: plain commands of ours in this process, the rest by bash."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from changeover.cli.main import run_command
from changeover.core.settings import GatewaySettings

ADDRESS = f"http://{GatewaySettings().host}:{GatewaySettings().port}"
"""Where the pages say that the gateway is."""
PATIENCE_S = 120.0
_OURS = re.compile(r"changeover (?!.*[|<>;&*$`])")


@dataclass
class Shell:
    """A terminal in a directory."""

    directory: Path
    address: str = ADDRESS
    """Where the gateway is in truth."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """On top of this process's."""
    words: Mapping[str, str] = field(default_factory=dict[str, str])
    """What a page names that is another one here, such as a number of a rollout, and what it is here."""

    def run(self, text: str) -> tuple[int, str]:
        """Run a block; gives the exit status of what ended it, and what was said."""
        text = self.here(text)
        lines = commands(text)
        return self._ours(lines) if all(map(_OURS.match, lines)) else self._bash(text)

    def here(self, text: str) -> str:
        """A block with the names that hold here."""
        for word, meant in {**self.words, ADDRESS: self.address}.items():
            text = text.replace(word, meant)
        return text

    def begin(self, text: str) -> subprocess.Popen[bytes]:
        """Start a block that goes on until it is stopped, in a session of its own."""
        return subprocess.Popen(
            ("bash", "-eu", "-c", self.here(text)),
            cwd=self.directory,
            env=self._environment(),
            start_new_session=True,
        )

    def call_python(self, text: str) -> tuple[int, str]:
        """Run a program in Python; gives its exit status, and what was said."""
        return self._end_of(sys.executable, "-c", text)

    def _ours(self, lines: list[str]) -> tuple[int, str]:
        said, status = io.StringIO(), 0
        with (
            contextlib.chdir(self.directory),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            _without_input(),
        ):
            for line in lines:
                status = run_command(shlex.split(line)[1:])
                if status != 0 and line != lines[-1]:
                    said.write(f"`{line}` ended with status {status}\n")
                    break
        return status, said.getvalue()

    def _bash(self, text: str) -> tuple[int, str]:
        place = self.directory / ".where"
        ended = self._end_of("bash", "-euo", "pipefail", "-c", f"{text}\npwd > {shlex.quote(str(place))}")
        if place.exists():
            self.directory = Path(place.read_text().strip())
            place.unlink()
        return ended

    def _end_of(self, *command: str) -> tuple[int, str]:
        ended = subprocess.run(
            command,
            cwd=self.directory,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
        )
        return ended.returncode, ended.stdout

    @property
    def path(self) -> str:
        """Where it looks for programs: first among those of this environment."""
        return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": self.path, **self.environment}


@contextlib.contextmanager
def _without_input() -> Iterator[None]:
    before, sys.stdin = sys.stdin, io.StringIO()
    try:
        yield
    finally:
        sys.stdin = before


def commands(text: str) -> list[str]:
    """The lines of a block, continued ones joined, without comments."""
    joined = text.replace("\\\n", " ").splitlines()
    bare = (re.sub(r"(^|\s+)#.*", "", line).strip() for line in joined)
    return [line for line in bare if line]
