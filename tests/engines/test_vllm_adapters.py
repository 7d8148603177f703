"""LoRA adapters on vLLM itself: models of their own beside one copy of the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engines.places import SMALL
from tests.support.asking import ask
from tests.support.loras import peft_lora

from changeover.core.clock import SystemClock
from changeover.library import safetensors
from changeover.serving.backends import backends_in
from changeover.serving.homes import Homes
from changeover.serving.plan import EnginePlan
from changeover.serving.supervisor import Supervisor

CHANGED = ("q_proj", "v_proj", "o_proj")
PROMPT = "Write one sentence about the city of Paris and its river."
START_S = 400

pytestmark = pytest.mark.engine("vllm")


def adapter_for(weights: Path, directory: Path) -> Path:
    tensors = [each for file in weights.glob("*.safetensors") for each in safetensors.read_header(file).tensors]
    names = {each.name.removesuffix(".weight"): each.shape for each in tensors}
    pairs = {name: (shape[1], 8, shape[0]) for name, shape in names.items() if name.endswith(CHANGED)}
    return peft_lora(
        directory, pairs, strength=0.05, lora_alpha=16, target_modules=list(CHANGED), task_type="CAUSAL_LM"
    )


async def test_an_adapter_answers_beside_its_base_and_neither_is_mixed_with_the_other(
    home: Callable[[str], Path], homes: Homes, safetensors: Callable[[str], Path], tmp_path: Path
) -> None:
    home("vllm")
    weights = safetensors(SMALL)
    for each in (tmp_path, *list(tmp_path.parents)[:3]):
        each.chmod(0o755)  # the engine gives up its rights before it reads
    supervisor = Supervisor(SystemClock(), tmp_path / "logs", backends=backends_in(homes))
    options = {"context_tokens": 512, "slots": 4}
    tuned = EnginePlan(
        deployment="tuned",
        backend="adapter",
        model="tune",
        artifact=adapter_for(weights, tmp_path / "tune"),
        options={"base": "base"},
    )
    try:
        await supervisor.ensure(tuned)
        await supervisor.ensure(
            EnginePlan(deployment="base", backend="vllm", model="smollm2", artifact=weights, options=options)
        )
        await supervisor.wait_ready("tuned", START_S)
        asked = [supervisor.upstream(name) for name in ("base", "tuned")]
        said = [await ask(each, PROMPT, max_tokens=12, model=each.model) for each in asked if each is not None]
        assert len(set(said)) == 2
        # One after the other: side by side, the sums of a batch are rounded otherwise.
        for _ in range(2):
            again = [await ask(each, PROMPT, max_tokens=12, model=each.model) for each in asked if each is not None]
            assert again == said
    finally:
        await supervisor.close()
