from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from changeover.core.errors import ConfigError
from changeover.store.audit import Act, Wanted, acts, note
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.store.schema import applied, bundles, licence_texts, rollout_events, rollouts, routes, trials, variants

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


@pytest.fixture
def store(store_url: str) -> Generator[Store]:
    made = Store.connect(store_url)
    migrate(made)
    with made.write() as connection:
        _history(connection)
    yield made
    made.close()


def _history(connection: Connection) -> None:
    """One act of each kind, a minute apart; the last two at once."""
    whose: dict[str, Any] = {"actor": "ana", "reason": "a better one"}
    connection.execute(insert(bundles).values(digest="b", document={}, created_at=NOON))
    connection.execute(insert(variants).values(id="v", task="code", deployment="d", bundle="b", created_at=NOON))
    rollout = {"id": 7, "task": "code", "incumbent": "v", "candidate": "v", "plan": {}, "state": "done", "step": 0}
    connection.execute(insert(rollouts).values(**rollout, **whose, step_started_at=NOON, created_at=NOON))
    one = {"document": {}, "digest": "d", "changes": [{"task": "code"}]}
    connection.execute(insert(applied).values(**one, actor="ben", created_at=at(1)))
    event = {"rollout": 7, "evidence": {"seen": 3}}
    connection.execute(insert(rollout_events).values(**event, **whose, action="approve", at=at(2)))
    connection.execute(insert(rollout_events).values(**event, **whose, action="promote", at=at(3), revision=1))
    route = {"task": "code", "incumbent": "v", "candidate_weight": 0, "salt": "s", "action": "promote"}
    connection.execute(insert(routes).values(**route, **whose, created_at=at(3)))
    connection.execute(insert(trials).values(candidate="new", plan={}, actor="key:ben", started_at=at(4)))
    text = {"card": "m", "sha256": "x", "source": "s", "seen_at": at(0)}
    connection.execute(insert(licence_texts).values(**text))
    connection.execute(insert(licence_texts).values(**text, accepted_by="ana", accepted_at=at(5), reason="legal"))
    for name in ("one", "two"):
        note(connection, at=at(6), actor="ben", action="key new", subject=f"key {name}", detail={"role": "viewer"})


def looked(store: Store, limit: int = 50, **wanted: Any) -> list[Act]:
    with store.read() as connection:
        return acts(connection, Wanted(**wanted), limit)


def said(found: list[Act]) -> list[str]:
    return [f"{act.actor} {act.action} {act.subject}" for act in found]


def test_everything_that_was_done_is_read_newest_first_and_once(store: Store) -> None:
    found = looked(store)
    assert said(found) == [
        "ben key new key two",
        "ben key new key one",
        "ana accept licence of m",
        "key:ben trial new",
        "ana promote revision 1",
        "ana approve rollout 7",
        "ben apply declarations 1",
    ]
    assert found[0].detail == {"role": "viewer"}
    assert (found[4].reason, found[4].task, found[4].detail) == ("a better one", "code", None)
    assert (found[5].detail, found[6].detail) == ({"seen": 3}, [{"task": "code"}])
    assert found[0].at == at(6)


def test_page_after_page_gives_the_same_as_one(store: Store) -> None:
    whole, found = looked(store), list[Act]()
    while page := looked(store, 2, after=found[-1].cursor if found else None):
        found += page
    assert found == whole


def test_acts_are_found_by_person_task_action_and_time(store: Store) -> None:
    assert said(looked(store, actor="ben"))[2:] == ["key:ben trial new", "ben apply declarations 1"]
    assert said(looked(store, actor="key:ben")) == ["key:ben trial new"]
    assert said(looked(store, tasks=frozenset({"code"}))) == ["ana promote revision 1", "ana approve rollout 7"]
    assert said(looked(store, of_keys=False))[0] == "ana accept licence of m"
    assert said(looked(store, action="apply")) == ["ben apply declarations 1"]
    assert said(looked(store, since=at(3), until=at(5))) == ["key:ben trial new", "ana promote revision 1"]


@pytest.mark.parametrize(
    "cursor", ["", "x", "20260504T120000.000000-nobody-1", "20260504T120000.000000-route-x", "1-2-3"]
)
def test_a_place_that_is_none_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(ConfigError, match="no place in the audit"):
        looked(store, after=cursor)
