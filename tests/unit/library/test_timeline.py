"""What happened to models, who keeps them up, and who led an index: on cards made for it and on those that ship."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest

from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.facts import FactSource
from changeover.library.timeline import LONG, continuity, events, leaders, reversals, vendor_continuity, version_order

TODAY = date(2026, 11, 30)
SOURCE = FactSource(facts=("everything",), at="test", grade="run", checked=date(2026, 11, 21))
PACKAGED = Catalogue.load()


def card(id: str, **facts: object) -> Card:
    said = {"display_name": id, "family": id, "vendor": "Maker", **facts}
    return Card.model_validate({"id": id, "sources": (SOURCE,), **said})


def catalogue(*cards: Card) -> Catalogue:
    return Catalogue({each.id: each for each in cards})


def figure(version: str, value: float) -> dict[str, object]:
    return {"index": "index", "version": version, "value": value, "source": "test"}


def measured(id: str, country: str, weights: str = "open", **versions: float) -> Card:
    figures = [figure(version.removeprefix("v").replace("_", "."), value) for version, value in versions.items()]
    return card(id, vendor=f"maker of {id}", country=country, weights=weights, figures=figures)


def test_events_come_in_order_and_what_has_no_date_comes_last() -> None:
    old = card("old", released=date(2024, 5, 1), lineage={"successor": "new"}, retired=date(2026, 1, 1))
    new = card(
        "new",
        released=date(2025, 6, 1),
        released_to="month",
        licence={"id": "B", "former": [{"id": "A", "until": date(2025, 7, 1)}]},
        engines=[{"engine": "vllm", "until": "0.23.0"}],
        hosted=[{"host": "Host", "id": "new-latest", "pin": "alias", "now": "newer"}],
    )
    happened = events(catalogue(old, new), [new, old])
    assert [(event.when, event.kind, event.model) for event in happened] == [
        ("2024-05-01", "released", "old"),
        ("2025-06", "released", "new"),
        ("2025-06", "followed", "old"),
        ("2025-07-01", "licence", "new"),
        ("2026-01-01", "retired", "old"),
        (None, "dropped", "new"),
        (None, "moved", "new"),
    ]
    assert happened[3].says == "A → B"
    assert "0.23.0" in happened[5].says


QUIET, RECENT = TODAY - LONG - timedelta(days=1), TODAY - timedelta(days=20)


@pytest.mark.parametrize(
    ("facts", "last_commit", "state"),
    [
        ({}, None, "unknown"),
        ({"released": date(2024, 1, 1)}, None, "unknown"),
        ({"released": RECENT}, None, "active"),
        ({"released": date(2024, 1, 1)}, RECENT, "active"),
        ({"released": date(2024, 1, 1)}, QUIET, "orphaned"),
        ({"lineage": {"successor": "next"}}, QUIET, "superseded"),
        ({"lineage": {"successor": "next"}}, RECENT, "superseded"),
        ({"engines": [{"engine": "vllm", "until": "0.23.0"}]}, RECENT, "orphaned"),
        ({"engines": [{"engine": "vllm", "until": "0.23.0"}], "lineage": {"successor": "next"}}, None, "orphaned"),
        ({"retired": date(2026, 1, 1), "lineage": {"successor": "next"}}, QUIET, "retired"),
        ({"retired": TODAY + timedelta(days=1), "released": RECENT}, None, "active"),
    ],
)
def test_a_model_is_kept_up_as_far_as_it_is_known(
    facts: dict[str, object], last_commit: date | None, state: str
) -> None:
    one = card("one", **facts)
    said = continuity(catalogue(one, card("next")), one, last_commit, TODAY)
    assert said.state == state
    assert said.reasons
    assert said.followed_by == (("next",) if "lineage" in facts else ())


def test_a_sibling_of_another_size_is_no_newer_version() -> None:
    big = card("big", family="line-3", released=date(2025, 10, 1), modalities_in=("text",), modalities_out=("text",))
    small = card(
        "small", family="line-3", released=date(2025, 10, 9), modalities_in=("text",), modalities_out=("text",)
    )
    newer = card("newer", family="line-4", released=date(2026, 4, 1), modalities_in=("text",), modalities_out=("text",))
    assert continuity(catalogue(big, small), big, None, date(2027, 1, 1)).state == "unknown"
    assert continuity(catalogue(big, small, newer), big, None, TODAY).followed_by == ("newer",)


def test_a_vendor_is_orphaned_only_where_all_of_its_commits_are_known_to_be_old() -> None:
    cards = [card("a", released=date(2024, 1, 1)), card("b", released=date(2024, 6, 1))]
    assert vendor_continuity("Maker", cards, {}, TODAY).state == "unknown"
    assert vendor_continuity("Maker", cards, {"a": QUIET}, TODAY).state == "unknown"
    assert vendor_continuity("Maker", cards, {"a": QUIET, "b": QUIET}, TODAY).state == "orphaned"
    assert vendor_continuity("Maker", cards, {"a": QUIET, "b": RECENT}, TODAY).state == "active"
    assert vendor_continuity("Maker", [*cards, card("c", released=RECENT)], {}, TODAY).state == "active"
    retired = [card("d", retired=date(2026, 1, 1))]
    assert vendor_continuity("Maker", retired, {}, TODAY).state == "retired"


def test_the_best_open_model_of_each_country_stands_with_its_version_alone() -> None:
    cards = [
        measured("cn-1", "CN", v2=64, v10=40),
        measured("cn-2", "CN", v2=60),
        measured("us-1", "US", v2=58),
        measured("us-closed", "US", "closed", v2=90),
        card("nowhere", weights="open", figures=[figure("2", 99)]),
    ]
    assert [(each.version, [(leader.model, leader.value) for leader in each.leaders]) for each in leaders(cards)] == [
        ("2", [("cn-1", 64.0), ("us-1", 58.0)]),
        ("10", [("cn-1", 40.0)]),
    ]


def test_two_models_turn_only_where_both_versions_measured_both() -> None:
    a, b, c = (
        measured("a", "CN", v2_2=64, v3=57.5),
        measured("b", "US", v2_2=58, v3=60.5),
        measured("c", "US", v3=99),
    )
    (turn,) = reversals([a, b, c])
    assert (turn.led, turn.leads, turn.before, turn.after) == ("a", "b", "2.2", "3")
    assert (turn.values_before, turn.values_after) == ((64, 58), (57.5, 60.5))
    assert reversals([a, c]) == []


def test_versions_are_ordered_by_their_numbers() -> None:
    assert sorted(["10", "3.0", "2.2", "2"], key=version_order) == ["2", "2.2", "3.0", "10"]


def test_the_library_shows_that_the_order_of_qwen3_and_gpt_oss_turned_and_who_vllm_dropped() -> None:
    turned = {(each.led, each.leads): each for each in reversals(PACKAGED.cards())}
    turn = turned["qwen3-235b-a22b-thinking-2507", "gpt-oss-120b"]
    assert (turn.before, turn.after, turn.values_before) == ("2.2", "3.0", (64.0, 58.0))
    dropped = PACKAGED.card("minimax-m1")
    said = continuity(PACKAGED, dropped, None, TODAY)
    assert (said.state, said.followed_by[0]) == ("orphaned", "minimax-m2")
    assert "0.23.0" in said.reasons[0]
    happened = events(PACKAGED, PACKAGED.cards())
    dated = [event.on for event in happened if event.on is not None]
    assert all(before <= after for before, after in pairwise(dated))
    assert {"released", "followed", "licence", "dropped", "moved", "claim"} <= {event.kind for event in happened}
