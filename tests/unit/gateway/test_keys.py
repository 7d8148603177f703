"""Keys: found by their secret and by nothing else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text
from tests.support import stores

from changeover.core.digest import sha256_text
from changeover.core.errors import AuthenticationError, ConfigError, PermissionError_
from changeover.core.ids import new_secret
from changeover.gateway.authenticate import allow, authenticate
from changeover.gateway.keys import (
    CALLERS,
    LOOKERS,
    PLACE,
    Key,
    Keyring,
    all_teams,
    change_keys,
    change_team,
    find_keys,
    find_team,
    issue_key,
    load_keys,
    make_team,
    remove_team,
    revoke_key,
)
from changeover.gateway.limits import parse_limit
from changeover.store.engine import Store
from changeover.store.schema import keys

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOSTILE = [
    "x'; DROP TABLE keys; --",
    'x"; DELETE FROM teams; --',
    "x' OR '1'='1",
    "x%_\\",
    "x${jndi:ldap://a}",
    "x{0}%s:name",
    "鍵 — キー",
]


def bearer(secret: str) -> list[tuple[bytes, bytes]]:
    """Headers of a request."""
    return [(b"authorization", f"Bearer {secret}".encode())]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return stores.made(f"sqlite:///{tmp_path / 'keys.db'}")


def made(secret: str, **fields: object) -> dict[str, Key]:
    return {sha256_text(secret): Key(**{"id": "key_1", "name": "app", "role": "application", **fields})}  # type: ignore[arg-type]


def test_a_key_is_found_by_its_whole_secret_only() -> None:
    secret = new_secret("co")
    ring = Keyring(made(secret))
    assert ring.find(secret.encode()) is not None
    for wrong in (secret[:-1], secret + "x", secret.upper(), "", f" {secret}"):
        assert ring.find(wrong.encode()) is None


def test_a_digest_that_only_begins_like_a_known_one_is_refused() -> None:
    secret = new_secret("co")
    digest = sha256_text(secret)
    near = digest[:PLACE] + "".join("1" if char == "0" else "0" for char in digest[PLACE:])
    ring = Keyring({near: Key(id="other", name="other", role="operator")})
    assert ring.find(secret.encode()) is None
    ring.hold({near: Key(id="other", name="other", role="operator"), **made(secret)})
    found = ring.find(secret.encode())
    assert found is not None
    assert found.id == "key_1"


def test_a_secret_has_256_random_bits_and_is_stored_as_a_digest_only(store: Store) -> None:
    with store.write() as connection:
        secrets = {issue_key(connection, name="app", role="application", now=NOW) for _ in range(20)}
    assert len(secrets) == 20
    assert all(len(secret) == len("co-") + 43 for secret in secrets)  # 43 characters of 6 bits
    with store.read() as connection:
        stored = "".join(map(str, connection.execute(select(keys)).all()))
    assert not any(secret in stored or secret[3:] in stored for secret in secrets)


def test_an_expired_key_is_refused_from_that_moment_on() -> None:
    secret, end = new_secret("co"), NOW + timedelta(seconds=1)
    ring = Keyring(made(secret, expires_at=end))
    assert authenticate(bearer(secret), ring, NOW).name == "app"
    for at in (end, end + timedelta(days=400)):
        with pytest.raises(AuthenticationError, match="expired"):
            authenticate(bearer(secret), ring, at)


def test_a_key_that_has_not_changed_stays_the_same_object() -> None:
    ring = Keyring(made("a") | made("b", id="key_2"))
    first, second = ring.find(b"a"), ring.find(b"b")
    ring.hold(made("a") | made("b", id="key_2", tasks=frozenset({"echo"})))
    assert ring.find(b"a") is first
    assert ring.find(b"b") is not second


def test_what_a_key_may_do_comes_back_as_it_was_given(store: Store) -> None:
    limits = (parse_limit("requests/minute=600"), parse_limit("usd/month=50"))
    shared = (parse_limit("usd/month=500"),)
    with store.write() as connection:
        make_team(connection, "finance", shared, NOW)
        secret = issue_key(
            connection,
            name="app",
            role="viewer",
            now=NOW,
            team="finance",
            tasks=["b", "a"],
            deployments=["d"],
            limits=limits,
            expires_at=NOW + timedelta(days=30),
        )
    ring = Keyring()
    ring.reload(store)
    found = ring.find(secret.encode())
    assert found is not None
    assert found == Key(
        id=found.id,
        name="app",
        role="viewer",
        team="finance",
        tasks=frozenset({"a", "b"}),
        deployments=frozenset({"d"}),
        limits=limits,
        team_limits=shared,
        expires_at=NOW + timedelta(days=30),
    )


def test_a_key_is_changed_without_a_new_secret(store: Store) -> None:
    with store.write() as connection:
        make_team(connection, "desk", (), NOW)
        secret = issue_key(connection, name="app", role="application", now=NOW, tasks=["a"])
        change_keys(connection, "app", tasks=None, team="desk", limits=(parse_limit("concurrent=2"),))
    ring = Keyring()
    ring.reload(store)
    found = ring.find(secret.encode())
    assert found is not None
    assert (found.tasks, found.team, [str(limit) for limit in found.limits]) == (None, "desk", ["concurrent=2"])


def test_a_name_that_is_not_there_is_refused_with_the_nearest(store: Store) -> None:
    with store.write() as connection:
        make_team(connection, "finance", (), NOW)
        issue_key(connection, name="invoices", role="application", now=NOW)
    with store.write() as connection:
        with pytest.raises(ConfigError, match="Did you mean `invoices`"):
            find_keys(connection, "invoicse")
        with pytest.raises(ConfigError, match="Did you mean `invoices`"):
            revoke_key(connection, "invoicse", NOW)
        with pytest.raises(ConfigError, match="Did you mean `finance`"):
            issue_key(connection, name="x", role="application", now=NOW, team="finanse")
        with pytest.raises(ConfigError, match="already"):
            make_team(connection, "finance", (), NOW)


def test_a_team_goes_only_when_it_owns_no_usable_key(store: Store) -> None:
    with store.write() as connection:
        make_team(connection, "finance", (), NOW)
        issue_key(connection, name="invoices", role="application", now=NOW, team="finance")
        with pytest.raises(ConfigError, match="owns keys: invoices"):
            remove_team(connection, "finance")
        revoke_key(connection, "invoices", NOW)
        remove_team(connection, "finance")
        assert all_teams(connection) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_look_like_sql_are_names(store: Store, name: str) -> None:
    with store.write() as connection:
        issue_key(connection, name="bystander", role="application", now=NOW)
        make_team(connection, "bystanders", (), NOW)
        make_team(connection, name, (parse_limit("concurrent=1"),), NOW)
        secret = issue_key(
            connection, name=name, role="application", now=NOW, team=name, tasks=[name], deployments=[name]
        )
        change_team(connection, name, (parse_limit("concurrent=2"),))
        changed = change_keys(connection, name, tasks=[name, "more"])
        assert [key.name for key in changed] == [name]
        assert find_team(connection, name).keys == 1
    ring = Keyring()
    ring.reload(store)
    found = ring.find(secret.encode())
    assert found is not None
    assert (found.team, found.deployments, found.tasks) == (name, {name}, {name, "more"})
    with store.write() as connection:
        revoke_key(connection, name, NOW)
        remove_team(connection, name)
        assert [key.name for key in load_keys(connection).values()] == ["bystander"]
        assert [team.name for team in all_teams(connection)] == ["bystanders"]
        assert connection.execute(text("SELECT count(*) FROM keys")).scalar() == 2


@pytest.mark.parametrize("name", [*HOSTILE, "'; DROP TABLE keys; --", "%", "_", ""])
def test_looking_for_a_name_that_looks_like_sql_finds_and_changes_nothing(store: Store, name: str) -> None:
    with store.write() as connection:
        issue_key(connection, name="bystander", role="application", now=NOW)
    with store.write() as connection:
        for look in (find_keys, find_team, remove_team):
            with pytest.raises(ConfigError):
                look(connection, name)
        with pytest.raises(ConfigError):
            revoke_key(connection, name, NOW)
        assert [key.name for key in load_keys(connection).values()] == ["bystander"]


@pytest.mark.parametrize("name", ["", " a", "a ", "=1+1", "-a", "@a", "a\nb", "a\x00b", "\u202eabc", "x" * 81])
def test_names_that_would_mislead_a_reader_are_refused(store: Store, name: str) -> None:
    with store.write() as connection:
        with pytest.raises(ConfigError, match="cannot name"):
            issue_key(connection, name=name, role="application", now=NOW)
        with pytest.raises(ConfigError, match="cannot name"):
            make_team(connection, name, (), NOW)


SECRET = new_secret("co")
RING = Keyring(made(SECRET) | made(f"{SECRET}-m", id="key_m", role="viewer"))


def test_a_viewer_keeps_its_role_on_the_way_in() -> None:
    key = authenticate(bearer(f"{SECRET}-m"), RING, NOW)
    assert key.role == "viewer"
    allow(key, LOOKERS)
    with pytest.raises(PermissionError_, match="viewer"):
        allow(key, CALLERS)


HEADER = st.sampled_from([b"authorization", b"x-api-key", b"cookie", b"proxy-authorization", b"x-real-key"])
VALUE = st.binary(max_size=200) | st.text(max_size=80).map(lambda text: f"Bearer {text}".encode("utf-8", "replace"))


@given(st.lists(st.tuples(HEADER, VALUE), max_size=4))
def test_no_header_but_a_known_key_gets_in(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(AuthenticationError) as caught:
        authenticate(headers, RING, NOW)
    assert caught.value.status == 401


@given(
    st.sampled_from([b"Basic", b"Bearer", b"bearer", b"BEARER", b"", b"Digest", b"Token"]),
    st.sampled_from([b" ", b"  ", b"\t", b"", b"\n", b":"]),
    st.binary(max_size=12),
    st.binary(max_size=12),
)
def test_whatever_surrounds_a_secret_either_it_is_that_secret_or_nobody_gets_in(
    scheme: bytes, gap: bytes, before: bytes, after: bytes
) -> None:
    given_ = before + SECRET.encode() + after
    known = (gap[:1] + given_).strip() in (SECRET.encode(), f"{SECRET}-m".encode())
    if scheme.lower() == b"bearer" and gap.startswith(b" ") and known:
        assert authenticate([(b"authorization", scheme + gap + given_)], RING, NOW).id in ("key_1", "key_m")
        return
    with pytest.raises(AuthenticationError) as caught:
        authenticate([(b"authorization", scheme + gap + given_)], RING, NOW)
    assert SECRET not in caught.value.message


@given(st.integers(0, 63), st.integers(0, 127))
def test_one_wrong_character_anywhere_is_a_wrong_key(place: int, char: int) -> None:
    place %= len(SECRET)
    wrong = SECRET[:place] + chr(char) + SECRET[place + 1 :]
    assert (RING.find(wrong.encode()) is None) == (wrong != SECRET)


def test_an_error_about_a_key_never_repeats_it() -> None:
    wrong = replace(Key(id="k", name="n", role="operator"), name="canary")
    with pytest.raises(AuthenticationError) as caught:
        authenticate(bearer("canary-4711-secret"), Keyring({"0" * 64: wrong}), NOW)
    assert "canary" not in caught.value.message
