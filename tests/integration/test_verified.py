"""What is verified here of a model: set by what this installation did, dated, and never taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import delete
from tests.support.exchanges import exchange
from tests.support.postgres import keep_in
from tests.support.projects import deploy_echo, open_written, running, write_project

from changeover.app.installation import Installation
from changeover.app.verified import VerifiedStates, note_planned, note_states, verified_here
from changeover.core.ids import new_id
from changeover.evals.queries import Comparison, add_comparison, end_comparison
from changeover.library.cards import Card
from changeover.serving.queries import note_state, want
from changeover.serving.variants import Variant
from changeover.store.schema import exchanges
from changeover.tasks.queries import add_exchanges

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

CARD = """\
[[cards]]
id = "tiny"
display_name = "Tiny"
family = "tiny"
vendor = "Test"
[[cards.sources]]
facts = ["everything"]
at = "the tests"
grade = "run"
checked = 2026-01-01
"""


@pytest.fixture
def installation(tmp_path: Path, store_url: str) -> Generator[Installation]:
    project = keep_in(write_project(tmp_path / "p"), store_url)
    (project / "library").mkdir()
    (project / "library" / "tiny.toml").write_text(CARD)
    opened = open_written(project)
    yield opened
    opened.store.close()


@pytest.fixture
def card(installation: Installation) -> Card:
    return installation.catalogue.card("tiny")


def states(installation: Installation, card: Card) -> list[str]:
    return [each.state for each in verified_here(installation, card).reached]


def ready(installation: Installation, name: str) -> None:
    with installation.store.write() as connection:
        note_state(
            connection,
            name,
            state="ready",
            detail="0.2 s, first answer checked",
            memory_bytes=4096,
            now=installation.clock.now(),
        )


def answered(installation: Installation, variant: Variant, **more: object) -> str:
    made = exchange(task="echo", variant=variant.id, started_at=installation.clock.now(), **more)  # type: ignore[arg-type]
    with installation.store.write() as connection:
        add_exchanges(connection, [made])
    return made.id


def compared(installation: Installation, old: Variant, new: Variant, verdict: str | None) -> str:
    comparison = Comparison(
        id=new_id("cmp"),
        task="echo",
        incumbent=old.id,
        candidate=new.id,
        dataset="d" * 64,
        scorer="s" * 64,
        plan={},
        actor="ana",
        verdict=None,
        summary=None,
        started_at=installation.clock.now(),
        ended_at=None,
    )
    with installation.store.write() as connection:
        add_comparison(connection, comparison)
        if verdict is not None:
            end_comparison(connection, comparison.id, verdict=verdict, summary={}, now=installation.clock.now())
    return comparison.id


def test_a_model_goes_from_declared_to_evaluated_by_what_is_done_with_it(
    installation: Installation, card: Card
) -> None:
    assert verified_here(installation, card).state == "declared"
    variant = deploy_echo(installation, "tiny")
    assert states(installation, card) == ["planned"]
    ready(installation, "tiny")
    assert states(installation, card) == ["planned", "loads"]
    answered(installation, variant, status=502)
    answered(installation, variant, internal=True)
    answered(installation, variant, truncated=True)
    answered(installation, variant, shadow_of="req_1")
    assert states(installation, card) == ["planned", "loads"], "none of these is an answer to a caller"
    id = answered(installation, variant)
    assert states(installation, card) == ["planned", "loads", "served"]
    other = deploy_echo(installation, "other")
    compared(installation, other, variant, None)
    assert verified_here(installation, card).state == "served", "a comparison that did not end says nothing"
    comparison = compared(installation, other, variant, "inconclusive")
    found = verified_here(installation, card)
    assert found.state == "evaluated"
    planned, loads, served, evaluated = found.reached
    assert planned.evidence["deployment"] == "tiny"
    assert loads.evidence["memory_bytes"] == 4096
    assert loads.evidence["engine"] == "echo"
    assert loads.evidence["engine_version"]
    assert loads.evidence["said"] == "0.2 s, first answer checked"
    assert served.evidence["exchange"] == id
    assert served.evidence["bundle"] == variant.bundle.digest
    assert evaluated.evidence["comparison"] == comparison
    assert (evaluated.evidence["dataset"], evaluated.evidence["verdict"]) == ("d" * 64, "inconclusive")
    assert planned.at <= loads.at <= served.at <= evaluated.at


def test_what_was_reached_stays_when_engine_and_exchanges_are_gone(installation: Installation, card: Card) -> None:
    variant = deploy_echo(installation, "tiny")
    ready(installation, "tiny")
    answered(installation, variant)
    before = verified_here(installation, card)
    with installation.store.write() as connection:
        connection.execute(delete(exchanges))
        want(connection, "tiny", "stopped", installation.clock.now())
        note_state(connection, "tiny", state="stopped", detail="", now=installation.clock.now())
    assert verified_here(installation, card) == before
    assert note_states(installation) == []


def test_an_answer_shows_that_it_loaded_even_if_nobody_looked_then(installation: Installation, card: Card) -> None:
    variant = deploy_echo(installation, "tiny")
    answered(installation, variant)
    _, loads, served = verified_here(installation, card).reached
    assert loads.evidence["shown_by"] == "served"
    assert loads.evidence["engine"] == "echo"
    assert loads.at == served.at


def test_a_fit_that_says_yes_is_a_plan_and_the_first_one_stays(installation: Installation, card: Card) -> None:
    [first] = note_planned(installation, card, {"fit": "this machine"})
    assert first.state == "planned"
    assert note_planned(installation, card, {"fit": "another"}) == []
    deploy_echo(installation, "tiny")
    [planned] = verified_here(installation, card).reached
    assert planned.evidence == {"fit": "this machine"}


def test_the_loop_looks_at_what_began_since_and_notes_each_state_once(installation: Installation) -> None:
    variant = deploy_echo(installation, "tiny")
    loop = VerifiedStates(installation)
    assert [each.state for each in loop.look()] == ["planned"]
    old = exchange(task="echo", variant=variant.id, started_at=LONG_AGO)
    with installation.store.write() as connection:
        add_exchanges(connection, [old])
    assert loop.look() == [], "it was looked at before, as far as the loop knows"
    answered(installation, variant)
    assert sorted(each.state for each in loop.look()) == ["loads", "served"]
    assert loop.look() == []


def test_engines_without_a_card_are_left_alone(installation: Installation) -> None:
    deploy_echo(installation, "nobody-knows-me")
    assert note_states(installation) == []


async def test_the_running_system_serves_and_it_is_verified(installation: Installation, card: Card) -> None:
    variant = deploy_echo(installation, "tiny")
    async with running(installation) as it, aiohttp.ClientSession() as session:
        await it.ready("echo", "tiny")
        body = {"model": f"echo@{variant.id}", "messages": [{"role": "user", "content": "please say ok"}]}
        async with session.post(
            f"{it.address}/v1/chat/completions", json=body, headers=it.headers(it.operator)
        ) as answer:
            assert answer.status == 200, await answer.text()
        async with asyncio.timeout(20):
            while verified_here(installation, card).state == "planned":
                await asyncio.sleep(0.05)  # the fleet writes down what it sees a few times a second
        [_, loads, *_] = verified_here(installation, card).reached
        assert loads.evidence["memory_bytes"] > 0
