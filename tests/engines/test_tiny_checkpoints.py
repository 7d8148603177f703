"""Tiny checkpoints of the real classes, loaded and asked in each engine. What is known to fail has to fail as it is known to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.engines.places import TINY, run
from tests.engines.tiny.recipes import RECIPES

TOKENS = 8
HANGS_S = 900
"""No load takes that long: twelve seconds on a quiet machine, and 300 and more on one that others use too."""
Rows = dict[tuple[str, str], dict[str, Any]]


class Known(NamedTuple):
    """A failure that is not ours."""

    says: str
    """Part of what the engine says."""
    reason: str
    """In words, for the table."""


_NO_TOKENIZER = Known("tokenizer.model", "the converter to GGUF wants a SentencePiece file, and this has a BPE")
_TURNED = "transformers 5.23 saves experts turned against what this engine reads; the released files were not at hand"
_NOT_MADE = "the converter to GGUF does not know it"
FAILS: dict[tuple[str, str], Known] = {
    ("vllm", "minimax-m2"): Known("AssertionError", "vLLM's router for processors knows softmax alone, not sigmoid"),
    ("vllm", "qwen3-vl-moe"): Known("must match the size", _TURNED),
    ("vllm", "qianfan-ocr"): Known("There is no module or parameter", "vLLM does not map the names transformers saves"),
    ("llama.cpp", "gemma4"): Known("global_head_dim", "the converter to GGUF reads a key that transformers drops"),
    ("llama.cpp", "hunyuan-moe"): Known("mergeable_ranks", "the converter to GGUF wants a tiktoken vocabulary"),
    ("llama.cpp", "ernie4_5"): _NO_TOKENIZER,
    ("llama.cpp", "ernie4_5-moe"): _NO_TOKENIZER,
    ("llama.cpp", "internvl"): Known("not supported", _NOT_MADE),
    ("llama.cpp", "qianfan-ocr"): Known("not supported", _NOT_MADE),
    ("llama.cpp", "qwen3-vl-moe"): Known("ailed", _TURNED),
}


@pytest.fixture(scope="session")
def in_transformers(built: dict[str, str | None], home: Callable[[str], Path]) -> dict[str, dict[str, Any]]:
    """All of them in one process: importing takes longer than loading."""
    names = [name for name, wrong in built.items() if wrong is None]
    said = run(home("transformers"), "load_transformers.py", str(TINY), *names, timeout_s=1200)
    return {each["name"]: each for each in said}


@pytest.mark.engine("transformers")
@pytest.mark.parametrize("name", RECIPES)
def test_transformers_loads_the_real_class(
    name: str, tiny: Callable[[str], Path], in_transformers: dict[str, dict[str, Any]], loads: Rows
) -> None:
    tiny(name)
    _judge("transformers", name, in_transformers[name], loads)


@pytest.mark.engine("vllm")
@pytest.mark.parametrize("name", RECIPES)
def test_vllm_loads_the_real_class(
    name: str, tiny: Callable[[str], Path], home: Callable[[str], Path], loads: Rows
) -> None:
    python = home("vllm")
    tiny(name)
    _judge("vllm", name, run(python, "load_vllm.py", str(TINY), name, timeout_s=HANGS_S)[-1], loads)


@pytest.mark.engine("local")
@pytest.mark.parametrize("name", RECIPES)
def test_the_embedded_engine_loads_what_is_made_of_the_real_class(
    name: str, ggufs: dict[str, str | None], loads: Rows
) -> None:
    said: dict[str, Any] = {"wrong": ggufs[name]}
    if ggufs[name] is None:
        [said] = run(Path(sys.executable), "load_llama.py", str(TINY / name / f"{name}.gguf"), timeout_s=HANGS_S)
    _judge("llama.cpp", name, said, loads)


def _judge(engine: str, name: str, said: dict[str, Any], loads: Rows) -> None:
    """Note a result, and compare it with what is known."""
    known, wrong, title = FAILS.get((engine, name)), said.get("wrong"), RECIPES[name].title
    loaded = wrong is None and said["tokens"] == TOKENS
    reason = None if loaded else known.reason if known else str(wrong)[:200]
    loads[title, engine] = {"architecture": title, "engine": engine, "loads": loaded, "reason": reason}
    if known is None:
        assert loaded, wrong
        return
    assert not loaded, f"`{name}` loads in {engine} now: take it out of FAILS"
    assert known.says in str(wrong)
    pytest.xfail(known.reason)
