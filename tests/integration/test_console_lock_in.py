"""The lock-in report reads the requests of every task: it is made once, however many ask for it."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.console import BusyConsole

from changeover.app.installation import Installation
from changeover.console.areas import lock_in


async def test_those_who_ask_at_the_same_time_get_the_one_report(
    busy_console: BusyConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[lock_in.Made] = []
    make = lock_in._make

    def counted(installation: Installation) -> lock_in.Made:
        made.append(make(installation))
        return made[-1]

    monkeypatch.setattr(lock_in, "_make", counted)
    async with busy_console.signed_in("viewer") as client:
        answers = await asyncio.gather(*(client.get("/lock-in/report") for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len(made) == 1
