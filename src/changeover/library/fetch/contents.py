"""Which files an artifact may have, and whether they are what their names say. Nothing is kept that fails here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from changeover.core.errors import ArtifactError
from changeover.library import gguf, safetensors
from changeover.library.artifacts import Artifact, ArtifactFile
from changeover.library.remote_code import is_code

WEIGHTS: Final = frozenset({".safetensors", ".gguf"})
BESIDE_WEIGHTS: Final = frozenset({".json", ".jinja", ".txt", ".model", ".tiktoken", ".md"})
"""Configuration, tokenizer, chat template, licence and description: data that is read and never run."""
PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz"})
"""Forms that can run code of their author's when they are read."""
_PAPERS: Final = ("LICENSE", "LICENCE", "NOTICE", "README", "USAGE_POLICY", "USE_POLICY")
INDEX: Final = ".safetensors.index.json"
_MAX_JSON_BYTES: Final = 256 << 20


def files_of(artifact: Artifact) -> tuple[ArtifactFile, ...]:
    """The files of an artifact; of one that lists none, the one that it is, under a name of ours."""
    single = ArtifactFile(path=f"model.{artifact.format}", size_bytes=artifact.size_bytes, sha256=artifact.sha256)
    return artifact.files or (single,)


def is_pickle(path: str) -> bool:
    """Whether a file of that name runs code when it is read."""
    return PurePosixPath(path).suffix.lower() in PICKLES


def is_taken(path: str) -> bool:
    """Whether files of that name are fetched: weights and the data that belongs to them."""
    name = PurePosixPath(path)
    return name.suffix.lower() in WEIGHTS | BESIDE_WEIGHTS or name.name.upper().startswith(_PAPERS)


def refuse_names(artifact: Artifact, *, code: bool) -> None:
    """Refuse an artifact with files that are neither weights in a form that is only data, nor data that belongs to them.

    Raises:
        ArtifactError: Names the first such file.
    """
    for file in artifact.files:
        if is_pickle(file.path):
            raise ArtifactError(
                f"`{file.path}` is pickle, which runs code when it is read. Only safetensors and GGUF are fetched: "
                "name another artifact, or convert it where that can do no harm."
            )
        if is_code(file.path):
            if not code:
                raise ArtifactError(
                    f"`{file.path}` is code that an engine would run, and nobody here has approved it. Nothing is fetched."
                )
        elif not is_taken(file.path):
            raise ArtifactError(
                f"`{file.path}` is neither weights nor data that belongs to them. Take it out of the card."
            )
    if artifact.files and not any(file.path.endswith(f".{artifact.format}") for file in artifact.files):
        raise ArtifactError(f"None of the artifact's files is a `.{artifact.format}` file, which the card calls it.")


def check_file(path: Path) -> None:
    """Look into one file by its name: the headers of weights, and whether JSON is JSON.

    Raises:
        ArtifactError: It is not what its name says.
    """
    match path.suffix.lower():
        case ".gguf":
            gguf.read_header(path)
        case ".safetensors":
            safetensors.read_header(path)
        case ".json":
            _check_json(path)
        case _:
            pass


def check_together(directory: Path, files: Iterable[ArtifactFile]) -> None:
    """Compare what files say of each other: an index with its shards.

    Raises:
        ArtifactError: They do not fit.
    """
    paths = [directory / file.path for file in files]
    for index in (path for path in paths if path.name.endswith(INDEX)):
        beside = [path for path in paths if path.parent == index.parent and path.suffix == ".safetensors"]
        stem = index.name.removesuffix(INDEX)
        safetensors.check_index(index, [path for path in beside if path.name.startswith(stem)])


def _check_json(path: Path) -> None:
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise ArtifactError(f"`{path.name}` is longer than {_MAX_JSON_BYTES >> 20} MiB. Use another artifact.")
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise ArtifactError(f"`{path.name}` is not JSON. Fetch it again or use another.") from exc
