"""Who may come in: people with keys, people whom an identity provider vouches for, and nobody else."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey
from markupsafe import escape
from starlette.applications import Starlette
from tests.support.console import HOST, MOST_BODY, BusyConsole
from tests.support.oidc_provider import CLIENT, SECRET, IdentityProvider, providing

from changeover.app import keys as acts_on_keys
from changeover.console.app import console
from changeover.console.desk import Desk
from changeover.console.oidc import PAUSE_S, RETURN, Provider
from changeover.console.sessions import KEYS_S, LIFE_S
from changeover.core.clock import SystemClock
from changeover.core.settings import ConsoleSettings
from changeover.gateway.keys import Key, load_keys
from changeover.store.audit import Wanted, acts

ADDRESS = f"http://{HOST}"
MAIL = "head@example.org"


class LaterClock(SystemClock):
    """A clock that can be put forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@dataclass
class Door:
    """A console with an identity provider beside it."""

    busy: BusyConsole
    provider: IdentityProvider
    app: Starlette
    clock: LaterClock

    def browser(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.app), base_url=ADDRESS)

    async def sent_back(self, browser: httpx2.AsyncClient) -> str:
        """Begin to sign in, and go to the provider, which sends the browser back: where to."""
        begun = await browser.get("/sign-in/provider")
        assert begun.status_code == 303, begun.text
        async with httpx2.AsyncClient() as outside:
            sent = await outside.get(begun.headers["location"])
        assert sent.headers["location"].startswith(f"{ADDRESS}{RETURN}?")
        return sent.headers["location"]

    async def sign_in(self, browser: httpx2.AsyncClient) -> httpx2.Response:
        return await browser.get(await self.sent_back(browser))

    def known(self) -> dict[str, Key]:
        with self.busy.installation.store.read() as connection:
            return {key.name: key for key in load_keys(connection).values()}


@pytest.fixture
async def door(busy_console: BusyConsole) -> AsyncGenerator[Door]:
    async with providing(f"{ADDRESS}{RETURN}") as provider:
        settings = ConsoleSettings(
            issuer=provider.issuer,
            client_id=CLIENT,
            client_secret_env="CONSOLE_SECRET",
            address=ADDRESS,
            label="the directory",
            roles={"llm-admins": "admin", "llm-operators": "operator", "staff": "viewer", MAIL: "approver"},
            tasks={"desk": ("summarise",), "llm-operators": ("*",), MAIL: ("*",)},
            contact="llm-desk@example.org",
        )
        clock, desk = LaterClock(), Desk(busy_console.installation)
        vouching = Provider(settings, SECRET, clock)
        app = console(desk.gateway, hosts=(HOST,), most_body_bytes=MOST_BODY, clock=clock, desk=desk, provider=vouching)
        yield Door(busy_console, provider, app, clock)
        await app.state.sessions.close()


def looks(answer: httpx2.Response) -> bool:
    """Whether the page is one for those who are signed in."""
    return answer.status_code == 200 and "Sign out" in answer.text


async def test_a_person_of_the_provider_comes_in_with_the_role_of_their_group(door: Door) -> None:
    async with door.browser() as browser:
        assert "Sign in with the directory" in (await browser.get("/sign-in")).text
        answer = await door.sign_in(browser)
        assert (answer.status_code, 'content="0;url=/"' in answer.text) == (200, True)
        page = await browser.get("/tasks")
        assert looks(page)
        assert "ana@example.org" in page.text
        key = door.known()["oidc:ana@example.org"]
        assert (key.role, key.tasks) == ("operator", None)
        assert key.expires_at is not None
        await sign_out(door, browser)
        assert (await browser.get("/tasks")).headers["location"] == "/sign-in"
    assert "oidc:ana@example.org" not in door.known(), "what was made for the session opens nothing after it"
    with door.busy.installation.store.read() as connection:
        noted = acts(connection, Wanted(actor="oidc:ana@example.org"))
    assert [act.action for act in noted] == ["sign out", "sign in"]


async def sign_out(door: Door, browser: httpx2.AsyncClient) -> httpx2.Response:
    session = door.app.state.sessions.find(browser.cookies.get(door.app.state.cookie))
    return await browser.post("/sign-out", data={"csrf": session.csrf})


async def test_the_first_group_that_the_settings_name_decides_and_tasks_may_be_limited(door: Door) -> None:
    door.provider.person["groups"] = ["desk", "staff", "llm-admins"]
    async with door.browser() as browser:
        await door.sign_in(browser)
        key = door.known()["oidc:ana@example.org"]
        assert (key.role, key.tasks) == ("admin", {"summarise"})


@pytest.mark.parametrize("groups", [["staff"], ["llm-admins", "staff"]])
async def test_where_groups_have_tasks_whoever_is_in_none_of_them_is_refused_and_told_whom_to_ask(
    door: Door, groups: list[str]
) -> None:
    door.provider.person["groups"] = groups
    async with door.browser() as browser:
        answer = await door.sign_in(browser)
        assert answer.status_code == 403
        for words in ("but no task", "Ask llm-desk@example.org", "console.tasks"):
            assert words in answer.text
        assert "changeover_session" not in browser.cookies
        assert (await browser.get("/tasks")).headers["location"] == "/sign-in"
    assert not any(name.startswith("oidc:") for name in door.known())


async def test_where_no_group_has_tasks_everybody_has_every_task(door: Door) -> None:
    settings = ConsoleSettings(
        issuer=door.provider.issuer,
        client_id=CLIENT,
        client_secret_env="CONSOLE_SECRET",
        address=ADDRESS,
        roles={"llm-operators": "operator"},
    )
    door.app.state.provider = Provider(settings, SECRET, door.clock)
    async with door.browser() as browser:
        await door.sign_in(browser)
        assert door.known()["oidc:ana@example.org"].tasks is None


@pytest.mark.parametrize(("verified", "role"), [(True, "approver"), (False, None), ("false", None)])
async def test_an_address_that_nobody_verified_gives_no_role_and_no_name(door: Door, verified: Any, role: Any) -> None:
    """Else whoever writes another's address into their profile has what that one may."""
    settings = door.app.state.provider._settings.model_copy(update={"role_claim": "email"})
    door.app.state.provider = Provider(settings, SECRET, door.clock)
    door.provider.person.update(email=MAIL, email_verified=verified)
    async with door.browser() as browser:
        answer = await door.sign_in(browser)
    assert answer.status_code == (200 if role else 403)
    assert role or MAIL not in answer.text


@pytest.mark.parametrize(("late_s", "status"), [(30, 200), (90, 401)])
async def test_a_token_may_be_a_minute_old_for_clocks_that_differ_and_no_older(
    door: Door, late_s: int, status: int
) -> None:
    door.provider.said.update(exp=int(SystemClock().now().timestamp()) - late_s)
    async with door.browser() as browser:
        assert (await door.sign_in(browser)).status_code == status


@pytest.mark.parametrize("name", ["a<img src=//elsewhere.example/x>", "a 100% b", "a %(x)s"])
async def test_a_name_of_a_refused_person_is_a_text_and_no_part_of_the_page(door: Door, name: str) -> None:
    door.provider.person.update(email=name, groups=[])
    async with door.browser() as browser:
        answer = await door.sign_in(browser)
    assert (answer.status_code, "<img src=//" in answer.text) == (403, False)
    assert f"<code>{escape(name)}</code>" in answer.text


@pytest.mark.parametrize("groups", [[], ["strangers"], None, {"llm-admins": True}, 7])
async def test_who_has_no_role_is_refused_in_words_and_gets_no_key(door: Door, groups: Any) -> None:
    door.provider.person["groups"] = groups
    async with door.browser() as browser:
        answer = await door.sign_in(browser)
        assert (answer.status_code, "has no role here" in answer.text) == (403, True)
        assert "changeover_session" not in browser.cookies
    assert not any(name.startswith("oidc:") for name in door.known())


WRONG: dict[str, Callable[[IdentityProvider], object]] = {
    "another issuer": lambda it: it.said.update(iss="https://elsewhere.example"),
    "another audience": lambda it: it.said.update(aud="another-client"),
    "several audiences and no party": lambda it: it.said.update(aud=[CLIENT, "another-client"], azp="another-client"),
    "expired": lambda it: it.said.update(exp=1_000_000_000),
    "no end": lambda it: it.said.update(exp=None),
    "not valid yet": lambda it: it.said.update(nbf=4_000_000_000),
    "issued in the future": lambda it: it.said.update(iat=4_000_000_000, exp=4_100_000_000),
    "with another access token": lambda it: it.said.update(at_hash="c29tZXRoaW5nIGVsc2U"),
    "another nonce": lambda it: it.said.update(nonce="guessed"),
    "no nonce": lambda it: it.said.update(nonce=None),
    "nobody": lambda it: it.said.update(sub=None),
    "a key that nobody knows": lambda it: it.header.update(kid="unknown"),
    "another key under a known name": lambda it: setattr(it, "forged", signed_by_another(it)),
    "no signature": lambda it: setattr(it, "forged", unsigned(it)),
    "a secret that is shared": lambda it: setattr(it, "forged", signed_by_secret(it)),
    "no token at all": lambda it: setattr(it, "forged", "nonsense"),
}


def claims(it: IdentityProvider) -> dict[str, Any]:
    return {"iss": it.issuer, "aud": CLIENT, "iat": 1, "exp": 4_000_000_000, **it.person}


def signed_by_another(it: IdentityProvider) -> str:
    return jwt.encode({"alg": "ES256", "kid": it.key.kid}, claims(it), ECKey.generate_key("P-256"))


def unsigned(it: IdentityProvider) -> str:
    parts = (
        urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "none"}, claims(it))
    )
    return f"{'.'.join(parts)}."


def signed_by_secret(it: IdentityProvider) -> str:
    key = OctKey.import_key(SECRET.ljust(32, "-"))
    return jwt.encode({"alg": "HS256", "kid": it.key.kid}, claims(it), key, algorithms=["HS256"])


@pytest.mark.parametrize("what", WRONG)
async def test_a_token_that_does_not_prove_who_somebody_is_lets_nobody_in(door: Door, what: str) -> None:
    WRONG[what](door.provider)
    async with door.browser() as browser:
        answer = await door.sign_in(browser)
        assert (answer.status_code, "does not prove who you are" in answer.text) == (401, True), answer.text
        assert "changeover_session" not in browser.cookies
        assert (await browser.get("/tasks")).headers["location"] == "/sign-in"


async def test_a_provider_that_changed_its_keys_is_asked_for_the_new_ones(door: Door) -> None:
    async with door.browser() as first, door.browser() as second:
        await door.sign_in(first)
        door.provider.turn_keys()
        await door.sign_in(second)
        assert looks(await second.get("/tasks"))


async def test_a_state_that_was_tampered_with_is_refused_before_the_provider_is_asked(door: Door) -> None:
    async with door.browser() as browser:
        back = urlsplit(await door.sent_back(browser))
        told = {name: values[0] for name, values in parse_qs(back.query).items()}
        door.provider.asked.clear()
        answer = await browser.get(RETURN, params={**told, "state": told["state"][::-1]})
        assert (answer.status_code, "no answer to the sign-in" in answer.text) == (401, True)
        assert door.provider.asked == []
        answer = await browser.get(RETURN, params=told)
        assert (answer.status_code, "begun in another browser" in answer.text) == (401, True), "an attempt has one end"


async def test_what_one_browser_began_no_other_ends(door: Door) -> None:
    """Else somebody could be led to sign in as another, and tell this one what they ask."""
    async with door.browser() as attacker, door.browser() as victim:
        back = await door.sent_back(attacker)
        assert (await victim.get(back)).status_code == 401
        await door.sent_back(victim)
        assert (await victim.get(back)).status_code == 401
        assert "changeover_session" not in victim.cookies


async def test_a_code_that_is_replayed_signs_nobody_in(door: Door) -> None:
    async with door.browser() as browser:
        back = await door.sent_back(browser)
        attempt = browser.cookies["changeover_attempt"]
        assert (await browser.get(back)).status_code == 200
        browser.cookies.clear()
        browser.cookies.set("changeover_attempt", attempt, domain=HOST)
        answer = await browser.get(back)
        assert (answer.status_code, "does not accept this sign-in" in answer.text) == (401, True)


async def test_what_the_provider_refuses_and_another_provider_says_is_told(door: Door) -> None:
    async with door.browser() as browser:
        back = await door.sent_back(browser)
        answer = await browser.get(back.replace("iss=http", "iss=https"))
        assert (answer.status_code, "Another provider" in answer.text) == (401, True)
        door.provider.refuses = "access_denied"
        answer = await door.sign_in(browser)
        assert (answer.status_code, "access_denied" in answer.text) == (403, True)


async def test_a_provider_that_is_away_or_wrong_about_itself_leaves_the_way_by_key(door: Door) -> None:
    async with door.browser() as browser:
        door.provider.down = True
        answer = await browser.get("/sign-in/provider")
        assert (answer.status_code, "sign in with a key" in answer.text) == (503, True)
        asked = len(door.provider.asked)
        for _ in range(20):
            assert (await browser.get("/sign-in/provider")).status_code == 503
            assert (await browser.get("/sign-in?left")).status_code == 200
        assert len(door.provider.asked) == asked, "strangers have it asked no more than now and then"
        door.provider.down = False
        for wrong in ({"issuer": "https://elsewhere.example"}, {"token_endpoint": "http://elsewhere.example/token"}):
            door.provider.metadata = wrong
            door.clock.ahead += PAUSE_S
            assert (await browser.get("/sign-in/provider")).status_code == 503
        assert (await browser.post("/sign-in", data={"key": door.busy.keys["viewer"]})).status_code == 303
        assert looks(await browser.get("/tasks"))


async def test_signing_out_offers_to_end_the_session_at_the_provider_too(door: Door) -> None:
    async with door.browser() as browser:
        await door.sign_in(browser)
        answer = await sign_out(door, browser)
        page = await browser.get(answer.headers["location"])
        assert f"{door.provider.issuer}/end?client_id={CLIENT}" in page.text


async def test_a_session_of_the_provider_ends_with_its_key_however_much_is_done(door: Door) -> None:
    async with door.browser() as browser:
        await door.sign_in(browser)
        for _ in range(3):
            door.clock.ahead += LIFE_S / 4
            assert looks(await browser.get("/tasks"))
        door.clock.ahead += LIFE_S / 4
        assert (await browser.get("/tasks")).headers["location"] == "/sign-in"


async def test_the_cookies_bind_a_browser_and_nobody_can_choose_one_for_it(door: Door) -> None:
    async with door.browser() as browser:
        begun = await browser.get("/sign-in/provider")
        assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(begun.headers["set-cookie"].split("; "))
        browser.cookies.set("changeover_session", "chosen-by-another", domain=HOST)
        answer = await door.sign_in(browser)
        session = next(each for each in answer.headers.get_list("set-cookie") if "session" in each)
        assert {"HttpOnly", "SameSite=strict"} <= set(session.split("; "))
        assert "chosen-by-another" not in session
    async with door.browser() as other:
        other.cookies.set("changeover_session", "chosen-by-another", domain=HOST)
        assert (await other.get("/tasks")).status_code == 303


async def test_who_signs_in_again_leaves_no_session_behind(door: Door) -> None:
    async with door.browser() as browser, door.browser() as thief:
        await browser.post("/sign-in", data={"key": door.busy.keys["viewer"]})
        thief.cookies.set("changeover_session", browser.cookies["changeover_session"], domain=HOST)
        assert looks(await thief.get("/tasks"))
        await door.sign_in(browser)
        assert (await thief.get("/tasks")).headers["location"] == "/sign-in"


@asynccontextmanager
async def held(door: Door, **more: Any) -> AsyncGenerator[tuple[httpx2.AsyncClient, httpx2.AsyncClient]]:
    """Two browsers of somebody with a key that was made for them."""
    secret = acts_on_keys.new_key(door.busy.installation, "ben", "test", **more)
    async with door.browser() as first, door.browser() as second:
        for browser in (first, second):
            assert (await browser.post("/sign-in", data={"key": secret})).status_code == 303
            assert looks(await browser.get("/tasks"))
        yield first, second


async def test_a_key_that_is_revoked_signs_its_holder_out_everywhere_within_a_second(door: Door) -> None:
    async with held(door, role="viewer") as browsers:
        acts_on_keys.revoke(door.busy.installation, "ben", "test")
        door.clock.ahead += KEYS_S
        for browser in browsers:
            assert (await browser.get("/tasks")).headers["location"] == "/sign-in"


async def test_what_else_changes_about_a_key_holds_for_who_is_signed_in(door: Door) -> None:
    async with held(door, role="viewer") as (browser, _):
        acts_on_keys.set_keys(door.busy.installation, "ben", "test", tasks=["no-such"])
        door.clock.ahead += KEYS_S
        await browser.get("/tasks")
        session = door.app.state.sessions.find(browser.cookies["changeover_session"])
        assert session.person.tasks == {"no-such"}


async def test_without_a_provider_there_is_no_such_way_in(busy_console: BusyConsole) -> None:
    async with busy_console.signed_in(None) as browser:
        for path in ("/sign-in/provider", RETURN):
            assert (await browser.get(path)).status_code == 404
        assert "sign-in/provider" not in (await browser.get("/sign-in")).text
