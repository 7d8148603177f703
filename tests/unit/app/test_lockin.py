"""Which features of prompts and requests tie to which families, and how shares are counted."""

from __future__ import annotations

import msgspec
import pytest

from changeover.app.lockin.features import in_parameters, in_request, in_text, known_features
from changeover.app.lockin.shares import Answering, shares
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.serving.profiles import Profile, family_profiles

SHIPPED = Catalogue.load()
SOURCE = {"facts": ["everything"], "at": "this test", "grade": "run", "checked": "2026-11-30"}


def test_every_feature_is_about_families_and_fields_that_there_are() -> None:
    defaults = msgspec.to_builtins(Profile())
    for feature in known_features():
        assert feature.texts or feature.parameters
        assert set(feature.families) <= family_profiles().keys(), feature.name
        if feature.field is None and not feature.chat_formats:
            assert feature.source is not None, feature.name
        else:
            assert feature.field is None or feature.field in defaults
            assert feature.understood_by(SHIPPED.cards()), feature.name


def test_who_understands_a_chat_format_is_read_from_the_cards() -> None:
    turns = next(feature for feature in known_features() if feature.name == "ChatML's turns")
    assert {"qwen2.5-coder", "smollm2"} <= set(turns.understood_by(SHIPPED.cards()))
    assert "gemma-3" not in turns.understood_by(SHIPPED.cards())


def test_every_way_of_a_family_to_reason_or_to_call_tools_is_looked_for() -> None:
    known = {(feature.field, value) for feature in known_features() for value in feature.values}
    plain = {"none", "field", "native", "prompt"}
    for id, profile in family_profiles().items():
        for field in ("reasoning", "tool_calls", "effort"):
            value = profile.get(field, "none")
            if (
                value not in plain
                and (field, value) != ("tool_calls", "harmony")
                and (field, value) != ("tool_calls", "gemma4")
            ):
                assert (field, value) in known, (id, field, value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Answer shortly.", []),
        ("First think in <think></think>.", ["<think> in a prompt"]),
        ("Reasoning: high", ["harmony channels"]),
        ("<|im_start|>system", ["ChatML's turns"]),
        ("<start_of_turn>user", ["Gemma's turns"]),
        ("<minimax:tool_call><invoke name='x'>", ["MiniMax's tool calls"]),
        ("Summarise this. /no_think", ["Qwen's soft switches"]),
        ("the files /thinking.txt and /think/a and a/think", []),
    ],
)
def test_marks_of_a_family_are_found_in_a_text(text: str, found: list[str]) -> None:
    assert [feature.name for feature in in_text(text)] == found


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"temperature": 0, "response_format": {"type": "json_object"}, "reasoning_effort": "low"}, []),
        ({"chat_template_kwargs": {"enable_thinking": False}}, ["chat_template_kwargs.enable_thinking"]),
        (
            {"chat_template_kwargs": {"enable_thinking": False, "documents": []}},
            ["chat_template_kwargs.enable_thinking", "other keys for a chat template"],
        ),
        ({"enable_thinking": True}, ["enable_thinking beside the messages"]),
        ({"guided_json": {}}, ["an engine's own way to hold an answer to a shape"]),
    ],
)
def test_keys_of_some_families_are_found_and_the_most_particular_counts(
    parameters: dict[str, object], found: list[str]
) -> None:
    assert [feature.name for feature in in_parameters(parameters)] == found


@pytest.mark.parametrize("messages", [None, "text", [1], [{"content": 3}], [{"content": [{"text": 4}, "x"]}]])
def test_a_request_of_any_shape_is_looked_into(messages: object) -> None:
    assert in_request({"messages": messages}) == ()


def test_parts_of_a_message_are_looked_into() -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "<|channel|>"}]}]}
    assert [feature.name for feature in in_request(body)] == ["harmony channels"]


def test_shares_add_up_and_who_answered_before_counts_by_requests_alone() -> None:
    card = Card.model_validate(
        {
            "id": "m",
            "display_name": "M",
            "family": "m",
            "vendor": "V",
            "country": "SG",
            "weights": "open",
            "sources": [SOURCE],
        }
    )
    every = [
        Answering(task="a", deployment="m", card=card, engine="e", hosted=None, now=True, requests=30),
        Answering(task="b", deployment="x", card=None, engine=None, hosted="alias", now=True, requests=0),
        Answering(task="b", deployment="m", card=card, engine="e", hosted=None, now=False, requests=10),
    ]
    found = shares(every)
    for each in found.values():
        assert sum(share.tasks for share in each) == 2
        assert sum(share.tasks_share for share in each) == pytest.approx(1)
        assert sum(share.requests_share or 0 for share in each) == pytest.approx(1)
    vendor = {share.of: share for share in found["vendor"]}
    assert (vendor["V"].tasks, vendor["V"].requests, vendor["V"].requests_share) == (1, 40, 1.0)
    assert {share.of for share in found["hosted name"]} == {"runs here", "alias"}
    assert {share.of for share in found["country"]} == {"SG", "unknown"}
