"""Commands as somebody in a project's directory meets them, in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from changeover.cli.main import run_command


@dataclass
class User:
    """Somebody in a project's directory."""

    project: Path
    said: pytest.CaptureFixture[str]
    before: tuple[str, ...] = ()
    """Words that begin every command."""

    def call(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        status = run_command([*self.before, *arguments])
        captured = self.said.readouterr()
        return status, captured.out, captured.err

    def json(self, *arguments: str, status: int = 0) -> Any:
        """What is printed with `--json`."""
        found, out, err = self.call(*arguments, "--json")
        assert found == status, err
        return json.loads(out)
