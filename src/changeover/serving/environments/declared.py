"""What is installed into the environment of each engine: pinned, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from changeover.core.errors import ConfigError, nearest
from changeover.core.toml import Declared, read_toml, validate

DATA: Final = Path(__file__).with_name("environments.toml")


class Environment(Declared):
    """An engine's own environment: what is put into it, and what that costs. The file says what each key means."""

    purpose: str
    package: str
    requirements: tuple[str, ...]
    unwanted: tuple[str, ...] = ()
    emptied: tuple[str, ...] = ()
    imports: tuple[str, ...]
    megabytes: int
    seconds: int
    needs: Literal["nvidia"] | None = None
    note: str | None = None


@cache
def environments(*, nvidia: bool) -> Mapping[str, Environment]:
    """Every environment, as it is on a machine with or without an NVIDIA card."""
    tables: Mapping[str, Mapping[str, Any]] = read_toml(DATA)
    return {name: _read(name, table, nvidia=nvidia) for name, table in tables.items()}


def environment(name: str, *, nvidia: bool) -> Environment:
    """One of them.

    Raises:
        ConfigError: There is none of that name.
    """
    known = environments(nvidia=nvidia)
    if name not in known:
        raise ConfigError(f"No engine named `{name}` has an environment of its own. {nearest(name, known)}")
    return known[name]


def has_nvidia(devices: Sequence[Path] = (Path("/dev/nvidia0"), Path("/dev/dxg"))) -> bool:
    """Whether there is an NVIDIA card, by its device (under WSL: the one that it has there). Starts nothing."""
    return any(device.exists() for device in devices)


def _read(name: str, table: Mapping[str, Any], *, nvidia: bool) -> Environment:
    plain = {key: value for key, value in table.items() if key != "nvidia"}
    return validate(Environment, {**plain, **(table.get("nvidia", {}) if nvidia else {})}, where=f"{DATA.name}: {name}")
