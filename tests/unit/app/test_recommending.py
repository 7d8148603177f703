"""The pure parts of a recommendation: who is beaten, what a task needs, what speaks for and against a card."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeover.app.recommending.axes import axes_of, common_index, other_figures, price_of
from changeover.app.recommending.checks import checks_of
from changeover.app.recommending.choices import Own
from changeover.app.recommending.needs import Needs
from changeover.app.recommending.pareto import beats, fronts, in_order
from changeover.app.scoring import Scored
from changeover.core.settings import Price
from changeover.evals.trial_queries import Figures
from changeover.library.cards import Card
from changeover.library.licences.judgement import Judgement, Reason
from changeover.library.scores.parts import Part, Score

TODAY = date(2026, 11, 30)
SOURCE = {"facts": ["everything"], "at": "this test", "grade": "run", "checked": "2026-11-30"}
FREE = Judgement(model="m", task=None, reasons=(), policy=True)
NEEDS = Needs(
    task="summarise",
    description="",
    cases=60,
    scenarios=("documents",),
    languages={"en": 0.8, "ja": 0.2},
    prompt_tokens=1_000,
    counted=True,
    answer_tokens=200,
    tools=False,
    structured=False,
)
VALUES = st.tuples(*[st.none() | st.integers(0, 3)] * 3)


def card(id: str = "m", **facts: Any) -> Card:
    plain = {"modalities_in": ["text"], "modalities_out": ["text"], "chat_format": "chatml", "context_tokens": 4096}
    plain |= {"licence": {"id": "MIT"}, "weights": "open", "languages": ["en", "ja-JP"]}
    named = {"id": id, "display_name": id, "family": id, "vendor": "Somebody", "sources": [SOURCE]}
    return Card.model_validate({**named, **plain, **facts})


def state(name: str, one: Card, needs: Needs = NEEDS, judgement: Judgement = FREE) -> str:
    return next(each.state for each in checks_of(one, needs, judgement, TODAY) if each.name == name)


def figure(version: str | None, value: float, **more: Any) -> dict[str, Any]:
    return {"index": "Index", "version": version, "value": value, "source": "s", **more}


def test_one_beats_another_that_is_nowhere_better_and_somewhere_worse() -> None:
    assert beats((2, 1), (1, 1), [0])
    assert not beats((1, 1), (1, 1), [0])
    assert not beats((2, 0), (1, 1), [0])


def test_what_is_not_known_of_one_beats_nothing_and_of_the_other_is_not_held_against_it() -> None:
    assert not beats((None, 3), (1, 1), [0])
    assert beats((2, 1), (1, None), [0])


def test_whose_quality_nobody_knows_is_beaten_by_nobody() -> None:
    assert not beats((9, 9), (None, 1), [0])


@given(VALUES, VALUES, VALUES)
def test_beating_goes_in_no_circle(a: tuple[int], b: tuple[int], c: tuple[int]) -> None:
    assert not beats(a, a, [0])
    if beats(a, b, [0]):
        assert not beats(b, a, [0])
        if beats(b, c, [0]):
            assert beats(a, c, [0])


@given(st.dictionaries(st.sampled_from("abcdef"), VALUES, min_size=1))
def test_every_model_has_a_front_and_is_beaten_from_the_one_before(of: dict[str, tuple[int]]) -> None:
    found = fronts(of, [0])
    assert found.keys() == of.keys()
    for name, (front, by) in found.items():
        assert (by is None) == (front == 1)
        if by is not None:
            assert beats(of[by], of[name], [0])
            assert found[by][0] == front - 1


def test_the_order_does_not_depend_on_the_order_of_the_cards() -> None:
    of = {"a": (1.0, 2.0), "b": (2.0, 1.0), "c": (None, 3.0), "d": (0.0, 0.0)}
    orders = {
        tuple(sorted(dict(each), key=lambda id: (fronts(dict(each), [0])[id][0], in_order(of[id]), id)))
        for each in permutations(of.items())
    }
    assert orders == {("b", "a", "c", "d")}


@pytest.mark.parametrize(
    ("facts", "name", "wanted"),
    [
        ({}, "text and conversation", "pass"),
        ({"modalities_out": ["image"]}, "text and conversation", "fail"),
        ({"chat_format": None}, "text and conversation", "fail"),
        ({"context_tokens": 1_200}, "context", "pass"),
        ({"context_tokens": 1_199}, "context", "fail"),
        ({"context_tokens": None}, "context", "unknown"),
        ({}, "languages", "pass"),
        ({"languages": []}, "languages", "unknown"),
        ({"languages": ["en"]}, "languages", "unknown"),
        ({"languages": ["ja"]}, "languages", "fail"),
        ({"retired": "2026-11-30"}, "not retired", "fail"),
        ({"retired": "2026-12-01"}, "not retired", "pass"),
        ({"licence": None}, "licence", "unknown"),
    ],
)
def test_a_requirement_is_met_missed_or_unknown(facts: dict[str, Any], name: str, wanted: str) -> None:
    assert state(name, card(**facts)) == wanted


def test_a_context_that_was_only_estimated_rules_nothing_out() -> None:
    estimated = replace(NEEDS, counted=False)
    assert state("context", card(context_tokens=100), estimated) == "unknown"


def test_tools_are_asked_about_where_the_task_offers_some() -> None:
    with_tools = replace(NEEDS, tools=True)
    assert state("tool calls", card(tool_call_format="hermes JSON"), with_tools) == "pass"
    assert state("tool calls", card(), with_tools) == "unknown"
    assert all(each.name != "tool calls" for each in checks_of(card(), NEEDS, FREE, TODAY))


@pytest.mark.parametrize(("outcome", "wanted"), [("deny", "fail"), ("person", "unknown"), ("duties", "pass")])
def test_a_licence_is_a_requirement_and_its_clause_is_named(outcome: Any, wanted: str) -> None:
    reason = Reason(
        outcome=outcome, says="It may not be used here.", model="m", licence="L", clause="5(c)", quote=None, source="s"
    )
    judgement = Judgement(model="m", task="summarise", reasons=(reason,), policy=True)
    found = next(each for each in checks_of(card(), NEEDS, judgement, TODAY) if each.name == "licence")
    assert found.state == wanted
    assert "5(c)" in found.says or wanted == "pass"


def test_figures_are_compared_within_the_version_that_most_models_have() -> None:
    three = [card(f"m{n}", figures=[figure("3.0", 50 + n)]) for n in range(2)] + [
        card("old", figures=[figure("2.2", 64)])
    ]
    index = common_index(three)
    assert index == ("Index", "3.0")
    assert other_figures(three[2], index) == ("Index 2.2: 64, not compared",)
    assert other_figures(three[0], index) == ()


def test_a_figure_of_another_variant_is_not_the_models() -> None:
    one = card(figures=[figure("3.0", 54, variant="thinking")])
    assert common_index([one]) is None
    assert other_figures(one, None) == ("Index 3.0: 54 (thinking), not compared",)


def test_the_projects_own_price_counts_before_a_hosts_and_the_newest_before_an_older() -> None:
    prices = [
        {"read": "2026-01-01", "input_usd_per_million_tokens": 9, "output_usd_per_million_tokens": 9, "source": "s"},
        {"read": "2026-06-01", "input_usd_per_million_tokens": 1, "output_usd_per_million_tokens": 2, "source": "s"},
    ]
    one = card(hosted=[{"host": "h", "id": "x", "pin": "alias", "prices": prices}])
    own = Price(usd_per_million_prompt_tokens=5, usd_per_million_completion_tokens=5)
    assert price_of(one, own) == own
    assert price_of(one, None) == Price(usd_per_million_prompt_tokens=1, usd_per_million_completion_tokens=2)
    assert price_of(card(), None) is None


@pytest.mark.parametrize(("stale", "value"), [(False, 80), (True, None)])
def test_a_score_of_which_too_little_is_known_is_held_against_nobody(stale: bool, value: float | None) -> None:
    known = Part(name="a", weight=30, value=0.8, says="", stale=stale)
    rest = Part(name="b", weight=70, value=None, says="not known")
    score = Score(model="m", parts=(known, rest))
    scored = Scored(card=card(), familiarity=score, support=score, flags=(), judgement=FREE)
    figures = Figures(
        kept=frozenset(), duration_ms=None, prompt_tokens=None, completion_tokens=None, longest_prompt=None
    )
    axes = axes_of(scored, Own(), NEEDS, None, None, figures, priced=False)
    support = next(each for each in axes if each.name == "support")
    assert support.value == value
    assert support.says.startswith("80 of 100"), "it is shown in either case"
