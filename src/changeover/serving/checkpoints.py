"""A checkpoint in a directory, as hubs and converters write it: what it says of itself, read without loading it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from changeover.core.digest import sha256_file
from changeover.core.errors import ArtifactError

_TOKENIZER: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "openvino_tokenizer.bin",
    "openvino_tokenizer.xml",
)
_TEMPLATE: Final = ("chat_template.jinja", "chat_template.json")
"""Where a template stands in a file of its own; elsewhere it is in the tokenizer's configuration."""
_MOST_BYTES: Final = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a directory of weights says of itself."""

    context_length: int | None
    """Tokens that the model was trained for."""
    ends: tuple[int, ...]
    """Tokens that end an answer."""
    tokenizer_digest: str | None
    chat_template_digest: str | None


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read the small files beside the weights.

    Raises:
        ArtifactError: There is no `config.json`, or a file cannot be read.
    """
    if not (directory / "config.json").is_file():
        raise ArtifactError(f"`{directory}` is no checkpoint: it has no `config.json`.")
    config = _document(directory / "config.json")
    inner = config.get("text_config")
    text = cast("dict[str, Any]", inner) if isinstance(inner, dict) else config
    length = text.get("max_position_embeddings")
    said = _document(directory / "generation_config.json").get("eos_token_id", config.get("eos_token_id"))
    ends = cast("list[Any]", said) if isinstance(said, list) else [said]
    return Checkpoint(
        context_length=length if type(length) is int else None,
        ends=tuple(each for each in ends if type(each) is int),
        tokenizer_digest=_digest(directory / name for name in _TOKENIZER),
        chat_template_digest=_template_digest(directory),
    )


def directory_digest(directory: Path) -> str:
    """SHA-256 over the names and the content of all files. Reads all of them."""
    lines = [f"{sha256_file(each)}  {each.relative_to(directory).as_posix()}\n" for each in _files(directory)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _files(directory: Path) -> list[Path]:
    return sorted(each for each in directory.rglob("*") if each.is_file())


def _template_digest(directory: Path) -> str | None:
    own = _digest(directory / name for name in _TEMPLATE)
    if own is not None:
        return own
    template = _document(directory / "tokenizer_config.json").get("chat_template")
    return None if template is None else hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()


def _digest(paths: Iterable[Path]) -> str | None:
    lines = "".join(f"{sha256_file(path)}  {path.name}\n" for path in paths if path.is_file())
    return hashlib.sha256(lines.encode()).hexdigest() if lines else None


def _document(path: Path) -> Mapping[str, Any]:
    """A JSON object; empty if there is no such file."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ArtifactError(f"`{path}` is too large for what it is.")
        value: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as exc:
        raise ArtifactError(f"`{path}` cannot be read: {exc}.") from exc
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
