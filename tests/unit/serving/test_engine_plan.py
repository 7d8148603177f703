from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from changeover.core.errors import ConfigError
from changeover.serving.options import BackendName, EchoOptions, Json, LocalOptions
from changeover.serving.plan import EnginePlan

WEIGHTS = Path("model.gguf")


def plan(backend: BackendName = "echo", **options: Json) -> EnginePlan:
    return EnginePlan(deployment="d", backend=backend, model="m", artifact=WEIGHTS, options=options)


def refusal(backend: BackendName, options: Mapping[str, Json]) -> str:
    with pytest.raises(ConfigError) as caught:
        plan(backend, **options)
    return caught.value.message


def test_options_that_were_not_given_have_their_defaults() -> None:
    assert plan("local").options_as(LocalOptions) == LocalOptions(context_tokens=4096, slots=4, threads=None)
    assert plan("echo").options_as(EchoOptions).fault == "none"


@pytest.mark.parametrize(
    ("backend", "options", "says"),
    [
        ("local", {"slot": 2}, "`slot`: unknown key. Did you mean `slots`?"),
        ("local", {"slots": 0}, "`slots` = `0`"),
        ("local", {"context_tokens": "many"}, "`context_tokens` = `many`"),
        ("local", {"threads": 0}, "`threads` = `0`"),
        ("echo", {"fault": "explode"}, "`fault` = `explode`"),
        ("echo", {"fault_rate": 1.5}, "`fault_rate` = `1.5`"),
        ("echo", {"delay_s": float("inf")}, "`delay_s` = `inf`"),
        ("openai", {}, "`base_url`: missing"),
        ("openai", {"base_url": "vllm:8000/v1"}, "`base_url` must look like"),
        ("openai", {"base_url": "ftp://vllm/v1"}, "`base_url` must look like"),
        ("openai", {"base_url": "http://vllm:0/v1"}, "`base_url` must look like"),
        ("openai", {"base_url": "http://vllm:99999/v1"}, "`base_url` must look like"),
        ("openai", {"base_url": "http://vllm/v1?x=1"}, "no `?`"),
    ],
)
def test_a_wrong_option_is_refused_by_name(backend: BackendName, options: Mapping[str, Json], says: str) -> None:
    message = refusal(backend, options)

    assert message.startswith("deployment `d`: ")
    assert says in message


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "https://user:hunter2@host/v1"},
        {"base_url": "https://host/v1", "api_key_env": "sk-hunter2"},
        {"base_url": "https://host/v1", "api_key_env": "gsk_hunter2"},
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(options: Mapping[str, Json]) -> None:
    assert "hunter2" not in refusal("openai", options)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "ü", "x" * 120, "a\n"])
def test_a_deployment_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a deployment"):
        EnginePlan(deployment=name, backend="echo", model="m")


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"No backend named `lokal`\. Did you mean `local`\?"):
        plan("lokal")  # pyright: ignore[reportArgumentType] - what a file or a row may hold


def test_a_local_engine_needs_weights() -> None:
    with pytest.raises(ConfigError, match="needs weights"):
        EnginePlan(deployment="d", backend="local", model="m")


def test_plans_are_the_same_whether_or_not_a_default_is_spelt_out() -> None:
    assert plan("local").same_as(plan("local", slots=4))
    assert not plan("local").same_as(plan("local", slots=5))


def test_options_of_another_backend_are_not_to_be_had() -> None:
    with pytest.raises(ConfigError, match="backend is `echo`"):
        plan("echo").options_as(LocalOptions)
