"""What tests over a whole project share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.support import console


@pytest.fixture(scope="module")
def busy_project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, str]]:
    """A copy of the small busy installation for all tests of one module, and a secret of a key of each role."""
    own = tmp_path_factory.getbasetemp()
    run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    directory = tmp_path_factory.mktemp("console") / "project"
    return directory, console.busy_copy(run, directory)


@pytest.fixture(scope="module")
def busy_console(busy_project: tuple[Path, Mapping[str, str]]) -> Iterator[console.BusyConsole]:
    """The console over it."""
    directory, keys = busy_project
    busy = console.over(directory, **keys)
    yield busy
    asyncio.run(console.closed(busy))


@pytest.fixture
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open pages hear at once of what happens, instead of within a second."""
    monkeypatch.setattr("changeover.console.following.LOOK_S", 0.05)
