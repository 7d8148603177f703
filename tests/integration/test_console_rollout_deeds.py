"""What is done on the page of a rollout is done to that rollout, and to no other."""

from __future__ import annotations

import json
import re

from sqlalchemy import update
from tests.support.console import BusyConsole

from changeover.console.areas.rollouts import LONGEST_SHOWN
from changeover.rollouts.decide import BEFORE_PROMOTION
from changeover.rollouts.queries import find_rollout, newest_rollouts
from changeover.store.schema import exchanges


async def test_a_page_of_an_ended_rollout_does_nothing_to_the_one_that_began_since(busy_console: BusyConsole) -> None:
    with busy_console.installation.store.read() as connection:
        active = newest_rollouts(connection, tasks=None, before=None, ended=False, limit=100)
        ended = newest_rollouts(connection, tasks=None, before=None, ended=True, limit=100)
        pairs = [
            (old, new)
            for new in active
            for old in ended
            if old.task == new.task and new.state in BEFORE_PROMOTION and new.hold is None
        ]
    old, new = pairs[0]
    async with busy_console.signed_in("operator") as operator:
        for deed in ("pause", "promote", "abort", "rollback"):
            answer = await busy_console.send(operator, f"/rollouts/{old.id}/{deed}", reason="an old page")
            assert answer.status_code == 409, (deed, answer.text)
            assert f"Rollout {new.id} of" in answer.text, deed
        with busy_console.installation.store.read() as connection:
            assert find_rollout(connection, new.id) == new
        assert (await busy_console.send(operator, f"/rollouts/{new.id}/pause", reason="this one")).status_code == 303
    async with busy_console.signed_in("approver") as approver:
        answer = await busy_console.send(approver, f"/rollouts/{old.id}/approve", reason="an old page")
        assert (answer.status_code, f"Rollout {new.id} of" in answer.text) == (409, True)


async def test_a_page_of_many_answers_shows_the_beginning_of_each(busy_console: BusyConsole) -> None:
    long = json.dumps({"content": "x" * 10 * LONGEST_SHOWN})
    with busy_console.installation.store.write() as connection:
        connection.execute(update(exchanges).where(exchanges.c.response.is_not(None)).values(response=long))
        found = newest_rollouts(connection, tasks=None, before=None, ended=False, limit=100)
    async with busy_console.signed_in("viewer") as viewer:
        pages = [(await viewer.get(f"/rollouts/{each.id}")).text for each in found]
    shown = [text for page in pages for text in re.findall("x{1000,}", page)]
    assert {len(text) for text in shown} == {LONGEST_SHOWN}


async def test_an_ended_rollout_says_in_which_stage_it_ended_and_which_it_never_reached(
    busy_console: BusyConsole,
) -> None:
    with busy_console.installation.store.read() as connection:
        ended = newest_rollouts(connection, tasks=None, before=None, ended=True, limit=200)
    refused = next(each for each in ended if each.state == "refused")
    done = next(each for each in ended if each.state == "done")
    async with busy_console.signed_in("viewer") as viewer:
        stages = [
            re.findall(r'<li class="(\w+)"', page.partition('class="stages"')[2].partition("</ol>")[0])
            for page in (
                (await viewer.get(f"/rollouts/{refused.id}")).text,
                (await viewer.get(f"/rollouts/{done.id}")).text,
            )
        ]
    never, through = stages
    assert (never[0], set(never[1:])) == ("out", {"never"})
    assert set(through) == {"done"}
