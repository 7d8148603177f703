"""A directory of safetensors as engines get it: what a bundle says of it, read without loading anything."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from changeover.core.digest import sha256_file, sha256_text, sha256_value
from changeover.core.errors import ArtifactError
from changeover.library.artifacts import ArtifactFile, digest_of_files

MAX_TEXT_BYTES: Final = 64 << 20
"""Of a file that is read whole; tokenizers with large vocabularies have some twenty MiB."""
_TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "merges.txt", "tiktoken.model")
"""Files that make tokens of text, in any of the ways that models come with."""
_CHATS_OTHERWISE: Final = ("tekken.json", "openvino_tokenizer.xml")
"""Files of tokenizers that may know how a chat is written without a template beside them."""
_FOR_IMAGES: Final = re.compile(r"(?:^|_)(?:vision|visual|image|img|vq|mm|embd_layer)(?:_|$)")
"""In names of a configuration's fields."""
_PREPARES: Final = ("preprocessor_config.json", "processor_config.json")
_LENGTHS: Final = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")
"""Names under which configurations say how long a prompt may be; engines look for them in this order."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What the files beside the weights say. None: they do not."""

    architectures: tuple[str, ...]
    """Classes of `transformers`."""
    model_type: str | None
    context_length: int | None
    """Positions that it was trained for; None also where a scaling of them makes that uncertain."""
    sees: bool
    """It has eyes: a part of its own for images."""
    text_only: bool
    """Nothing in it is for images: no part of the network, under whatever name, and no file that prepares them."""
    tokenizer_digest: str | None
    chat_template_digest: str | None
    """Of the text or texts themselves, in whichever file they stand."""
    chats: bool
    """False: nothing in it says how a chat is written, as in a base model; it can only go on with a text."""


NOT_HERE: Final = Checkpoint(
    architectures=(),
    model_type=None,
    context_length=None,
    sees=False,
    text_only=False,
    tokenizer_digest=None,
    chat_template_digest=None,
    chats=True,
)
"""Nothing is known of weights that were not fetched yet."""


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read the configuration, the tokenizer and the template of a model; `NOT_HERE` where there is no such directory.

    Raises:
        ArtifactError: There is no configuration in it, or a file cannot be read.
    """
    if not directory.exists():
        return NOT_HERE
    config = _json(directory / "config.json")
    if config is None:
        raise ArtifactError(f"`{directory}` has no config.json, so it is no directory that engines load.")
    text = _object(config, "text_config") or config
    tokenizer = {name: sha256_file(directory / name) for name in _TOKENIZERS if (directory / name).is_file()}
    model_type = config.get("model_type")
    template = _template_digest(directory)
    return Checkpoint(
        architectures=tuple(str(each) for each in config.get("architectures") or ()),
        model_type=model_type if isinstance(model_type, str) else None,
        context_length=_context_length(text),
        sees="vision_config" in config,
        text_only=not any(map(_FOR_IMAGES.search, config))
        and not any((directory / each).exists() for each in _PREPARES),
        tokenizer_digest=sha256_value(tokenizer) if tokenizer else None,
        chat_template_digest=template,
        chats=template is not None or any((directory / name).exists() for name in _CHATS_OTHERWISE),
    )


def weights_digest(directory: Path) -> str:
    """The digest of all files of a directory, as an artifact's: a checkpoint that no card knows is read whole.

    Raises:
        ArtifactError: It is not there.
    """
    if not directory.is_dir():
        raise ArtifactError(f"`{directory}` is not there.")
    files = [path for path in sorted(directory.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return digest_of_files(
        ArtifactFile(path=str(path.relative_to(directory)), size_bytes=path.stat().st_size, sha256=sha256_file(path))
        for path in files
    )


def without_eyes(found: Checkpoint, profile: Mapping[str, Any]) -> Mapping[str, Any]:
    """The profile's overrides of a model that takes no images, on an engine that could; an operator's own word stands."""
    if not found.text_only or "vision" in profile.get("has", ()):
        return profile
    return {**profile, "lacks": list(dict.fromkeys([*profile.get("lacks", ()), "vision"]))}


def _context_length(config: Mapping[str, Any]) -> int | None:
    scaling = _object(config, "rope_scaling") or _object(config, "rope_parameters") or {}
    # What a linear or dynamic scaling makes of the length, the engine says; YaRN's and Llama 3's stand in it already.
    if (scaling.get("rope_type") or scaling.get("type") or "default") in ("linear", "dynamic"):
        return None
    lengths = [config.get(name) for name in _LENGTHS]
    return next((each for each in lengths if isinstance(each, int) and each > 0), None)


def _template_digest(directory: Path) -> str | None:
    own = directory / "chat_template.jinja"
    more = sorted((directory / "additional_chat_templates").glob("*.jinja"))
    if own.is_file() or more:
        texts = {path.stem: _text(path) for path in (own, *more) if path.is_file()}
        return sha256_text(texts["chat_template"]) if list(texts) == ["chat_template"] else sha256_value(texts)
    written: Any = (_json(directory / "tokenizer_config.json") or {}).get("chat_template")
    if written is None:
        return None
    return sha256_text(written) if isinstance(written, str) else sha256_value(cast("Sequence[Any]", written))


def _object(config: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    value = config.get(name)
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else None


def _json(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        value: Any = json.loads(_text(path))
    except (ValueError, RecursionError) as exc:
        raise ArtifactError(f"`{path}` is not JSON: {exc}") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"`{path}` holds no object.")
    return cast("Mapping[str, Any]", value)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise ArtifactError(f"`{path}` is larger than {MAX_TEXT_BYTES >> 20} MiB.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ArtifactError(f"`{path}` cannot be read: {exc}") from exc
