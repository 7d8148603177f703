"""What requests need, and what deployments surely lack."""

from __future__ import annotations

from typing import Any

import pytest

from changeover.core.errors import NoTemplateError
from changeover.gateway.needs import lacks_of, needs_of, unsupported
from changeover.serving.options import Json
from changeover.serving.parts import EnginePart
from changeover.serving.profiles import PLAIN, Profile

IMAGE = [{"role": "user", "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {}}]}]
TOOL = {"type": "function", "function": {"name": "look"}}


def lacks(backend: str, profile: Profile, **flags: Json) -> frozenset[str]:
    part = EnginePart(backend=backend, engine=None, engine_version=None, model="m", flags=flags)
    return lacks_of(part, profile)


@pytest.mark.parametrize(
    ("endpoint", "fields", "needs"),
    [
        ("chat", {"messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}, set()),
        ("chat", {"n": 1, "stop": None, "logprobs": False, "tools": []}, set()),
        ("chat", {"n": 2}, {"choices"}),
        ("chat", {"stop": ["."]}, {"stop_sequences"}),
        ("chat", {"logprobs": True}, {"logprobs"}),
        ("chat", {"logprobs": True, "top_logprobs": 0}, {"logprobs"}),
        ("chat", {"logprobs": True, "top_logprobs": 5}, {"logprobs", "top_logprobs"}),
        ("chat", {"prompt_logprobs": 0}, {"prompt_logprobs"}),
        ("completions", {"prompt": "a", "logprobs": 3, "echo": True}, {"logprobs", "top_logprobs", "prompt_logprobs"}),
        ("completions", {"prompt": "a", "logprobs": 0}, {"logprobs"}),
        ("completions", {"prompt": "a", "echo": True}, set()),
        ("chat", {"grammar": 'root ::= "a"'}, {"grammar"}),
        ("chat", {"guided_regex": "a+"}, {"grammar"}),
        ("chat", {"messages": IMAGE}, {"vision"}),
        ("responses", {"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, {"vision"}),
        ("chat", {"tools": [TOOL], "tool_choice": "required"}, {"tools_forced"}),
        ("chat", {"tools": [TOOL], "tool_choice": "auto"}, set()),
        ("chat", {"response_format": {"type": "json_schema"}}, set()),
        ("embeddings", {"input": ["a", "b"]}, set()),
        ("chat", {"messages": 3, "n": None}, set()),
    ],
)
def test_a_body_needs_its_endpoint_and_what_it_asks_for(endpoint: str, fields: dict[str, Any], needs: set[str]) -> None:
    assert needs_of(endpoint, fields) == {endpoint, *needs}


def test_a_plain_body_is_looked_at_for_two_fields_only() -> None:
    assert needs_of("chat", {"messages": []}, plain=True) == {"chat"}
    assert needs_of("chat", {"messages": [], "n": 3}, plain=True) == {"chat", "choices"}


def test_the_embedded_engine_lacks_what_it_does_not_declare_and_endpoints_that_it_was_not_started_for() -> None:
    missing = lacks("local", PLAIN["local"])

    assert {"prompt_logprobs", "vision", "embeddings"} <= missing
    assert missing.isdisjoint({"chat", "logprobs", "grammar", "tools_forced", "choices"})
    assert "embeddings" not in lacks("local", Profile(endpoints=("chat", "embeddings")))


def test_ray_passes_on_what_the_engine_of_its_replicas_can_do() -> None:
    assert "logprobs" not in lacks("ray", Profile(), engine="local")
    assert "logprobs" in lacks("ray", Profile(), engine="echo")


def test_nothing_is_held_against_a_server_of_which_nothing_is_known() -> None:
    assert lacks("openai", PLAIN["openai"]) == frozenset()
    assert lacks("a-kind-of-another-version", Profile()) == frozenset()
    assert lacks("openai", Profile(lacks=("logprobs", "seeds"))) == {"logprobs"}
    assert lacks("openai", Profile(endpoints=("chat",))) == {"completions", "embeddings", "responses", "messages"}


def test_calls_cannot_be_forced_where_neither_the_engine_nor_a_schema_does_it() -> None:
    without = Profile(structured="none", lacks=("tools_forced",))

    assert "tools_forced" in lacks("openai", without)
    assert "tools_forced" not in lacks("openai", Profile(lacks=("tools_forced",)))


def test_a_refusal_says_what_is_missing_and_which_engines_have_it() -> None:
    error = unsupported("code", "small", frozenset({"logprobs", "top_logprobs"}), None)

    assert (error.status, error.code) == (400, "unsupported")
    assert "`small`, which answers `code`, has no log-probabilities (`logprobs`)." in error.message
    assert "`local`" in error.message


def test_engines_that_a_schema_makes_call_are_named_as_such_and_a_task_only_where_one_was_asked() -> None:
    error = unsupported(None, "small", frozenset({"tools_forced"}), None)

    assert error.message.startswith("`small` has no calls that must be made (`tool_choice`).")
    assert {"`local`", "`openvino`", "`vllm`"} <= set(error.message.replace(",", " ").replace(".", " ").split())
    assert "`transformers`" not in error.message


def test_whoever_asks_a_base_model_for_a_chat_is_told_how_it_is_asked() -> None:
    lacking = frozenset({"chat", "logprobs"})
    error = unsupported("code", "base", lacking, ("completions",))

    assert isinstance(error, NoTemplateError)
    assert (error.status, error.code) == (400, "no_chat_template")
    assert error.message.startswith("`base`, which answers `code`, has no chat template")
    assert "`/v1/completions`" in error.message
    assert not isinstance(unsupported("code", "vectors", lacking, ("embeddings",)), NoTemplateError)
    assert not isinstance(unsupported("code", "it", frozenset({"responses"}), ("chat", "completions")), NoTemplateError)
