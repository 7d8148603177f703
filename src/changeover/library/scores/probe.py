"""Asks the engines that are installed here which models they know. Runs as a process of its own: `engines` starts it.

Importing an engine takes long, may print, and may crash; nothing of that reaches the command. Reads a question from
standard input as JSON, and writes one line of JSON for each engine that could be asked.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import struct
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Answer = Mapping[str, Any]
_STRING = 8
"""The number of a text among the types of GGUF values."""


def ask_vllm(question: Mapping[str, Sequence[str]]) -> Answer:
    """Classes that vLLM lists, and those that it did once, with the last version."""
    registry = importlib.import_module("vllm.model_executor.models.registry")
    current = set(registry.ModelRegistry.get_supported_archs())
    former: Mapping[str, str] = getattr(registry, "_PREVIOUSLY_SUPPORTED_MODELS", {})
    asked = question["classes"]
    return {
        "lists": {name: name in current for name in asked},
        "dropped": {name: str(former[name]) for name in asked if name in former},
    }


def ask_transformers(question: Mapping[str, Sequence[str]]) -> Answer:
    """Model types that come with transformers."""
    auto = importlib.import_module("transformers.models.auto.configuration_auto")
    current = set(auto.CONFIG_MAPPING_NAMES)
    return {"lists": {name: name in current for name in question["model_types"]}}


def ask_gguf(question: Mapping[str, Sequence[str]]) -> Answer:
    """Architectures that the library of the format names."""
    current = set(importlib.import_module("gguf.constants").MODEL_ARCH_NAMES.values())
    return {"lists": {name: name in current for name in question["architectures"]}}


def ask_llama_cpp(question: Mapping[str, Sequence[str]]) -> Answer:
    """Architectures that the embedded engine would load: it is given a header that says nothing but the name."""
    engine = importlib.import_module("xllamacpp")
    lists = {}
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "header.gguf"
        for name in question["architectures"]:
            file.write_bytes(_header(name))
            lists[name] = "unknown model architecture" not in _said(lambda: _load(engine, file))
    return {"lists": lists}


def _load(engine: Any, file: Path) -> None:
    parameters = engine.CommonParams()
    parameters.model.path = str(file)
    try:
        engine.Server(parameters)
    except RuntimeError:
        return  # it always fails: there are no weights. What it said before is the answer.


def _said(work: Callable[[], None]) -> str:
    """What a call of native code wrote to the error output."""
    with tempfile.TemporaryFile() as kept:
        before = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            work()
        finally:
            os.dup2(before, 2)
            os.close(before)
        kept.seek(0)
        return kept.read().decode(errors="replace")


def _header(architecture: str) -> bytes:
    """A GGUF file of version 3 with no tensor and one key."""
    texts = [struct.pack("<Q", len(text)) + text for text in (b"general.architecture", architecture.encode())]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + texts[0] + struct.pack("<I", _STRING) + texts[1]


ENGINES: Mapping[str, tuple[str, Callable[[Mapping[str, Sequence[str]]], Answer]]] = {
    "llama.cpp": ("xllamacpp", ask_llama_cpp),
    "gguf": ("gguf", ask_gguf),
    "transformers": ("transformers", ask_transformers),
    "vllm": ("vllm", ask_vllm),
}
"""Engine: the distribution that brings it, and how it is asked. The quickest first: the rest may run out of time."""


def main() -> None:
    """Answer for every engine that is installed and can be asked."""
    question = json.load(sys.stdin)
    for engine, (distribution, ask) in ENGINES.items():
        try:
            version = importlib.metadata.version(distribution)
            answer = {"engine": engine, "version": version, **ask(question)}
        except Exception as exc:  # whatever an engine does when it is imported: the others are still asked
            answer = {"engine": engine, "failed": f"{type(exc).__name__}: {exc}"}
        print(f"\n{json.dumps(answer)}", flush=True)  # an engine may have left a line of its own unfinished


if __name__ == "__main__":
    main()
