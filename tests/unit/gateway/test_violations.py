"""What is seen to be wrong in an answer alone."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from changeover.core.errors import ConfigError
from changeover.evals.answers import Answer, ToolCall
from changeover.evals.live import answer_of, asked_of, check_live
from changeover.evals.scorers import ScorerSpec
from changeover.gateway.violations import MOST_CHARACTERS, Checks, said
from changeover.tasks.declarations import ScorerDeclaration

JAPANESE = ScorerDeclaration(name="language", options={"language": "ja"})
ONLY_JSON = ScorerDeclaration(name="shape", options={"json_only": True})
MIXED_COST = {"scorer": "mix", "options": {"parts": [{"scorer": "cost", "options": {"worst_usd": 1}}]}}
OWN_CODE = {"scorer": "function", "options": {"path": __file__, "name": "violation"}}
MIXED_CODE = {"scorer": "mix", "options": {"parts": [OWN_CODE]}}
SORRY = "I'm sorry, but I can't help with that."


def request(*messages: Any, **fields: Any) -> bytes:
    said = messages or ({"role": "user", "content": "Please summarise this."},)
    return json.dumps({"model": "echo", "messages": said, **fields}).encode()


def violation(text: str, *declared: ScorerDeclaration, asked: bytes | None = None, **more: Any) -> str | None:
    return Checks(declared).violation("req_1", asked or request(), Answer(text=text, **more))


@pytest.mark.parametrize(
    ("text", "declared", "wrong"),
    [
        ("The ferry was cancelled.", (), None),
        ("", (), "empty"),
        (" \n", (), "empty"),
        (SORRY, (), "refusal"),
        ("フェリーは欠航になりました。", (JAPANESE,), None),
        ("The ferry was cancelled in the morning.", (JAPANESE,), "language"),
        ('{"ferry": "cancelled"}', (ONLY_JSON,), None),
        ("It was cancelled.", (ONLY_JSON,), "shape"),
        (SORRY, (ONLY_JSON,), "refusal"),
        ("x" * (MOST_CHARACTERS + 1), (ONLY_JSON,), None),
    ],
)
def test_an_answer_breaks_the_contract_by_the_first_thing_that_is_wrong(
    text: str, declared: tuple[ScorerDeclaration, ...], wrong: str | None
) -> None:
    assert violation(text, *declared) == wrong


def test_a_task_may_want_refusals() -> None:
    wanted = ScorerDeclaration(name="refusal", options={"refuse": True})
    assert violation(SORRY, wanted) is None
    assert violation("Here it is.", wanted) == "refusal"


def test_a_tool_call_needs_no_text() -> None:
    assert violation("", JAPANESE, tool_calls=(ToolCall(name="look", arguments="{}"),)) is None


def test_what_a_content_filter_ended_is_a_refusal() -> None:
    assert violation("The ferry", finish_reason="content_filter") == "refusal"


def test_the_language_of_the_caller_may_be_asked_for() -> None:
    same = ScorerDeclaration(name="language", options={"same_as_input": True})
    asked = request({"role": "user", "content": [{"type": "text", "text": "Bitte fassen Sie diesen Brief zusammen."}]})
    assert violation("Die Fähre wurde heute Morgen abgesagt.", same, asked=asked) is None
    assert violation("The ferry was cancelled this morning.", same, asked=asked) == "language"


def test_what_cannot_be_scored_says_nothing_against_an_answer() -> None:
    same = ScorerDeclaration(name="language", options={"same_as_input": True})
    assert violation("42", same, asked=request({"role": "user", "content": "17 + 25"})) is None


def test_a_check_that_another_version_applied_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    assert violation("", ScorerDeclaration(name="of-tomorrow")) == "empty"
    assert violation(SORRY, ScorerDeclaration(name="of-tomorrow")) == "refusal"
    assert "of-tomorrow" in caplog.text


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def test_a_stream_and_a_whole_answer_are_read_alike() -> None:
    stream = chunk({"role": "assistant", "content": "The "}) + chunk({"content": "ferry"}, "length")
    stream += b"data: [DONE]\n\n"
    choice = {"message": {"role": "assistant", "content": "The ferry"}, "finish_reason": "length"}
    whole = json.dumps({"choices": [choice]}).encode()
    assert said(stream, stream=True) == said(whole, stream=False) == Answer(text="The ferry", finish_reason="length")


@pytest.mark.parametrize("raw", [b"{}", b"[]", b'{"choices": []}', b'{"choices": ["x"]}', b"\xff"])
def test_an_odd_answer_is_told_from_an_empty_one(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        said(raw, stream=False)


def test_what_was_asked_is_read_without_pictures_and_results_of_tools() -> None:
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "it?"},
    ]
    sample = asked_of(
        "req_1",
        request(
            {"role": "developer", "content": "Be short."},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "tool", "content": "a ferry"},
            tools=[{"type": "function"}],
        ),
    )
    assert [(message.role, message.content) for message in sample.input] == [
        ("system", "Be short."),
        ("user", "What is\nit?"),
    ]
    assert sample.tools == ({"type": "function"},)


def test_a_message_is_read_with_its_calls() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": {"at": 1}}}
    answer = answer_of(json.dumps({"role": "assistant", "content": None, "tool_calls": [call]}))
    assert answer == Answer(text="", tool_calls=(ToolCall(name="look", arguments='{"at":1}'),))


@pytest.mark.parametrize(
    ("name", "options", "judged", "why"),
    [
        ("exact", {}, True, "reads a target"),
        ("language", {}, False, "reads a target"),
        ("unit-tests", {}, True, "reads a target"),
        ("cost", {"worst_usd": 1}, True, "reads prices"),
        ("rubric", {}, False, "asks a judge"),
        ("pairwise", {}, False, "compares two answers"),
        ("mix", {"parts": [{"scorer": "rubric"}]}, False, "asks a judge"),
        ("mix", {"parts": [{"scorer": "contains", "key": "a"}]}, True, "reads a target"),
        ("mix", {"parts": [MIXED_COST]}, True, "reads prices"),
        ("mix", {"parts": [OWN_CODE]}, False, "runs code of the project's"),
        ("mix", {"parts": [MIXED_CODE]}, False, "runs code of the project's"),
    ],
)
def test_a_scorer_that_cannot_look_at_live_answers_is_refused(
    name: str, options: dict[str, Any], judged: bool, why: str
) -> None:
    with pytest.raises(ConfigError, match=f"`guard.checks`: `{name}` {why}"):
        check_live(ScorerSpec(name=name, options=options), "guard.checks", judged=judged)


@pytest.mark.parametrize(
    ("name", "options", "judged"),
    [
        ("language", {"language": "ja"}, False),
        ("refusal", {"refuse": False}, False),
        ("shape", {"max_words": 100}, False),
        ("mix", {"parts": [{"scorer": "shape", "options": {"max_words": 9}}]}, False),
        ("rubric", {}, True),
        ("pairwise", {}, True),
    ],
)
def test_a_scorer_that_needs_no_target_is_taken(name: str, options: dict[str, Any], judged: bool) -> None:
    check_live(ScorerSpec(name=name, options=options), "guard.checks", judged=judged)


def test_a_gateway_that_checks_nothing_loads_no_heavy_library() -> None:
    looked_for = ("py3langid", "numpy", "changeover.evals.scorers.refusal")
    program = f"import changeover.gateway.door, sys; print([name for name in {looked_for} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
