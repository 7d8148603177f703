"""The lane itself: what hangs is ended, and what is left is found."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from tests.engines.limits import ending_all, no_longer_than

pytestmark = pytest.mark.engine("local")


def test_what_waits_for_something_that_never_comes_is_ended_and_named() -> None:
    with (
        pytest.raises(pytest.fail.Exception, match=r"`it` hangs: it is not over after 0\.2 s"),
        no_longer_than(0.2, "`it`"),
    ):
        asyncio.run(_never())


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


def test_a_process_that_outlives_its_parent_is_ended_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.engines.limits.ENDING_S", 0.1)
    program = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    with ending_all() as left:
        subprocess.run([sys.executable, "-c", program], check=True)
    assert [each.partition(" ")[2] for each in left] == ["sleep 600"]
