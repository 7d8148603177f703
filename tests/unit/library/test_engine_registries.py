"""Engines asked what they run: the embedded one really, others as packages with the same registries, and as ones that break."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from changeover.library.cards import Card
from changeover.library.scores.engines import Registry, ask_engines

VLLM = """
class ModelRegistry:
    @staticmethod
    def get_supported_archs():
        return ["GptOssForCausalLM"]
_PREVIOUSLY_SUPPORTED_MODELS = {"MiniMaxM1ForCausalLM": "0.23.0"}
print("INFO: a line of the engine's own")
"""


def card(id: str, **architecture: Any) -> Card:
    source = {"facts": ["everything"], "at": "this test", "grade": "run", "checked": "2026-11-30"}
    return Card.model_validate(
        {
            "id": id,
            "display_name": id,
            "family": id,
            "vendor": "Somebody",
            "architecture": architecture,
            "sources": [source],
        }
    )


GPT_OSS = card("gpt-oss-20b", transformers_class="GptOssForCausalLM", model_type="gpt_oss", gguf="gpt-oss")
MINIMAX = card("minimax-m1", transformers_class="MiniMaxM1ForCausalLM", gguf="no-such-architecture")


def install(directory: Path, name: str, module: str, text: str) -> None:
    """Write a package that is found as an installed one."""
    file = directory.joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True)
    for parent in file.parents:
        if parent == directory:
            break
        (parent / "__init__.py").touch()
    file.write_text(text)
    about = directory / f"{name}-9.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")


def asked(engine: str, **more: Any) -> Registry | None:
    return next((each for each in ask_engines([GPT_OSS, MINIMAX], **more) if each.engine == engine), None)


def test_the_embedded_engine_says_itself_which_architectures_it_loads() -> None:
    found = asked("llama.cpp")
    assert found is not None
    assert found.knows(GPT_OSS) is True
    assert found.knows(MINIMAX) is False
    assert found.knows(card("unknown")) is None


def test_vllm_says_what_it_lists_and_what_it_has_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "vllm", "vllm.model_executor.models.registry", VLLM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = asked("vllm")
    assert found is not None
    assert found.version == "9.9"
    assert (found.knows(GPT_OSS), found.knows(MINIMAX)) == (True, False)
    assert (found.dropped_after(GPT_OSS), found.dropped_after(MINIMAX)) == (None, "0.23.0")


def test_transformers_and_gguf_are_asked_by_their_own_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    auto = "CONFIG_MAPPING_NAMES = {'gpt_oss': 'GptOssConfig'}\n"
    install(tmp_path / "a", "transformers", "transformers.models.auto.configuration_auto", auto)
    install(tmp_path / "b", "gguf", "gguf.constants", "MODEL_ARCH_NAMES = {1: 'gpt-oss'}\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    transformers, gguf = asked("transformers"), asked("gguf")
    assert transformers is not None
    assert gguf is not None
    assert transformers.knows(GPT_OSS) is gguf.knows(GPT_OSS) is True
    assert transformers.knows(MINIMAX) is None, "its card names no model type"


@pytest.mark.parametrize(
    "text", ["raise ImportError('no GPU')\n", "import os\nos._exit(1)\n", "import time\ntime.sleep(60)\n"]
)
def test_an_engine_that_fails_crashes_or_hangs_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    install(tmp_path, "vllm", "vllm.model_executor.models.registry", text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    began = time.monotonic()
    found = ask_engines([GPT_OSS], timeout_s=5)
    assert [each.engine for each in found] == ["llama.cpp"]
    assert time.monotonic() - began < 30
