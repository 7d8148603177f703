from __future__ import annotations

import json
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.unit.library.gguf_builder import METADATA, STRING, build

from changeover.core.errors import ArtifactError
from changeover.serving.backends import BACKENDS, Elsewhere, Launch, describe, usable_cores
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan


def local(path: Path, **options: Json) -> EnginePlan:
    return EnginePlan(
        deployment="d",
        backend="local",
        model="card",
        artifact=path,
        weights_digest="a" * 64,
        quantisation="Q8_0",
        options=options,
    )


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(build())
    return path


def test_a_local_engine_is_described_from_its_header_and_the_installed_package(weights: Path) -> None:
    part = describe(local(weights))

    assert part.engine_version == version("xllamacpp")
    assert part.weights_digest == "a" * 64
    assert part.chat_template_digest is not None
    assert part.tokenizer_digest is not None
    assert part.flags["slots"] == 4


def test_another_chat_template_makes_another_engine(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(build({**METADATA, "tokenizer.chat_template": (STRING, "{{ other }}")}))

    one, two = describe(local(weights)), describe(local(other))

    assert one.chat_template_digest != two.chat_template_digest
    assert one.tokenizer_digest == two.tokenizer_digest


def test_threads_make_an_engine_faster_and_not_another_one(weights: Path) -> None:
    assert describe(local(weights, threads=1)) == describe(local(weights, threads=2))
    assert describe(local(weights, slots=1)) != describe(local(weights, slots=2))


def test_an_engine_gets_no_more_context_than_its_model_was_trained_for(weights: Path) -> None:
    plan = local(weights, context_tokens=100_000)
    launch = BACKENDS["local"].launch(plan)

    assert isinstance(launch, Launch)
    assert launch.config["context_tokens"] == 2048
    assert describe(plan).flags["context_tokens"] == 2048


def test_weights_without_a_known_digest_are_digested(weights: Path) -> None:
    plan = EnginePlan(deployment="d", backend="local", model="own", artifact=weights)

    assert describe(plan).weights_digest == sha256(weights.read_bytes()).hexdigest()


def test_damaged_weights_are_refused_before_anything_is_started(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF and then nothing of the kind")

    with pytest.raises(ArtifactError):
        BACKENDS["local"].launch(local(path))


def test_threads_default_to_the_cores_this_process_may_use(weights: Path) -> None:
    launch = BACKENDS["local"].launch(local(weights))

    assert isinstance(launch, Launch)
    assert launch.config["threads"] == usable_cores() >= 1


def test_a_launch_is_json_and_shows_nothing_on_the_command_line_but_the_module(weights: Path) -> None:
    for plan in (local(weights), EnginePlan(deployment="d", backend="echo", model="m", options={"reply": "hello"})):
        launch = BACKENDS[plan.backend].launch(plan)

        assert isinstance(launch, Launch)
        assert json.loads(json.dumps(launch.config)) == launch.config
        assert launch.argv[1:3] == ("-P", "-m")
        assert len(launch.argv) == 4


def test_what_runs_behind_another_server_is_unknown_and_says_so() -> None:
    plan = EnginePlan(
        deployment="d",
        backend="openai",
        model="card",
        options={"base_url": "https://host/v1", "model": "upstream-name", "api_key_env": "SOME_KEY"},
    )

    part = describe(plan)

    assert (part.engine, part.engine_version, part.weights_digest) == (None, None, None)
    assert part.model == "upstream-name"
    assert "SOME_KEY" not in json.dumps(part.document())
    assert BACKENDS["openai"].launch(plan) == Elsewhere(
        base_url="https://host/v1", model="upstream-name", api_key_env="SOME_KEY"
    )


def test_an_echo_engine_that_answers_otherwise_is_another_engine() -> None:
    def echo(**options: Json) -> EnginePlan:
        return EnginePlan(deployment="d", backend="echo", model="m", options=options)

    assert describe(echo()) == describe(echo(reply="echo"))
    assert describe(echo()) != describe(echo(reply="hello"))


def test_an_echo_engine_has_the_profile_that_its_options_make() -> None:
    def profile(**options: Json) -> dict[str, Json]:
        return dict(describe(EnginePlan(deployment="d", backend="echo", model="m", options=options)).profile)

    assert profile() == profile(fault="hang", delay_s=1) == {}
    assert profile(reasoning="hm", reasoning_format="think") == {"reasoning": "think", "thinks": "unless_off"}
    assert profile(tool_format="kimi", context_tokens=9) == {"tool_calls": "kimi", "context_tokens": 9}
    assert profile(system_role=False, structured="ignored") == {"system_role": "no", "structured": "none"}
    assert "chat_template_kwargs" in str(profile(unknown_fields="refuse")["dropped"])
    assert profile(structured="broken") == {}, "it claims to obey"
