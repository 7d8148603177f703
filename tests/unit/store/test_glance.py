"""Who looks again and again looks where something was written, and otherwise only once in a while."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert
from tests.unit.store.test_store import fresh

from changeover.store import glance
from changeover.store.engine import Store
from changeover.store.glance import Glance
from changeover.store.schema import applied


def write(store: Store, revision: int) -> None:
    with store.write() as connection:
        connection.execute(
            insert(applied).values(
                revision=revision,
                document={},
                digest="d",
                actor="anna",
                changes=[],
                created_at=datetime(2026, 5, 4, tzinfo=UTC),
            )
        )


def settled(store: Store) -> Glance:
    looking = Glance(store)
    while looking.tells_news():
        pass
    return looking


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "AT_LEAST_S", 3600.0)


def test_a_commit_of_this_process_or_of_another_store_is_news_once(tmp_path: Path) -> None:
    store = fresh(tmp_path)
    other = Store.connect(str(store.engine.url))
    one, two = Glance(store), Glance(store)
    assert [one.tells_news(), one.tells_news(), two.tells_news(), one.tells_news()] == [True, True, True, False]
    for revision, writer in enumerate((store, other), 1):
        write(writer, revision)
        assert [one.tells_news(), one.tells_news(), two.tells_news()] == [True, False, True]
    with store.read() as connection:
        connection.exec_driver_sql("SELECT 1 FROM applied")
    assert not one.tells_news(), "reading is no news"
    other.close()
    store.close()


def test_who_writes_keeps_nobody_waiting_who_glances(tmp_path: Path) -> None:
    store = fresh(tmp_path)
    looking = settled(store)
    with store.write() as connection:
        connection.exec_driver_sql("DELETE FROM applied")
        assert not looking.tells_news(), "it is not committed"
    store.close()


def test_after_a_look_that_failed_it_is_looked_again(tmp_path: Path) -> None:
    store = fresh(tmp_path)
    looking = settled(store)
    looking.forget()
    assert [looking.tells_news(), looking.tells_news()] == [True, False]
    store.close()


def test_a_file_that_is_gone_or_another_one_is_news(tmp_path: Path) -> None:
    store = fresh(tmp_path)
    looking, file = settled(store), tmp_path / "test.db"
    file.rename(tmp_path / "hidden.db")
    assert looking.tells_news()
    (tmp_path / "hidden.db").rename(file)
    assert looking.tells_news()
    store.close()


def test_a_store_that_tells_of_no_change_is_looked_at_all_the_same_once_in_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glance, "AT_LEAST_S", 0.0)
    store = fresh(tmp_path)
    looking = Glance(store)
    assert [looking.tells_news(), looking.tells_news()] == [True, True]
    store.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///missing/directory/file.db"])
def test_where_nobody_can_tell_every_look_is_made(url: str) -> None:
    store = Store.connect(url)
    looking = Glance(store)
    assert [looking.tells_news(), looking.tells_news()] == [True, True]
    store.close()
