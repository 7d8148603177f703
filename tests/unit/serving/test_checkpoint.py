"""What is read beside the weights of a checkpoint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.engine_homes import CONFIG, model

from changeover.core.errors import ArtifactError
from changeover.serving.backends.checkpoint import NOT_HERE, read_checkpoint, weights_digest


def test_a_checkpoint_is_known_by_the_files_beside_its_weights(tmp_path: Path) -> None:
    found = read_checkpoint(model(tmp_path / "m"))
    assert (found.architectures, found.model_type, found.context_length) == (("Qwen2ForCausalLM",), "qwen2", 32768)
    assert found.chat_template_digest == hashlib.sha256(b"{{ messages }}").hexdigest()
    assert not found.sees


def test_a_template_is_the_same_one_in_whichever_file_it_stands(tmp_path: Path) -> None:
    beside, inside = model(tmp_path / "a"), model(tmp_path / "b", template=None)
    (inside / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    one, two = read_checkpoint(beside), read_checkpoint(inside)
    assert one.chat_template_digest == two.chat_template_digest
    assert read_checkpoint(model(tmp_path / "c", template=None)).chat_template_digest is None
    (beside / "additional_chat_templates").mkdir()
    (beside / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    assert read_checkpoint(beside).chat_template_digest != one.chat_template_digest


def test_a_checkpoint_in_which_nothing_says_how_a_chat_is_written_is_a_base_model(tmp_path: Path) -> None:
    assert read_checkpoint(model(tmp_path / "a")).chats
    base = model(tmp_path / "b", template=None)
    assert not read_checkpoint(base).chats
    (base / "tekken.json").write_text("{}")
    assert read_checkpoint(base).chats


def test_another_tokenizer_is_another_tokenizer(tmp_path: Path) -> None:
    one, two = model(tmp_path / "a"), model(tmp_path / "b")
    assert read_checkpoint(one).tokenizer_digest == read_checkpoint(two).tokenizer_digest
    (two / "tokenizer.json").write_text('{"version": "1.1"}')
    assert read_checkpoint(one).tokenizer_digest != read_checkpoint(two).tokenizer_digest


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 8192}, "vision_config": {}}, 8192),
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8}}, 131072),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4}}, None),
        ({"max_position_embeddings": "many"}, None),
        ({}, None),
    ],
)
def test_how_long_a_prompt_may_be_is_said_where_it_is_certain(
    tmp_path: Path, config: dict[str, Any], length: int | None
) -> None:
    assert read_checkpoint(model(tmp_path / "m", config=config)).context_length == length


def test_a_model_with_a_part_for_images_has_eyes(tmp_path: Path) -> None:
    assert read_checkpoint(model(tmp_path / "m", config={**CONFIG, "vision_config": {}})).sees


def test_only_where_nothing_is_for_images_a_model_surely_takes_none(tmp_path: Path) -> None:
    text = model(tmp_path / "text")
    assert read_checkpoint(text).text_only
    for name in ("vision_config", "mm_vision_tower", "img_processor", "visual", "image_size"):
        assert not read_checkpoint(model(tmp_path / name, config={**CONFIG, name: {}})).text_only
    (text / "preprocessor_config.json").write_text("{}")
    assert not read_checkpoint(text).text_only
    assert not NOT_HERE.text_only


def test_weights_that_are_not_fetched_yet_are_not_known_and_others_must_be_a_checkpoint(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path / "nowhere") == NOT_HERE
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="has no config"):
        read_checkpoint(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text("{")
    with pytest.raises(ArtifactError, match="is not JSON"):
        read_checkpoint(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text("[]")
    with pytest.raises(ArtifactError, match="holds no object"):
        read_checkpoint(tmp_path / "empty")


def test_the_digest_of_a_directory_is_that_of_the_lines_that_sha256sum_writes(tmp_path: Path) -> None:
    directory = model(tmp_path / "m")
    lines = [f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.name}\n" for each in sorted(directory.iterdir())]
    assert weights_digest(directory) == hashlib.sha256("".join(lines).encode()).hexdigest()
    with pytest.raises(ArtifactError, match="is not there"):
        weights_digest(tmp_path / "nowhere")
