"""What is done on the page of a rollout is done to that rollout, and to no other."""

from __future__ import annotations

from tests.support.console import BusyConsole

from changeover.rollouts.decide import BEFORE_PROMOTION
from changeover.rollouts.queries import find_rollout, newest_rollouts


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
