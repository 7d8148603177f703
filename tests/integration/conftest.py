"""What tests over a whole project share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest
from tests.support import console


@pytest.fixture(scope="module")
def busy_console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[console.BusyConsole]:
    """The console over a copy of the small busy installation, for all tests of one module."""
    own = tmp_path_factory.getbasetemp()
    run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    directory = tmp_path_factory.mktemp("console") / "project"
    busy = console.over(directory, **console.busy_copy(run, directory))
    yield busy
    asyncio.run(console.closed(busy))
