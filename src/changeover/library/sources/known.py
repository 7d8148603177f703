"""Which sources there are, and how each of them is read. An importer is loaded when its source is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

from changeover.core.errors import ConfigError, nearest
from changeover.core.settings import SourceSettings
from changeover.library.cards import Card
from changeover.library.sources.documents import read_file
from changeover.library.sources.reading import Reading

_HERE: Final = "changeover.library.sources"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One source."""

    name: str
    module: str
    kind: Literal["list", "package", "hub", "snapshot"]
    """A list is a file, here or at an address; a package is installed; a hub is asked; a snapshot is dated and a file."""
    about: str
    extra: str | None = None
    """The extra that it needs."""


SOURCES: Final = {
    source.name: source
    for source in (
        Source(name="snapshot", module="snapshot", kind="snapshot", about="signals that somebody read on a day"),
        Source(name="genai-prices", module="genai", kind="package", about="prices of hosts", extra="prices"),
        Source(name="models.dev", module="models_dev", kind="list", about="hosts, limits, modalities, prices"),
        Source(name="vllm-recipes", module="recipes", kind="list", about="versions, parsers, memory, hardware"),
        Source(name="xinference", module="xinference", kind="list", about="sizes, repositories, languages"),
        Source(name="litellm", module="litellm", kind="list", about="prices and limits by hosted id"),
        Source(name="hub", module="hub", kind="hub", about="downloads, derivatives, discussions, licence texts"),
        Source(name="modelscope", module="modelscope", kind="hub", about="downloads and likes", extra="modelscope"),
    )
}
"""By name, those first that need no network."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a source is to be read."""

    settings: SourceSettings
    today: date
    online: bool = False
    """Whether the network may be used this once, whatever the settings say."""
    file: str | None = None
    """A path or an address, in place of where the source usually is."""
    cards: Sequence[Card] = ()
    """Of which hubs are asked."""
    progress: Callable[[str], None] = field(default=lambda _: None)


def source_named(name: str) -> Source:
    """The source of that name.

    Raises:
        ConfigError: There is none; the nearest is named.
    """
    if name not in SOURCES:
        raise ConfigError(f"No source named `{name}`. {nearest(name, SOURCES)}")
    return SOURCES[name]


def readable(asked: Asked) -> list[Source]:
    """The sources that can be read with nothing further given."""
    online = asked.settings.online or asked.online
    return [
        source
        for source in SOURCES.values()
        if (online or source.kind in ("package", "snapshot")) and _installed(source)
    ]


def read(source: Source, asked: Asked) -> Reading:
    """Read a source. Nothing is written.

    Raises:
        ConfigError: A file is not what it should be, the network is not allowed, or an extra is missing.
        SourceError: A server gave nothing that can be used.
    """
    if asked.file is not None and source.kind in ("package", "hub"):
        raise ConfigError(f"`{source.name}` is no file. Leave `--file` out, or name another source.")
    module = _loaded(source)
    match source.kind:
        case "package":
            return module.read(asked.today)
        case "hub":
            network = _network()
            network.refuse_offline(f"`{source.name}`", asked.settings, online=asked.online)
            return module.read(asked.cards, asked.settings, asked.today, progress=asked.progress)
        case "snapshot" if asked.file is None:
            return module.read_shipped()
        case _:
            return _read_list(source, module, asked)


def _read_list(source: Source, module: Any, asked: Asked) -> Reading:
    place = asked.file
    if place is None or place.startswith(("http://", "https://")):
        address = place or module.ADDRESS
        network = _network()
        network.refuse_offline(f"`{source.name}`", asked.settings, online=asked.online)
        return module.read(network.download(address, source.name, asked.settings), address)
    path = Path(place).expanduser()
    if path.is_dir():
        if not hasattr(module, "read_directory"):
            raise ConfigError(f"`{path}` is a directory; `{source.name}` is one file. Name the file.")
        return module.read_directory(path)
    return module.read(read_file(path), path.name)


def _installed(source: Source) -> bool:
    try:
        _loaded(source)
    except ConfigError:
        return False
    return True


def _loaded(source: Source) -> Any:
    try:
        return importlib.import_module(f"{_HERE}.{source.module}")
    except ImportError as exc:
        if source.extra is None:
            raise
        raise ConfigError(
            f"`{source.name}` needs the extra `{source.extra}` ({exc}). "
            f'Install it: `pip install "changeover[{source.extra}]"`.'
        ) from exc


def _network() -> Any:
    # Its client takes a while to be imported, and files need none.
    return importlib.import_module(f"{_HERE}.network")
