"""Where the lane's environments, weights and checkpoints are, and how its scripts are run."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SMALL, BETTER = "smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"
"""The models that the lane fetches."""
ENGINES = Path(os.environ.get("CHANGEOVER_ENGINES", ROOT / ".venv-engines"))
"""A folder with one environment for each engine."""
TINY = ENGINES / "tiny"
"""Tiny checkpoints, and the GGUF files that are made of them, each in a directory of its own."""
RECIPES = Path(__file__).with_name("tiny")
NEEDS: Mapping[str, tuple[str, ...]] = {
    "local": ("transformers", "convert"),
    "openvino": ("openvino",),
    "transformers": ("transformers",),
    "vllm": ("transformers", "vllm"),
    "ray": ("ray",),
    "llama-server": (),
    "ollama": (),
    "sglang": (),
    "kunlun": (),
}
"""The environments for the tests of each engine, its own and those that make its weights. The last four need what no
environment gives: a program, or an accelerator."""
ENVIRONMENT: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "TORCHDYNAMO_DISABLE": "1",
}


def python_of(engine: str) -> Path | None:
    """The interpreter of an engine's environment; None where it is not set up."""
    python = ENGINES / engine / "bin" / "python"
    return python if python.exists() and not (ENGINES / f"{engine}.unfinished").exists() else None


def run(python: Path, script: str, *arguments: str, timeout_s: float) -> list[dict[str, Any]]:
    """Run one of the scripts beside the recipes, and give what it prints, object by object.

    Where it ends without printing one, the object is `{"wrong": …}` with the last line that tells of an error.
    """
    command = (str(python), str(RECIPES / script), *arguments)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env={**os.environ, **ENVIRONMENT},
        )
    except subprocess.TimeoutExpired:
        return [{"wrong": f"it was not done after {timeout_s:.0f} s"}]
    objects = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return objects or [{"wrong": _reason(done.stderr) or f"it ended with {done.returncode}"}]


def _reason(said: str) -> str | None:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    wrong = [line for line in lines if "Error" in line or "failed" in line or "ASSERT" in line]
    return (wrong or lines or [None])[-1]
