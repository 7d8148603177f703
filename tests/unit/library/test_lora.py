"""What an adapter's files say, and which weights it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.support.loras import METADATA, file_of, peft_lora
from tests.unit.library.gguf_builder import METADATA as MODEL
from tests.unit.library.gguf_builder import STRING, Typed, build
from tests.unit.library.safetensors_builder import build as tensors_file
from tests.unit.library.safetensors_builder import tensors

from changeover.core.errors import ArtifactError
from changeover.library.lora import Pair, check_fits, read

WEIGHT = "blk.0.attn_q.weight"
MODULE = "model.layers.0.self_attn.q_proj"


def adapter(tmp_path: Path, name: str = WEIGHT, *, sizes: tuple[int, int, int] = (64, 2, 32), **changes: Typed) -> Path:
    inputs, rank, outputs = sizes
    arrays = [(f"{name}.lora_a", np.zeros((rank, inputs))), (f"{name}.lora_b", np.zeros((outputs, rank)))]
    file = tmp_path / "adapter.gguf"
    file.write_bytes(file_of(arrays, {**METADATA, **{key.replace("_", "."): each for key, each in changes.items()}}))
    return file


def model(tmp_path: Path, architecture: str = "llama") -> Path:
    file = tmp_path / "model.gguf"
    metadata = {**MODEL, "general.architecture": (STRING, architecture)}
    file.write_bytes(build(metadata, [(WEIGHT, (64, 32), 0, 0)], weights=bytes(4 * 64 * 32)))
    return file


def refusal(path: Path, weights: Path | None = None) -> str:
    with pytest.raises(ArtifactError) as refused:
        check_fits(read(path), weights or path)
    return refused.value.message


def test_a_gguf_adapter_says_what_it_changes_and_fits_its_model(tmp_path: Path) -> None:
    lora = read(adapter(tmp_path))
    assert (lora.form, lora.architecture, lora.rank) == ("gguf", "llama", 2)
    assert lora.pairs == {WEIGHT: Pair(64, 2, 32)}
    check_fits(lora, model(tmp_path))


def test_a_table_of_words_has_its_pair_the_other_way_round(tmp_path: Path) -> None:
    arrays = [("token_embd.weight.lora_a", np.zeros((100, 2))), ("token_embd.weight.lora_b", np.zeros((64, 2)))]
    file = tmp_path / "adapter.gguf"
    file.write_bytes(file_of(arrays))
    assert read(file).pairs == {"token_embd.weight": Pair(64, 2, 100)}


def test_whole_weights_are_no_adapter(tmp_path: Path) -> None:
    assert refusal(model(tmp_path)) == (
        "`model.gguf` is not an adapter: its `general.type` is `model`. Whole weights are deployed without "
        "`--engine adapter`."
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"adapter_type": (STRING, "control_vector")}, "is an adapter of the type `control_vector`; only `lora`"),
        ({"general_architecture": (STRING, "qwen2")}, "for the architecture `qwen2`, and the base's is `llama`"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(tmp_path: Path, changes: Mapping[str, Typed], says: str) -> None:
    assert says in refusal(adapter(tmp_path, **changes), model(tmp_path))


@pytest.mark.parametrize(
    ("name", "sizes", "says"),
    [
        ("blk.9.attn_q.weight", (64, 2, 32), "it changes `blk.9.attn_q.weight`, which the base does not have"),
        (WEIGHT, (96, 2, 32), f"its `{WEIGHT}` is 96 × 32, and the base's is 64 × 32"),
        (WEIGHT, (64, 2, 96), f"its `{WEIGHT}` is 64 × 96, and the base's is 64 × 32"),
        (WEIGHT, (64, 5000, 32), f"the ranks of `{WEIGHT}` are 5000 and 5000"),
    ],
)
def test_an_adapter_for_another_size_is_refused_by_its_tensor(
    tmp_path: Path, name: str, sizes: tuple[int, int, int], says: str
) -> None:
    assert says in refusal(adapter(tmp_path, name, sizes=sizes), model(tmp_path))


def test_half_a_pair_and_none_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "adapter.gguf"
    file.write_bytes(file_of([(f"{WEIGHT}.lora_a", np.zeros((2, 64)))]))
    assert refusal(file) == f"`adapter.gguf` has half a pair for `{WEIGHT}`. Convert the adapter again."
    file.write_bytes(file_of([(f"{WEIGHT}.lora_b", np.zeros((2, 64)))]))
    assert "half a pair" in refusal(file), "an engine does not start with it"
    file.write_bytes(file_of([("other", np.zeros((2, 64)))]))
    assert "holds no LoRA matrices" in refusal(file)


def test_what_is_no_matrix_of_lora_is_refused_by_its_name_on_one_line(tmp_path: Path) -> None:
    file = tmp_path / "adapter.gguf"
    pair = [(f"{WEIGHT}.lora_a", np.zeros((2, 64))), (f"{WEIGHT}.lora_b", np.zeros((32, 2)))]
    file.write_bytes(file_of([*pair, ("blk.0.\x1b[31m\n.bias", np.zeros((2, 64)))]))
    said = refusal(file)
    assert "besides LoRA matrices" in said
    assert said.isprintable()


def test_experts_that_are_stacked_in_one_tensor_have_as_many_as_the_base(tmp_path: Path) -> None:
    file = tmp_path / "adapter.gguf"
    stacked = [(f"{WEIGHT}.lora_a", np.zeros((4, 2, 64))), (f"{WEIGHT}.lora_b", np.zeros((4, 32, 2)))]
    file.write_bytes(file_of(stacked))
    assert read(file).pairs == {WEIGHT: Pair(64, 2, 32, (4,))}
    assert "is 64 × 32 × 4, and the base's is 64 × 32" in refusal(file, model(tmp_path))
    file.write_bytes(file_of([stacked[0], (f"{WEIGHT}.lora_b", np.zeros((3, 32, 2)))]))
    assert "half a pair" in refusal(file)


def test_a_directory_of_pefts_says_the_same_and_fits_its_checkpoint(tmp_path: Path) -> None:
    lora = read(peft_lora(tmp_path / "tune", {MODULE: (64, 2, 32)}))
    assert (lora.form, lora.base, lora.rank) == ("safetensors", "somebody/model", 2)
    assert lora.pairs == {f"{MODULE}.weight": Pair(64, 2, 32)}
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(tensors_file(tensors((f"{MODULE}.weight", "F32", (32, 64)))))
    check_fits(lora, weights)
    other = read(peft_lora(tmp_path / "other", {MODULE: (32, 2, 32)}))
    with pytest.raises(ArtifactError, match="is 32 × 32, and the base's is 64 × 32"):
        check_fits(other, weights)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"peft_type": "IA3"}, "is an adapter of the type `IA3`; only `LORA`"),
        ({"use_dora": True}, "holds DoRA besides LoRA, which engines leave out silently"),
        ({"modules_to_save": ["lm_head"]}, "holds whole modules"),
    ],
)
def test_what_engines_would_leave_out_is_refused(tmp_path: Path, config: dict[str, object], says: str) -> None:
    assert says in refusal(peft_lora(tmp_path / "tune", {MODULE: (64, 2, 32)}, **config))


def test_a_directory_without_a_configuration_is_no_adapter(tmp_path: Path) -> None:
    assert "is not an adapter: its `adapter_config.json` cannot be read" in refusal(tmp_path)
    (tmp_path / "adapter_config.json").write_text("[1]")
    assert "is not a JSON object" in refusal(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{")
    assert "is not JSON" in refusal(tmp_path)
