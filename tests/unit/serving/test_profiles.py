from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.library.gguf_builder import METADATA, STRING, build

from changeover.core.errors import ConfigError
from changeover.serving.backends import describe
from changeover.serving.bundles import Bundle, EnginePart
from changeover.serving.options import BackendName, Json
from changeover.serving.plan import EnginePlan
from changeover.serving.profiles import PLAIN, family_profile, family_profiles, profile_of, profile_of_bundle

MODELS = {
    "Qwen/Qwen3-8B": "qwen3",
    "Qwen3-Next-80B-A3B-Thinking-FP8": "qwen3-thinking",
    "Qwen/Qwen3-VL-235B-A22B-Thinking": "qwen3-thinking",
    "Qwen/Qwen3-235B-A22B-Thinking-2507": "qwen3-thinking",
    "Qwen/Qwen3-235B-A22B-Instruct-2507": "qwen3-instruct",
    "qwen3-vl-2b-instruct-q4_k_m.gguf": "qwen3-instruct",
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": "qwen3-coder",
    "qwen3-max-2025-09-23": "qwen3-max",
    "Qwen/QwQ-32B": "qwq",
    "qwen2.5-coder-0.5b-instruct": "qwen2.5-coder",
    "deepseek-ai/DeepSeek-R1-0528": "deepseek-r1",
    "DeepSeek-R1-Distill-Llama-70B": "deepseek-r1-distill",
    "deepseek-ai/DeepSeek-V3.1": "deepseek-v3.1",
    "DeepSeek-V3.2-Exp": "deepseek-v3.2",
    "deepseek-ai/DeepSeek-V3": "deepseek-v3",
    "moonshotai/Kimi-K2-Instruct-0905": "kimi-k2",
    "moonshotai/Kimi-K2-Thinking": "kimi-k2-thinking",
    "zai-org/GLM-4.6-FP8": "glm-4",
    "zai-org/GLM-4.5-Air": "glm-4",
    "MiniMaxAI/MiniMax-M2": "minimax-m2",
    "MiniMaxAI/MiniMax-M1-80k": "minimax-m1",
    "openai/gpt-oss-120b": "gpt-oss",
    "google/gemma-4-E2B-it": "gemma-4",
    "google/gemma-3-27b-it": "gemma-3",
    "baidu/Qianfan-VL-70B": "qianfan-vl",
    "Qwen/Qwen2.5-7B-Instruct": "qwen2.5",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3",
    "tencent/Hunyuan-A13B-Instruct": "hunyuan-a13b",
}


def test_every_family_of_the_table_is_found_by_a_name_that_is_in_use() -> None:
    assert set(MODELS.values()) == family_profiles().keys()


@pytest.mark.parametrize(("model", "family"), MODELS.items())
def test_a_models_name_finds_its_family(model: str, family: str) -> None:
    representative = next(name for name, id in MODELS.items() if id == family)

    assert family_profile(model) is not None
    assert family_profile(model) == family_profile(representative)


@pytest.mark.parametrize(
    "model", ["smollm2-135m-instruct", "gpt-5", "Qwen3.5-9B", "MiniMax-M2.5", "GLM-5", "llama", ""]
)
def test_a_family_that_nobody_read_about_is_plain(model: str) -> None:
    assert family_profile(model) is None
    for backend in PLAIN:
        assert profile_of(backend, model) == PLAIN[backend]
        assert profile_of(backend, model).document(backend) == {}


def test_the_network_of_a_file_helps_where_its_name_says_nothing() -> None:
    assert profile_of("openai", "ours", architecture="gpt-oss").reasoning == "harmony"
    assert profile_of("openai", "qwen3-8b", architecture="gpt-oss").reasoning == "think"


def test_what_an_engine_does_itself_stands_above_the_family() -> None:
    local, elsewhere = profile_of("local", "deepseek-r1"), profile_of("openai", "deepseek-r1")

    assert (local.reasoning, local.tool_calls) == ("field", "native_or_bare")
    assert (elsewhere.reasoning, elsewhere.tool_calls) == ("think_open", "deepseek")
    assert profile_of("local", "gemma-3-270m").reasoning == "none"
    assert profile_of("echo", "deepseek-r1") == PLAIN["echo"]


def test_an_operators_word_stands_above_all() -> None:
    profile = profile_of("local", "deepseek-r1", overrides={"reasoning": "think", "dropped": ["store"]})

    assert (profile.reasoning, profile.dropped) == ("think", ("store",))


@pytest.mark.parametrize("backend", list(PLAIN))
def test_a_profile_is_what_was_written_of_it(backend: BackendName) -> None:
    for model in MODELS:
        written = json.loads(json.dumps(profile_of(backend, model).document(backend)))
        part = EnginePart(backend=backend, engine=None, engine_version=None, model=model, profile=written)
        bundle = Bundle(engine=part, prompt_name="", prompt="", parameters={})

        assert profile_of_bundle(bundle) == profile_of(backend, model)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"reasonin": "think"}, "`reasonin`: unknown key. Did you mean `reasoning`?"),
        ({"reasoning": "thinking"}, "`reasoning`: invalid enum value 'thinking'"),
        ({"context_tokens": "many"}, "`context_tokens`: expected"),
        ({"dropped": "store"}, "`dropped`: expected"),
    ],
)
def test_a_wrong_override_is_refused_with_its_name(overrides: dict[str, Any], words: str) -> None:
    options = {"base_url": "http://h/v1", "profile": overrides}

    with pytest.raises(ConfigError) as caught:
        EnginePlan(deployment="d", backend="openai", model="m", options=options)

    assert caught.value.message.startswith("deployment `d`: profile: ")
    assert words in caught.value.message


def openai(plan_model: str, **options: Json) -> EnginePart:
    return describe(
        EnginePlan(deployment="d", backend="openai", model=plan_model, options={"base_url": "http://h/v1", **options})
    )


def test_a_plain_engine_is_described_as_before_there_were_profiles() -> None:
    part = openai("ours")

    assert part.profile == {}
    assert "profile" not in part.document()
    assert part.flags == {"base_url": "http://h/v1"}


def test_the_model_that_answers_decides_and_not_what_the_plan_calls_it() -> None:
    assert openai("ours", model="openai/gpt-oss-20b").profile["reasoning"] == "harmony"


def test_a_profile_is_part_of_what_a_bundle_is() -> None:
    one, two = openai("ours"), openai("ours", profile={"structured": "guided_json"})

    assert two.profile == {"structured": "guided_json"}
    assert one.document() != two.document()
    assert EnginePart.from_document(json.loads(json.dumps(two.document()))) == two


def test_an_echo_engines_profile_is_no_flag_of_its() -> None:
    part = describe(EnginePlan(deployment="d", backend="echo", model="m", options={"profile": {"reasoning": "think"}}))

    assert part.profile == {"reasoning": "think"}
    assert "profile" not in part.flags


def test_a_local_engine_is_known_by_its_files_network(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(build({**METADATA, "general.architecture": (STRING, "gemma3")}))
    options: dict[str, Json] = {}
    plan = EnginePlan(
        deployment="d", backend="local", model="ours", artifact=path, weights_digest="a" * 64, options=options
    )

    assert describe(plan).profile == {"effort": "none", "system_role": "no"}


def test_embeddings_are_said_only_where_they_are_served(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(build())

    def part(**options: Json) -> EnginePart:
        return describe(
            EnginePlan(
                deployment="d", backend="local", model="m", artifact=path, weights_digest="a" * 64, options=options
            )
        )

    assert part().profile == {}
    assert "embeddings" not in part().flags
    assert part(embeddings=True).flags["embeddings"] == "mean"
    assert part(embeddings=True).profile["endpoints"] == ["chat", "completions", "responses", "messages", "embeddings"]
