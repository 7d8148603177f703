"""The `tool-calls` scorer: right calls, wrong calls, and calls that small models write as text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from changeover.evals.answers import Answer, ToolCall
from changeover.evals.datasets import Message, Sample
from changeover.evals.scorers.base import Case, Score
from changeover.evals.scorers.tool_calls import SCORER, ToolCallsOptions, score_tool_calls


def tool(name: str, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """A tool as the OpenAI API describes it."""
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TEXT, WHOLE, FRACTION, YES_NO = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))
TOOLS = (
    tool(
        "shop.order",
        ("item",),
        item=TEXT,
        amount=WHOLE,
        price=FRACTION,
        gift=YES_NO,
        sizes={"type": "array", "items": FRACTION},
        ship={"type": "object"},
        lines={"type": "array", "items": {"type": "object"}},
        anything={},
    ),
    tool("weather", ("city",), city=TEXT),
    tool("ping"),
)


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=json.dumps(arguments))


def scored(answer: Answer, target: Any, *, tools: Any = TOOLS, **options: Any) -> Score:
    sample = Sample(id="s", input=(Message(role="user", content="Do it."),), target=target, tools=tools)
    declared = ToolCallsOptions(**options)
    read = SCORER.read_target(sample, declared)
    return score_tool_calls(Case(sample=sample, target=read, options=declared, answer=answer))


def order(**accepted: Any) -> dict[str, Any]:
    return {"calls": [{"name": "shop.order", "arguments": {"item": "tea", **accepted}}]}


def made(*calls: ToolCall) -> Answer:
    return Answer(text="", tool_calls=calls)


@pytest.mark.parametrize(
    ("accepted", "given", "right"),
    [
        ({}, {}, True),
        ({"amount": [2, 3]}, {"amount": 3}, True),
        ({"amount": [2, 3]}, {"amount": 4}, False),
        ({"amount": 2}, {"amount": 2}, True),
        ({"amount": [2]}, {"amount": "2"}, False),
        ({"amount": [2]}, {"amount": 2.0}, False),
        ({"price": [2.0]}, {"price": 2}, True),
        ({"price": [2.5]}, {"price": 2.4}, False),
        ({"amount": [1]}, {"amount": True}, False),
        ({"gift": [True]}, {"gift": True}, True),
        ({"gift": [True]}, {"gift": 1}, False),
        ({"amount": ["", 1]}, {}, True),
        ({"amount": [1]}, {}, False),
        ({"amount": [1]}, {"amount": 1, "price": 2.0}, False),
        ({"nosuch": ["", 1]}, {"nosuch": 1}, False),
        ({"item": ["Green Tea, 100-g"]}, {"item": "green tea 100g"}, True),
        ({"item": ["tea"]}, {"item": "teas"}, False),
        ({"sizes": [[1.0, 2.5]]}, {"sizes": [1, 2.5]}, True),
        ({"sizes": [[1.0, 2.5]]}, {"sizes": [2.5, 1]}, False),
        ({"sizes": [[1.0, 2.5]]}, {"sizes": [1]}, False),
        ({"sizes": [[1.0], [2.0]]}, {"sizes": [2.0]}, True),
        ({"sizes": [["x"]]}, {"sizes": ["X"]}, True),
        ({"sizes": ["sizes_of_tea"]}, {"sizes": "sizes_of_tea"}, True),
        ({"sizes": ["sizes_of_tea"]}, {"sizes": "Sizes of tea"}, False),
        ({"ship": [{"to": ["Kyoto", "京都"], "fast": ["", True]}]}, {"ship": {"to": "KYOTO"}}, True),
        ({"ship": [{"to": ["Kyoto"], "fast": ["", True]}]}, {"ship": {"to": "Kyoto", "fast": False}}, False),
        ({"ship": [{"to": ["Kyoto"]}]}, {"ship": {}}, False),
        ({"ship": [{"to": ["Kyoto"]}]}, {"ship": {"to": "Kyoto", "by": "boat"}}, False),
        ({"ship": {"to": {"city": "Kyoto"}}}, {"ship": {"to": {"city": "Kyoto"}}}, True),
        ({"lines": [[{"n": [1, 2]}, {"n": [3]}]]}, {"lines": [{"n": 2}, {"n": 3}]}, True),
        ({"lines": [[{"n": [1, 2]}, {"n": [3]}]]}, {"lines": [{"n": 3}, {"n": 2}]}, False),
        ({"anything": [None]}, {"anything": None}, True),
        ({"anything": [1]}, {"anything": False}, False),
    ],
)
def test_arguments_are_right_or_wrong(accepted: Any, given: Any, right: bool) -> None:
    result = scored(made(call("shop_order", **{"item": "tea", **given})), order(**accepted))
    assert (result.value, result.error) == (float(right), None)
    assert ("reason" in result.detail) is not right


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (made(), "`shop.order` is not called"),
        (made(call("weather", city="Bonn")), "`weather` is called instead of `shop.order`"),
        (made(call("shop_order")), "`shop.order.item` is required and missing"),
        (made(call("shop_order", item="tea", amount="1")), "`shop.order.amount` is '1', not of the type integer"),
        (made(call("shop_order", item="tea", amount=2)), "`shop.order.amount` is 2, expected 1"),
        (made(call("shop_order", item="tea")), "`shop.order.amount` is missing"),
        (made(call("shop_order", item="tea", amount=1, colour="red")), "`shop.order.colour` is not expected"),
        (made(ToolCall(name="shop_order", arguments="{")), "the arguments of `shop_order` are no JSON object"),
        (made(ToolCall(name="shop_order", arguments="[1]")), "the arguments of `shop_order` are no JSON object"),
        (made(call("shop_order", item="tea", amount=1), call("ping")), "`ping` is called, which is not expected"),
    ],
)
def test_the_first_reason_is_said(answer: Answer, reason: str) -> None:
    result = scored(answer, order(amount=[1]))
    assert (result.value, result.detail["reason"]) == (0.0, reason)


BONN, KYOTO = call("weather", city="Bonn"), call("weather", city="Kyoto")
BOTH = [{"name": "weather", "arguments": {"city": [city]}} for city in ("Bonn", "Kyoto")]


@pytest.mark.parametrize(
    ("calls", "order", "all_or_nothing", "partial"),
    [
        ((BONN, KYOTO), "any", 1, 1),
        ((KYOTO, BONN), "any", 1, 1),
        ((BONN, KYOTO), "given", 1, 1),
        ((KYOTO, BONN), "given", 0, 1 / 2),
        ((BONN,), "any", 0, 2 / 3),
        ((BONN, BONN), "any", 0, 1 / 2),
        ((BONN, KYOTO, KYOTO), "any", 0, 4 / 5),
        ((), "any", 0, 0),
    ],
)
def test_several_calls(calls: Any, order: str, all_or_nothing: float, partial: float) -> None:
    target = {"calls": BOTH, "order": order}
    assert scored(made(*calls), target).value == all_or_nothing
    assert scored(made(*calls), target, partial=True).value == pytest.approx(partial)


def test_a_call_that_fits_two_expected_ones_is_left_to_the_one_that_needs_it() -> None:
    either = {"name": "weather", "arguments": {"city": ["Bonn", "Kyoto"]}}
    assert scored(made(BONN, KYOTO), {"calls": [either, BOTH[0]]}).value == 1


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (Answer(text="No tool of mine can do that."), 1),
        (made(call("ping")), 0),
        (made(call("made_up")), 0),
        (Answer(text='{"name": "weather", "arguments": {"city": "Bonn"}}'), 0),
        (Answer(text="Use `sorted(x)` and print(3)."), 1),
        (Answer(text='The file holds {"name": "Ann", "age": 3}.'), 1),
    ],
)
def test_where_no_tool_fits_none_may_be_called(answer: Answer, value: float) -> None:
    assert scored(answer, {"calls": []}).value == value
    assert scored(answer, {"calls": []}, partial=True).value == value


AS_TEXT = [
    '{"name": "weather", "arguments": {"city": "Bonn"}}',
    '{"name": "weather", "parameters": {"city": "Bonn"}}',
    '{"name": "weather", "arguments": "{\\"city\\": \\"Bonn\\"}"}',
    '{"type": "function", "function": {"name": "weather", "arguments": {"city": "Bonn"}}}',
    '{"tool_calls": [{"function": {"name": "weather", "arguments": "{\\"city\\": \\"Bonn\\"}"}}]}',
    '[{"weather": {"city": "Bonn"}}]',
    'Sure!\n<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>',
    '<tool_call>{"name": "weather", "arguments": {"city": "Bonn"}}',
    '<think>Or weather(city="Kyoto")?</think>\n{"name": "weather", "arguments": {"city": "Bonn"}}',
    '<function=weather>{"city": "Bonn"}</function>',
    '<|python_tag|>{"name": "weather", "parameters": {"city": "Bonn"}}<|eom_id|>',
    '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Bonn"}}]',
    'I call it:\n```json\n{"name": "weather", "arguments": {"city": "Bonn"}}\n```\nDone.',
    '```tool_code\nprint(weather(city="Bonn"))\n```',
    'The call is {"name": "weather", "arguments": {"city": "Bonn"}} as you asked.',
    "weather(city='Bonn')",
    "[weather(city='Bonn')]",
    "result = weather(city='Bonn')",
    "I shall look it up.\n`weather(city='Bonn')`",
]


@pytest.mark.parametrize("text", AS_TEXT)
def test_a_call_written_as_text_is_read(text: str) -> None:
    target = {"calls": [BOTH[0]]}
    result = scored(Answer(text=text), target)
    assert (result.value, result.detail.get("read_from")) == (1.0, "text"), result.detail
    assert scored(Answer(text=text), target, from_text=False).value == 0.0


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "weather", "arguments": {"city": "Bonn"}}\n{"name": "weather", "arguments": {"city": "Kyoto"}}',
        '<tool_call>{"name": "weather", "arguments": {"city": "Bonn"}}</tool_call>'
        '<tool_call>{"name": "weather", "arguments": {"city": "Kyoto"}}</tool_call>',
        "[weather(city='Bonn'), weather(city='Kyoto')]",
    ],
)
def test_several_calls_written_as_text_are_read_in_their_order(text: str) -> None:
    assert scored(Answer(text=text), {"calls": BOTH, "order": "given"}).value == 1.0


@pytest.mark.parametrize(
    ("text", "arguments", "value"),
    [
        ("shop.order(item='tea', sizes=(1, 2.5), ship={'to': 'Bonn'}, gift=True)", {}, 1.0),
        ("shop.order('tea', sizes=(1, 2.5), ship={'to': 'Bonn'}, gift=True)", {}, 0.0),
        ("shop.order(item='tea', sizes=my_sizes, ship={'to': 'Bonn'}, gift=True)", {"sizes": ["my_sizes"]}, 1.0),
    ],
)
def test_python_values_are_read(text: str, arguments: Any, value: float) -> None:
    target = order(**{"sizes": [[1, 2.5]], "ship": [{"to": ["Bonn"]}], "gift": [True], **arguments})
    assert scored(Answer(text=text), target).value == value


@pytest.mark.parametrize("text", ["[" * 5000, '{"a":' * 5000, "weather(" * 300, "weather(city='\\d", "\0(", "{}", ""])
def test_text_that_is_no_call_is_no_call(text: str) -> None:
    assert scored(Answer(text=text), {"calls": []}).value == 1.0


def test_a_call_of_the_api_goes_before_one_in_the_text() -> None:
    answer = Answer(text='{"name": "weather", "arguments": {"city": "Kyoto"}}', tool_calls=(BONN,))
    assert scored(answer, {"calls": [BOTH[0]]}).detail == {"calls": 1, "read_from": "api"}


def test_without_schemas_the_target_alone_decides() -> None:
    assert scored(made(BONN), {"calls": [BOTH[0]]}, tools=()).value == 1.0
    assert scored(made(call("weather", city="Bonn", when="now")), {"calls": [BOTH[0]]}, tools=()).value == 0.0


def test_a_target_that_calls_no_tool_of_the_sample_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`wether` is none of the sample.s tools\. Did you mean `weather`\?"):
        scored(made(), {"calls": [{"name": "wether"}]})
