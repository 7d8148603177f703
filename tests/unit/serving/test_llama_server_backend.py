from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.library.gguf_builder import build

from changeover.core.errors import EngineError
from changeover.core.settings import EngineHome
from changeover.serving.backends import LocalBackend
from changeover.serving.backends.llama_server import LlamaServerBackend
from changeover.serving.homes import Homes
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(build())
    return path


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "llama-server"
    path.write_text('#!/bin/sh\necho "ggml: looking for devices" >&2\necho "version: 5873 (f5e96b36)" >&2\n')
    path.chmod(0o755)
    return path


def backend(program: Path) -> LlamaServerBackend:
    return LlamaServerBackend(Homes(declared={"llama-server": EngineHome(command=str(program))}))


def plan(weights: Path, **options: Json) -> EnginePlan:
    return EnginePlan(
        deployment="d", backend="llama-server", model="card", artifact=weights, weights_digest="a" * 64, options=options
    )


def launched(program: Path, weights: Path, **options: Json) -> dict[str, Any]:
    return cast("dict[str, Any]", backend(program).launch(plan(weights, **options)).config)


def value(config: dict[str, Any], flag: str) -> str:
    argv: list[str] = config["argv"]
    return argv[argv.index(flag) + 1]


def test_it_is_the_server_that_is_embedded_too_and_does_what_that_does(program: Path) -> None:
    assert backend(program).capabilities == LocalBackend().capabilities


def test_its_context_is_that_of_all_slots_together(program: Path, weights: Path) -> None:
    config = launched(program, weights, context_tokens=512, slots=3)

    assert value(config, "--ctx-size") == "1536"
    assert value(config, "--parallel") == "3"
    assert value(launched(program, weights, context_tokens=100_000, slots=2), "--ctx-size") == str(2 * 2048)


def test_its_key_comes_by_the_environment_and_never_on_the_command_line(program: Path, weights: Path) -> None:
    config = launched(program, weights)

    assert config["environment"]["LLAMA_API_KEY"] == "{secret}"
    assert "{secret}" not in " ".join(config["argv"])
    assert value(config, "--host") == "127.0.0.1"


def test_a_text_to_embed_fits_into_one_batch(program: Path, weights: Path) -> None:
    config = launched(program, weights, embeddings=True, context_tokens=1024)

    assert value(config, "--ubatch-size") == value(config, "--batch-size") == "1024"
    assert value(config, "--pooling") == "mean"
    assert "--embeddings" in config["argv"]
    assert config["argv"].count("--batch-size") == 1


def test_what_an_operator_adds_stands_last_and_is_part_of_the_bundle(program: Path, weights: Path) -> None:
    config = launched(program, weights, flags=["--flash-attn", "off"], environment={"LLAMA_ARG_CACHE_RAM": "0"})
    part = backend(program).describe(plan(weights, flags=["--flash-attn", "off"]))

    assert config["argv"][-2:] == ["--flash-attn", "off"]
    assert config["environment"]["LLAMA_ARG_CACHE_RAM"] == "0"
    assert part != backend(program).describe(plan(weights))


def test_its_version_is_what_the_program_says_and_unknown_if_it_says_nothing(program: Path, weights: Path) -> None:
    assert backend(program).describe(plan(weights)).engine_version == "5873"

    program.write_text("#!/bin/sh\nexit 1\n")
    os.utime(program, ns=(1, 1))
    assert backend(program).describe(plan(weights)).engine_version is None


def test_a_program_that_is_nowhere_is_missing_with_a_remedy(tmp_path: Path, weights: Path) -> None:
    nowhere = backend(tmp_path / "nowhere")

    assert "engines.homes.llama-server" in nowhere.missing(None)[0].remedy
    with pytest.raises(EngineError, match="needs the program `llama-server`"):
        nowhere.launch(plan(weights))


def test_its_launch_is_json(program: Path, weights: Path) -> None:
    config = launched(program, weights)

    assert json.loads(json.dumps(config)) == config
