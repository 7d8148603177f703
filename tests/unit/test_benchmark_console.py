"""What the console's benchmark concludes from: which page an address is of, and what a statement reads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from benchmarks.console.declared import SAMPLES, deployments, sketches
from benchmarks.console.statements import reads_whole
from benchmarks.console.visiting import linked, route_of
from sqlalchemy import Connection, func, select

from changeover.library.catalogue import Catalogue
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.store.schema import exchanges

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)


def whole(connection: Connection, query: object) -> bool:
    compiled = query.compile(connection, compile_kwargs={"render_postcompile": True})  # pyright: ignore
    parameters = tuple(BEGAN.isoformat() if isinstance(each, datetime) else each for each in compiled.params.values())
    return reads_whole(connection, str(compiled), parameters)


def test_a_statement_that_reads_all_exchanges_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    store = Store.connect(f"sqlite:///{tmp_path / 'test.db'}")
    migrate(store)
    of_task = select(exchanges.c.id).where(exchanges.c.task == "summarise", exchanges.c.started_at >= BEGAN)
    with store.read() as connection:
        assert whole(connection, select(func.count()).select_from(exchanges))
        assert whole(connection, select(exchanges.c.id).where(exchanges.c.status == 500))
        assert not whole(connection, of_task.order_by(exchanges.c.started_at.desc()))
        assert not whole(connection, select(exchanges.c.task).where(exchanges.c.id == "req_1"))
    store.close()


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("/tasks", "/tasks"),
        ("/tasks/summarise", "/tasks/{task}"),
        ("/tasks?sort=traffic", "/tasks"),
        ("/nowhere", None),
        ("/tools/desk-chat/chat", None),
    ],
)
def test_an_address_is_of_one_page_or_of_none(address: str, page: str | None) -> None:
    assert route_of(address) == page


def test_links_lead_to_pages_and_not_to_files_or_out() -> None:
    text = '<a href="/tasks/a?b=1&amp;c=2">a</a> <link href="/static/base.css"> <a href="https://x.example/">x</a>'
    assert linked(text) == ["/tasks/a?b=1&c=2"]


def test_every_deployment_and_sample_of_the_busy_installation_is_one_of_its_own() -> None:
    cards = {card.id for card in Catalogue.load().cards()}
    assert {each["model"] for each in deployments()} <= cards
    names = {each["name"] for each in deployments()}
    for task in sketches(30):
        assert set(task.by) <= names
        assert len({task.filled(task.ask, number) for number in range(SAMPLES)}) == SAMPLES
