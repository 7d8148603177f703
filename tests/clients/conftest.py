"""What the clients share: a gateway in a process of its own, and which of them could not be installed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lane import Gateway, reason_missing

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches one when it is imported
ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("CHANGEOVER_PYTHON") or str(ROOT / ".venv" / "bin" / "python")
"""The project's own: the lane's has clients and nothing of ours."""


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    process = subprocess.Popen(
        (PYTHON, "-m", "tests.clients.serve"), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the gateway did not start: see above"
    try:
        yield Gateway(**json.loads(line))
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


class Missing(pytest.Module):
    """The tests of a client that could not be installed."""

    def collect(self) -> Iterator[pytest.Item]:
        pytest.skip(f"not installed: {reason_missing(_client(self.path))}", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip, with the reason, before anything of a missing client would be imported."""
    return Missing.from_parent(parent, path=module_path) if reason_missing(_client(module_path)) else None


def _client(module: Path) -> str:
    """`test_NAME.py` is about the client of that name."""
    return module.stem.removeprefix("test_").replace("_", "-")
