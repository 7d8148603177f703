from __future__ import annotations

import tomllib
from datetime import date

import pytest
from tests.support.checkpoints import pinned

from changeover.core.errors import ArtifactError
from changeover.library.artifacts import HubSource, PulledArtifact
from changeover.library.fetch.listing import Listed, listing_of
from changeover.library.first_pull import Choice, as_toml, choose

REVISION = "a" * 40


def chosen(*paths: str, quantisation: str | None = None) -> Choice:
    files = (Listed(path=path, size_bytes=1, sha256=None, git_blob=None) for path in paths)
    return choose(listing_of("huggingface", "maker/tiny", REVISION, files), quantisation)


def taken(*paths: str, quantisation: str | None = None) -> list[str]:
    return [file.path for file in chosen(*paths, quantisation=quantisation).taken]


def test_weights_come_with_what_belongs_to_them_and_nothing_else() -> None:
    choice = chosen(
        "model.safetensors", "config.json", "tokenizer.model", "merges.txt", "vocab.json", "chat_template.jinja", "LICENSE",
        "README.md", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "modeling_tiny.py", ".gitattributes", "x.png",
    )  # fmt: skip
    assert [file.path for file in choice.taken] == sorted(
        [
            "model.safetensors",
            "config.json",
            "tokenizer.model",
            "merges.txt",
            "vocab.json",
            "chat_template.jinja",
            "LICENSE",
            "README.md",
        ]
    )
    assert choice.pickles == ("pytorch_model.bin",)
    assert [file.path for file in choice.code] == ["modeling_tiny.py"]
    assert choice.left == (".gitattributes", "flax_model.msgpack", "tf_model.h5", "x.png")


def test_the_same_weights_in_another_form_are_left() -> None:
    assert taken(
        "consolidated.safetensors", "model-00001-of-00001.safetensors", "original/params.json", "config.json"
    ) == [
        "config.json",
        "model-00001-of-00001.safetensors",
    ]


def test_a_pipeline_is_taken_with_its_directories() -> None:
    files = ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/x.safetensors"]
    assert taken(*files) == sorted(files)


def test_an_index_without_its_shards_is_left() -> None:
    assert taken("model.safetensors", "consolidated.safetensors.index.json") == ["model.safetensors"]


def test_the_parts_of_one_build_come_together() -> None:
    parts = [f"q/tiny-Q8_0-0000{part}-of-00002.gguf" for part in (1, 2)]
    assert taken(*parts, "tiny-IQ4_XS.gguf", "mmproj-F16.gguf", "config.json", quantisation="q8_0") == parts


@pytest.mark.parametrize(
    ("paths", "quantisation", "says"),
    [
        (["a-Q8_0.gguf", "a-UD-Q4_K_XL.gguf"], None, "Name one: `--quantisation Q8_0 | UD-Q4_K_XL`"),
        (["a-Q8_0.gguf"], "Q2_K", "has no build `Q2_K`. Name one of these: Q8_0"),
        (["a.pt", "config.json"], None, "has only pickle (`a.pt`)"),
        (["README.md"], None, "has no weights. Only safetensors and GGUF"),
        ([], None, "has no weights"),
    ],
)
def test_what_cannot_be_chosen_is_said(paths: list[str], quantisation: str | None, says: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        chosen(*paths, quantisation=quantisation)
    assert says in caught.value.message


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "a\\b", "", "a/./b", "a//b", "a/", "a\0b", "a\nb", "a\x1b[2Jb"]
)
def test_a_path_out_of_the_directory_is_nonsense(path: str) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        chosen("model.safetensors", path)


def test_a_file_that_stands_twice_is_nonsense() -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        chosen("model.safetensors", "model.safetensors")


def test_what_is_written_reads_back_as_the_same_artifact() -> None:
    source = HubSource(repository="maker/tiny", revision=REVISION)
    artifact = pinned({"model.safetensors": b"x", 'a "quoted" näme \U0001f600.json': b"{}"}, source)
    [read] = tomllib.loads(as_toml("tiny", artifact, date(2026, 11, 30)))["artifacts"]
    pulled = PulledArtifact.model_validate(read)
    assert (pulled.card, pulled.first_pulled, pulled.artifact) == ("tiny", date(2026, 11, 30), artifact)
