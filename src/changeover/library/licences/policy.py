"""The organisation's own declaration, `policy.toml`: where it operates, how large it is, what it uses models for."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from changeover.core import toml
from changeover.core.toml import Declared
from changeover.library.facts import Country, Digest, Name
from changeover.library.licences.terms import LicenceId, Use


class TaskPolicy(Declared):
    """What is different for one task."""

    uses: tuple[Use, ...] = ()
    """Beside those of the whole organisation."""
    customer_facing: bool | None = None
    """Whether people outside the organisation see its answers; None: as the organisation says."""
    outputs_train_models: bool | None = None
    """Whether its answers train models; None: as the organisation says."""


class Granted(Declared):
    """A licence or an authorisation that the organisation obtained, or a judgement that a person made."""

    licence: LicenceId
    """By id or by another of its names."""
    clause: Name | None = None
    """The clause that it settles; None: all that needs a person under this licence."""
    by: Name
    """Who obtained or decided it."""
    on: date
    """The first day on which it holds."""
    until: date | None = None
    """The last one; None: no end."""
    reason: Name
    """Why, and where the paper is."""


class ApprovedCode(Declared):
    """Code of a repository that the organisation read and lets an engine run."""

    model: Name
    """Id of the card."""
    sha256: Digest
    """Of the list of its files of code, as `changeover pull` shows it."""
    by: Name
    """Who read it."""
    on: date
    """When it was read."""
    reason: Name
    """Why it may run."""


class ClosedModel(Declared):
    """A closed model that may answer a task, for a time."""

    model: Name
    """Id of the card."""
    tasks: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Those that it may answer."""
    by: Name
    """Who decided it."""
    reason: Name
    """Why, although it is closed."""
    until: date
    """The last day on which it may answer."""


class Policy(Declared):
    """What the organisation is and allows. Without the file nothing is known, and only what is certain is judged."""

    operates_in: tuple[Country, ...] = ()
    """Countries where it uses models or where their outputs go."""
    monthly_users: Annotated[int, Field(ge=0)] | None = None
    """Of all its products and services together; None: not said."""
    monthly_revenue_usd: Annotated[float, Field(ge=0)] | None = None
    """In US dollars; None: not said, and what a year's proves of it counts."""
    yearly_revenue_usd: Annotated[float, Field(ge=0)] | None = None
    """In US dollars; None: not said."""
    commercial: bool = True
    """Whether models are used commercially."""
    uses: tuple[Use, ...] = ()
    """What all tasks together are used for; `tasks.NAME.uses` adds to it for one."""
    customer_facing: bool = True
    """Whether people outside the organisation see answers."""
    outputs_train_models: bool = False
    """Whether answers train or improve models."""
    hosts_for_others: bool = False
    """Whether it offers models, or services that are little else, to others."""
    vendor_countries: tuple[Country, ...] = ()
    """Seats of vendors that are allowed; empty: all."""
    refused_vendors: tuple[Name, ...] = ()
    """As cards name them; `Tencent` is `Tencent (Hunyuan)` too."""
    refused_licences: tuple[LicenceId, ...] = ()
    """By id or by another of their names."""
    on_lineage: Literal["warn", "person"] = "warn"
    """What it means that a model has a freer licence than what it was made from."""
    on_unknown_licence: Literal["allow", "person", "deny"] = "person"
    """What it means that nothing is known of a licence."""
    tasks: dict[str, TaskPolicy] = Field(default_factory=dict[str, TaskPolicy])
    granted: tuple[Granted, ...] = ()
    approved_code: tuple[ApprovedCode, ...] = ()
    closed_models: tuple[ClosedModel, ...] = ()


def load_policy(file: Path) -> Policy | None:
    """The policy of a project; None where it has none.

    Raises:
        ConfigError: The file is not TOML, a key is unknown, a value is wrong.
    """
    return toml.load(Policy, file) if file.exists() else None
