"""Accelerators as cards: memory, how many a node has, which engines know them, how they are found. `fit` reads them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from changeover.core.toml import Declared
from changeover.library.cards import CardId
from changeover.library.facts import Claim, Country, FactSource, Figure, Name
from changeover.library.running import EngineSupport, Recipe


class Detection(Declared):
    """How a machine that has it can be told. Nothing of this is run as root or changes anything."""

    devices: tuple[Name, ...] = ()
    """Patterns of device files."""
    command: Name | None = None
    """A vendor's tool that lists cards with their memory, with its arguments."""
    pci_vendors: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{4}$")], ...] = ()
    pci_devices: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{4}$")], ...] = ()
    """Device ids, of those vendors; empty: any."""
    names: tuple[Name, ...] = ()
    """Beginnings of the names that the vendor's tool prints."""


class Accelerator(Declared):
    """What is known of one accelerator. Absent is unknown; nothing is guessed."""

    id: CardId
    display_name: Name
    aliases: tuple[Name, ...] = ()
    vendor: Name
    country: Country | None = None
    kind: Literal["gpu", "npu", "xpu", "unified"]
    memory_gib: Annotated[float, Field(gt=0)] | None = None
    """Binary gibibytes that the driver reports, of one card."""
    per_node: Annotated[int, Field(gt=0)] | None = None
    """How many a usual node has."""
    bandwidth_gb_per_s: Annotated[float, Field(gt=0)] | None = None
    power_w: Annotated[float, Field(gt=0)] | None = None
    native_formats: tuple[Name, ...] = ()
    """Number formats that it computes with: `bf16`, `fp8`, `nvfp4`, `int8`."""
    engines: tuple[EngineSupport, ...] = ()
    recipes: tuple[Recipe, ...] = ()
    environment: tuple[Name, ...] = ()
    """Variables that its engines want."""
    detection: Detection = Detection()
    figures: tuple[Figure, ...] = ()
    claims: tuple[Claim, ...] = ()
    sources: Annotated[tuple[FactSource, ...], Field(min_length=1)]
    unverified: tuple[Name, ...] = ()
    note: str | None = None
