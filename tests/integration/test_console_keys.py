"""Keys and the audit on the console: what the commands do, by people who may."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.support.console import BusyConsole

from changeover.gateway.keys import Key, Keyring, load_keys
from changeover.store.audit import Act, Wanted, acts


def known(busy: BusyConsole) -> dict[str, Key]:
    with busy.installation.store.read() as connection:
        return {key.name: key for key in load_keys(connection).values()}


def noted(busy: BusyConsole, **wanted: Any) -> list[Act]:
    with busy.installation.store.read() as connection:
        return acts(connection, Wanted(**wanted))


async def test_a_key_is_made_shown_once_changed_and_revoked(busy_console: BusyConsole) -> None:
    async with busy_console.signed_in("admin") as admin:
        made = await busy_console.send(
            admin, "/keys", name="invoice reader", role="application", limits="requests/minute=600\nusd/month=50"
        )
        found = re.search(r">(co-[^<]+)<", made.text)
        assert found is not None, made.text
        ring = Keyring()
        ring.reload(busy_console.installation.store)
        key = ring.find(found[1].encode())
        assert key is not None
        assert (key.name, [str(limit) for limit in key.limits]) == (
            "invoice reader",
            ["requests/minute=600", "usd/month=50"],
        )
        for path in ("/keys", f"/keys/{key.id}", "/audit"):
            page = await admin.get(path)
            assert "invoice reader" in page.text, path
            assert found[1] not in page.text, path
        changed = await busy_console.send(
            admin, f"/keys/{key.id}", limits="concurrent=3", which="every", expires="2099-01-01", role=key.role
        )
        assert changed.status_code == 303, changed.text
        now = known(busy_console)["invoice reader"]
        assert ([str(limit) for limit in now.limits], now.expires_at is not None) == (["concurrent=3"], True)
        assert (await busy_console.send(admin, f"/keys/{key.id}/revoke", reason="")).status_code == 400
        assert (await busy_console.send(admin, f"/keys/{key.id}/revoke", reason="left")).status_code == 303
        assert "invoice reader" not in known(busy_console)
        told = [act for act in noted(busy_console) if act.subject == "key invoice reader"]
    assert [act.action for act in told] == ["key revoke", "key set", "key new"]
    assert told[0].reason == "left"
    assert told[1].detail["limits"] == [["requests/minute=600", "usd/month=50"], ["concurrent=3"]]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"name": ""}, "cannot name a key"),
        ({"name": "=cmd"}, "cannot name a key"),
        ({"name": "a", "limits": "requests/minut=5"}, "Did you mean"),
        ({"name": "a", "which": "some"}, "Choose the tasks"),
        ({"name": "a", "team": "nobody"}, "No team named"),
        ({"name": "a", "expires": "2020-01-01"}, "lies in the past"),
        ({"name": "a", "expires": "soon"}, "is no date"),
        ({"name": "a", "which": "some", "task": "no-such"}, "No task named"),
    ],
)
async def test_what_is_wrong_about_a_key_is_said_and_what_was_typed_stays(
    busy_console: BusyConsole, typed: dict[str, str], says: str
) -> None:
    before = known(busy_console)
    async with busy_console.signed_in("admin") as admin:
        answer = await busy_console.send(admin, "/keys", **{"limits": "concurrent=77", **typed})
    assert answer.status_code in (400, 404)
    assert says in answer.text
    assert typed.get("limits", "concurrent=77") in answer.text
    assert known(busy_console) == before


async def test_a_role_that_is_none_makes_no_key(busy_console: BusyConsole) -> None:
    async with busy_console.signed_in("admin") as admin:
        answer = await busy_console.send(admin, "/keys", name="a", role="root")
    assert (answer.status_code, "There is no role" in answer.text) == (400, True)


async def test_a_team_is_made_changed_and_removed(busy_console: BusyConsole) -> None:
    async with busy_console.signed_in("admin") as admin:
        assert (await busy_console.send(admin, "/teams", name="a/b", limits="usd/month=5")).status_code == 303
        assert (await busy_console.send(admin, "/teams", name="a/b")).status_code == 400
        assert (await busy_console.send(admin, "/teams/a%2Fb/limits", limits="usd/month=9")).status_code == 303
        assert "usd/month=9" in (await admin.get("/keys")).text
        assert (await busy_console.send(admin, "/teams/a%2Fb/remove")).status_code == 303
        assert (await busy_console.send(admin, "/teams/a%2Fb/remove")).status_code >= 400
    told = [act.action for act in noted(busy_console) if act.subject == "team a/b"]
    assert told == ["team remove", "team set", "team new"]


async def test_an_administrator_of_some_tasks_makes_no_keys_for_others(busy_console: BusyConsole) -> None:
    async with busy_console.signed_in("admin") as admin:
        made = await busy_console.send(
            admin, "/keys", name="narrow", role="admin", which="some", task=sorted(busy_console.installation.tasks)[0]
        )
        secret = re.search(r">(co-[^<]+)<", made.text)
        assert secret is not None
    async with busy_console.signed_in(None) as narrow:
        assert (await narrow.post("/sign-in", data={"key": secret[1]})).status_code == 303
        assert (await narrow.get("/keys")).status_code == 403
        assert (await busy_console.send(narrow, "/keys", name="wide", role="admin")).status_code == 403
    assert "wide" not in known(busy_console)


async def test_the_audit_is_read_to_its_end_page_by_page_and_by_what_is_asked_for(busy_console: BusyConsole) -> None:
    everything, after = 0, None
    with busy_console.installation.store.read() as connection:
        while page := acts(connection, Wanted(after=after), 500):
            everything, after = everything + len(page), page[-1].cursor
    async with busy_console.signed_in("admin") as admin:
        rows, path, pages = 0, "/audit", 0
        everything += 1  # the sign-in
        while path:
            page = (await admin.get(path)).text
            rows, pages = rows + page.count('<td class="who"'), pages + 1
            older = re.search(r'rel="next" href="([^"]+)"', page)
            path = older[1].replace("&amp;", "&") if older else ""
        assert (rows, pages > 1) == (everything, True)
        some = (await admin.get("/audit", params={"action": "apply"})).text
        assert set(re.findall(r'<td[^>]*><span class="badge[^"]*">([^<]+)<', some)) == {"apply"}
        assert "Nothing of that was done" in (await admin.get("/audit?actor=nobody-of-that-name")).text
        for wrong in ("since=soon", "after=nowhere", "until=9999-99-99"):
            assert (await admin.get(f"/audit?{wrong}")).status_code == 400, wrong


async def test_who_may_not_see_keys_does_not_see_what_was_done_with_them(busy_console: BusyConsole) -> None:
    async with busy_console.signed_in("admin") as admin:
        await busy_console.send(admin, "/keys", name="secretive", role="viewer")
        assert "secretive" in (await admin.get("/audit")).text
    async with busy_console.signed_in("viewer") as viewer:
        assert "secretive" not in (await viewer.get("/audit")).text
        assert "secretive" not in (await viewer.get("/audit", params={"action": "key new"})).text
