"""Which of a card's artifacts an engine loads, and what is made where none is right."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.cards import card
from tests.support.checkpoints import checkpoint, pinned

from changeover.core.errors import EngineError
from changeover.core.settings import EngineSettings
from changeover.library.artifacts import Artifact
from changeover.serving.deployments import plan_for_card
from changeover.serving.options import BackendName
from changeover.serving.weights import pending, weights_for

CACHE = Path("/cache")
SAFETENSORS = pinned(checkpoint())


def gguf(quantisation: str) -> Artifact:
    return Artifact(format="gguf", quantisation=quantisation, size_bytes=100, sha256="ab" * 32)


@pytest.mark.parametrize(
    ("backend", "artifact", "loads"),
    [
        ("local", gguf("Q4_K_M"), "models/abababababababab/model.gguf Q4_K_M"),
        ("llama-server", gguf("Q4_K_M"), "models/abababababababab/model.gguf Q4_K_M"),
        ("openvino", gguf("Q4_1"), "models/abababababababab/model.gguf Q4_1"),
        ("openvino", gguf("Q4_K_M"), "converted/abababababababab-gguf-q8_0/model.gguf Q8_0 from Q4_K_M"),
        ("vllm", gguf("Q4_1"), "converted/abababababababab-safetensors-bf16/files BF16 from Q4_1"),
        ("transformers", gguf("Q8_0"), "converted/abababababababab-safetensors-bf16/files BF16 from Q8_0"),
        ("vllm", SAFETENSORS, f"models/{SAFETENSORS.sha256[:16]}/files F32"),
    ],
)
def test_an_engine_loads_what_is_there_or_what_is_made_of_it(
    backend: BackendName, artifact: Artifact, loads: str
) -> None:
    plan = plan_for_card(card("m", artifacts=(artifact,)), CACHE, EngineSettings(), backend=backend)

    assert f"{plan.artifact} {plan.quantisation}" == f"{CACHE}/{loads}"
    assert plan.weights_digest == artifact.sha256
    assert (pending(plan) is not None) == ("converted" in loads)


def test_a_form_that_a_card_has_is_not_made_of_another() -> None:
    both = card("m", artifacts=(gguf("Q4_K_M"), SAFETENSORS, gguf("Q8_0")))

    chosen = {name: weights_for(both, name) for name in ("vllm", "openvino", "local")}

    assert {name: each and each.artifact.quantisation for name, each in chosen.items()} == {
        "vllm": "F32",
        "openvino": "Q8_0",
        "local": "Q4_K_M",
    }
    assert all(each is not None and each.conversion is None for each in chosen.values())


def test_replicas_under_ray_load_what_their_own_engine_does() -> None:
    mixed = card("m", artifacts=(gguf("Q4_K_M"),))

    plain = plan_for_card(mixed, CACHE, EngineSettings(), backend="ray")
    openvino = plan_for_card(mixed, CACHE, EngineSettings(), backend="ray", options={"engine": "openvino"})

    assert plain.making is None
    assert openvino.quantisation == "Q8_0 from Q4_K_M"


def test_nothing_leads_from_safetensors_to_an_engine_of_gguf() -> None:
    with pytest.raises(EngineError, match="no artifact for `llama-server`"):
        plan_for_card(card("m", artifacts=(SAFETENSORS,)), CACHE, EngineSettings(), backend="llama-server")
