from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.library.gguf_builder import build

from changeover.core.errors import ConfigError, EngineError
from changeover.core.settings import EngineHome
from changeover.serving.backends import Elsewhere, Launch
from changeover.serving.backends.ollama import OllamaBackend
from changeover.serving.homes import Homes
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(build())
    return path


@pytest.fixture
def backend(tmp_path: Path) -> OllamaBackend:
    program = tmp_path / "ollama"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    homes = Homes(declared={"ollama": EngineHome(command=str(program))}, managed=tmp_path / "cache" / "engines")
    return OllamaBackend(homes)


def plan(weights: Path | None, model: str = "card", **options: Json) -> EnginePlan:
    digest = "a" * 64 if weights is not None else None
    return EnginePlan(
        deployment="d", backend="ollama", model=model, artifact=weights, weights_digest=digest, options=options
    )


def launched(backend: OllamaBackend, of: EnginePlan) -> tuple[Launch, dict[str, Any]]:
    launch = backend.launch(of)
    assert isinstance(launch, Launch)
    return launch, cast("dict[str, Any]", launch.config)


def test_a_model_is_made_of_our_file_under_a_name_of_its_digest(backend: OllamaBackend, weights: Path) -> None:
    launch, config = launched(backend, plan(weights))

    blob, create = config["after"]
    assert blob["post"] == blob["unless"] == f"/api/blobs/sha256:{'a' * 64}"
    assert blob["file"] == str(weights)
    assert create["post"] == "/api/create"
    assert create["json"]["files"] == {"model.gguf": f"sha256:{'a' * 64}"}
    assert launch.model == create["json"]["model"] == f"changeover-{'a' * 16}"


def test_a_model_of_its_library_is_pulled_unless_it_is_there(backend: OllamaBackend) -> None:
    launch, config = launched(backend, plan(None, name="qwen3:0.6b"))

    assert config["after"] == [
        {
            "post": "/api/pull",
            "json": {"model": "qwen3:0.6b", "stream": False},
            "unless": "/api/show",
            "asked": {"model": "qwen3:0.6b"},
        }
    ]
    assert launch.model == "qwen3:0.6b"


def test_context_and_slots_are_told_by_its_environment(backend: OllamaBackend, weights: Path, tmp_path: Path) -> None:
    environment = launched(backend, plan(weights, context_tokens=100_000, slots=2))[1]["environment"]

    assert environment["OLLAMA_CONTEXT_LENGTH"] == "2048", "no more than the model was trained for"
    assert environment["OLLAMA_NUM_PARALLEL"] == "2"
    assert environment["OLLAMA_HOST"] == "127.0.0.1:{port}"
    assert environment["OLLAMA_MODELS"] == str(tmp_path / "cache" / "engine-data" / "ollama" / "models")


def test_it_knows_no_key_and_says_so(backend: OllamaBackend) -> None:
    assert not backend.capabilities.key
    assert not backend.capabilities.context_refused
    assert not backend.capabilities.tools_forced


def test_one_that_runs_already_is_asked_where_it_is(backend: OllamaBackend) -> None:
    there = plan(None, base_url="http://127.0.0.1:11434/v1", name="qwen3:0.6b")

    assert backend.launch(there) == Elsewhere(
        base_url="http://127.0.0.1:11434/v1", model="qwen3:0.6b", api_key_env=None
    )
    assert backend.describe(there).weights_digest is None
    assert OllamaBackend(Homes(declared={"ollama": EngineHome(command="/nowhere")})).missing(there) == ()


def test_an_address_with_a_password_is_refused() -> None:
    with pytest.raises(ConfigError, match="must not hold a user or password"):
        plan(None, base_url="http://me:secret@host/v1")


def test_thinking_is_switched_by_the_effort_whatever_the_familys_template_reads(
    backend: OllamaBackend, weights: Path
) -> None:
    assert "effort" not in backend.describe(plan(weights, "qwen3-8b")).profile, "`field` is plain"
    assert backend.describe(plan(weights, "qwen3-8b-instruct-2507")).profile["effort"] == "none"


def test_without_weights_or_a_name_there_is_nothing_to_run(backend: OllamaBackend) -> None:
    with pytest.raises(ConfigError, match="needs a file of weights, or `name`"):
        backend.launch(plan(None))


def test_a_program_that_is_nowhere_is_missing_with_a_remedy(weights: Path) -> None:
    nowhere = OllamaBackend(Homes(declared={"ollama": EngineHome(command="/nowhere/ollama")}))

    assert "base_url" in nowhere.missing(plan(weights))[0].remedy
    with pytest.raises(EngineError, match="needs the program `ollama`"):
        nowhere.launch(plan(weights))
