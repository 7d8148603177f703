"""Projectors: files beside a model's own that turn images into what it reads. llama.cpp calls them `mmproj`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from changeover.core.digest import sha256_file
from changeover.core.errors import ConfigError
from changeover.library.gguf import read_header
from changeover.serving.options import Json

ARCHITECTURE: Final = "clip"
"""What every projector says it is, whatever it projects."""


def checked(projector: str, deployment: str) -> Path:
    """Where a projector is, having made sure that it is one: a wrong file would abort the engine.

    Raises:
        ConfigError: It is not there, or is no projector.
        ArtifactError: It is no whole GGUF file.
    """
    path = Path(projector).expanduser()
    where = f"deployment `{deployment}`: `projector`"
    if not path.is_absolute():
        raise ConfigError(f"{where}: `{projector}` is not an absolute path.")
    if not path.is_file():
        raise ConfigError(f"{where}: there is no file `{projector}`.")
    found = read_header(path).architecture
    if found != ARCHITECTURE:
        raise ConfigError(
            f"{where}: `{path.name}` holds a model ({found}) and no projector ({ARCHITECTURE}). Converters write that "
            "into a file of its own, with `--mmproj`."
        )
    return path


def flags_of(projector: str | None, deployment: str) -> Mapping[str, Json]:
    """What a bundle says of it: its digest. Nothing where there is none, so that such bundles stay what they were."""
    return {} if projector is None else {"projector": sha256_file(checked(projector, deployment))}


def seeing(projector: str | None, profile: Mapping[str, Any]) -> Mapping[str, Any]:
    """The profile's overrides of a deployment that has eyes by its projector; an operator's own word stands."""
    if projector is None or "vision" in profile.get("lacks", ()):
        return profile
    return {**profile, "has": list(dict.fromkeys([*profile.get("has", ()), "vision"]))}
