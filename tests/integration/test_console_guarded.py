"""What a browser may keep, to whom cookies go, and what somebody can do to the sessions of others by signing in."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import httpx2
from sqlalchemy import event
from tests.support.console import HOST, MOST_BODY, BusyConsole

from changeover.console.app import console
from changeover.console.desk import Desk
from changeover.console.guards import MOST_TYPED
from changeover.console.sessions import MOST_OF_A_KEY


async def test_only_files_of_ours_are_kept_by_a_browser_and_no_page_that_has_a_name_in_it(
    busy_console: BusyConsole,
) -> None:
    async with busy_console.signed_in("admin") as admin, busy_console.signed_in(None) as stranger:
        missing = await admin.get("/static/no-such-file")
        assert (missing.status_code, 'name="csrf"' in missing.text) == (404, True)
        for answer in (missing, await stranger.get("/static/report.css"), await admin.get("/tasks")):
            assert answer.headers["cache-control"] == "no-store", answer.url
        for path in ("/static/base.css", "/static/report.css"):
            assert (await admin.get(path)).headers["cache-control"] == "max-age=3600"


async def test_behind_https_cookies_are_for_this_host_alone_and_browsers_come_no_other_way(
    busy_console: BusyConsole,
) -> None:
    desk = Desk(busy_console.installation)
    app = console(desk.gateway, hosts=(HOST,), most_body_bytes=MOST_BODY, desk=desk, secure=True)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=f"https://{HOST}") as browser:
        answer = await browser.post("/sign-in", data={"key": busy_console.keys["viewer"]})
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-changeover_session=")
        assert {"HttpOnly", "SameSite=strict", "Secure", "Path=/"} <= set(cookie.split("; "))
        page = await browser.get("/tasks")
        assert page.status_code == 200
        assert page.headers["strict-transport-security"] == "max-age=31536000"
        assert page.headers["x-frame-options"] == "DENY"
        planted = {"cookie": f"changeover_session={browser.cookies['__Host-changeover_session']}"}
        browser.cookies.clear()
        assert (await browser.get("/tasks", headers=planted)).status_code == 303, "another name of the domain set it"
    await app.state.sessions.close()


async def test_whoever_signs_in_again_and_again_ends_their_own_sessions_and_nobody_elses(
    busy_console: BusyConsole,
) -> None:
    transport = httpx2.ASGITransport(app=busy_console.app)
    async with busy_console.signed_in("admin") as admin, busy_console.signed_in("application") as first:
        for _ in range(MOST_OF_A_KEY):
            async with httpx2.AsyncClient(transport=transport, base_url=f"http://{HOST}") as again:
                answer = await again.post("/sign-in", data={"key": busy_console.keys["application"]})
                assert answer.status_code == 303
        assert (await admin.get("/tasks")).status_code == 200
        assert (await first.get("/tools")).headers.get("location") == "/sign-in"


async def test_many_who_come_with_unknown_keys_have_the_keys_read_once_for_all(busy_console: BusyConsole) -> None:
    reads: list[str] = []

    def count(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM keys" in statement:
            reads.append(statement)

    engine = busy_console.installation.store.engine
    async with busy_console.signed_in(None) as stranger:
        event.listen(engine, "before_cursor_execute", count)
        try:
            answers = await asyncio.gather(
                *(stranger.post("/sign-in", data={"key": f"co-guessed-{number}"}) for number in range(30))
            )
        finally:
            event.remove(engine, "before_cursor_execute", count)
    assert {answer.status_code for answer in answers} == {401}
    assert 1 <= len(reads) <= 3


async def test_a_form_that_leads_elsewhere_after_the_language_leads_home(busy_console: BusyConsole) -> None:
    wrong = ("//elsewhere.example", "/\\elsewhere.example", "https://elsewhere.example", "/\t/elsewhere.example", "")
    async with busy_console.signed_in(None) as stranger:
        for back in wrong:
            answer = await stranger.post("/language", data={"language": "ja", "back": back})
            where = httpx2.URL(f"http://{HOST}").join(answer.headers["location"])
            assert where.host == HOST, back
            assert "\t" not in answer.headers["location"]
            assert not answer.headers["location"].startswith("//")


async def test_nobody_signs_another_in_or_out_from_another_site(busy_console: BusyConsole) -> None:
    elsewhere = ({"origin": "https://elsewhere.example"}, {"origin": "null"}, {"sec-fetch-site": "same-site"})
    async with busy_console.signed_in("viewer") as viewer:
        for more in elsewhere:
            for path, data in (("/sign-in", {"key": busy_console.keys["admin"]}), ("/sign-out", {}), ("/language", {})):
                assert (await viewer.post(path, data=data, headers=more)).status_code == 403, (path, more)
        for csrf in ({}, {"csrf": "form-guessed"}):
            assert (await viewer.post("/sign-out", data=csrf)).status_code == 403
        assert "Sign out" in (await viewer.get("/tasks")).text


async def test_no_file_is_read_but_those_of_ours(busy_console: BusyConsole) -> None:
    secret = busy_console.directory / ".changeover" / "keys.json"
    assert secret.exists()
    up = "../" * 12
    wrong = (
        f"{up}etc/hostname",
        f"{up}{str(secret).lstrip('/')}",
        "../app.py",
        "..\\app.py",
        "/etc/hostname",
        "base.css/../../app.py",
    )
    async with busy_console.signed_in("admin") as admin:
        for path in wrong:
            for quoted in (path, quote(path, safe=""), quote(quote(path, safe=""), safe="")):
                for below in ("/static/", "/static/htmx/", "/deployments/", "/library/"):
                    answer = await admin.get(below + quoted, follow_redirects=True)
                    assert answer.status_code == 404, (below, quoted)
                    assert "co-" not in answer.text


async def test_forms_without_files_are_small(busy_console: BusyConsole) -> None:
    desk = Desk(busy_console.installation)
    app = console(desk.gateway, hosts=(HOST,), most_body_bytes=4 * MOST_TYPED, desk=desk)
    transport, lines = httpx2.ASGITransport(app=app), b"x" * (MOST_TYPED + 1)
    async with httpx2.AsyncClient(transport=transport, base_url=f"http://{HOST}") as browser:
        await browser.post("/sign-in", data={"key": busy_console.keys["operator"]})
        answer = await browser.post("/playground", files={"user": ("a.txt", lines)})
        assert (answer.status_code, "8 MiB" in answer.text) == (413, True)
        assert (await browser.post("/tools/none", files={"user": ("a.txt", lines)})).status_code != 413
    await app.state.sessions.close()
