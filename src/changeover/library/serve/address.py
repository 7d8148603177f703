"""What a request asks for, read from its path alone. Nothing of a path ever names a file of this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

LONGEST = 4_000
"""Of a path, in bytes."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")

Kind = Literal["whoami", "models", "info", "refs", "tree", "file"]


@dataclass(frozen=True)
class Address:
    """One of the hub's routes."""

    kind: Kind
    repository: str = ""
    revision: str | None = None
    path: str = ""
    """Of a file, or of a directory of `tree`, inside the repository."""


def read_address(raw: bytes) -> Address | None:
    """The route of a path as it came, percent-encoded; None where there is none such.

    >>> read_address(b"/Qwen/Qwen3-8B/resolve/main/model-00001.safetensors")
    Address(kind='file', repository='Qwen/Qwen3-8B', revision='main', path='model-00001.safetensors')
    >>> read_address(b"/api/models/Qwen/Qwen3-8B/revision/refs%2Fpr%2F1").revision
    'refs/pr/1'
    """
    if len(raw) > LONGEST:
        return None
    try:
        # Decoded part by part: a branch may have `/` in its name, which comes encoded.
        parts = [unquote(part, errors="strict") for part in raw.decode("ascii").split("/")[1:]]
    except UnicodeDecodeError:
        return None
    match parts:
        case ["api", "whoami-v2"]:
            return Address("whoami")
        case ["api", "models"]:
            return Address("models")
        case ["api", "models", owner, name, *rest] if _are_names(owner, name):
            return _of_repository(f"{owner}/{name}", rest)
        case [owner, name, "resolve", revision, *path] if path and _are_names(owner, name):
            return Address("file", f"{owner}/{name}", revision, "/".join(path))
        case _:
            return None


def _of_repository(repository: str, rest: list[str]) -> Address | None:
    match rest:
        case []:
            return Address("info", repository)
        case ["revision", revision]:
            return Address("info", repository, revision)
        case ["refs"]:
            return Address("refs", repository)
        case ["tree", revision, *path]:
            return Address("tree", repository, revision, "/".join(path).strip("/"))
        case _:
            return None


def _are_names(*names: str) -> bool:
    return all(_NAME.fullmatch(name) for name in names)
