"""A card: the facts about one model and where its weights are. People write them as TOML; every room above reads them."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from changeover.core.toml import Declared
from changeover.library.artifacts import Artifact, RepositoryId
from changeover.library.facts import Claim, Country, FactSource, Figure, Name
from changeover.library.running import Architecture, EngineSupport, Hosted, MemoryMinimum, Recipe

CardId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]

UNSOURCED: Final = frozenset(
    {"id", "family", "scenarios", "note", "sources", "claims", "figures", "memory", "released_to", "unverified"}
)
"""Keys that are names, our own words, or that bring their sources with them."""

Scenario = Literal[
    "dialogue",
    "reasoning",
    "agents",
    "code",
    "documents",
    "ocr",
    "vision",
    "video",
    "speech",
    "translation",
    "education",
    "image-generation",
    "video-generation",
    "3d",
    "embedding",
]


class FormerTerms(Declared):
    """A licence that a model was under."""

    id: Name
    until: date


class Terms(Declared):
    """The terms of the weights: which licence, and what was read of its text."""

    id: Name
    """SPDX identifier, or the id of a licence of `library/licences`."""
    also: tuple[Name, ...] = ()
    """Further terms that stand beside it, such as a usage policy; ids of licences."""
    url: str | None = None
    text_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")] | None = None
    """Of the licence's text at the source, hex; at least the first 16 digits."""
    since: date | None = None
    """When the model came under it, where that was not at its release."""
    former: tuple[FormerTerms, ...] = ()
    """Licences that it was under before, oldest first."""
    in_package: bool | None = None
    """Whether the archives that carry the weights also carry the licence's text."""
    note: str | None = None


class Lineage(Declared):
    """Where a model comes from and what follows it: ids of cards, or names of models without a card."""

    base: str | None = None
    """The pretrained model it was tuned from."""
    derived_from: str | None = None
    """The model it was distilled, merged or quantised from."""
    derivation: Literal["distilled", "merged", "quantised", "fine-tuned", "adapted"] | None = None
    successor: str | None = None
    note: str | None = None


class Card(Declared):
    """What is known of one model. Absent is unknown; nothing is guessed."""

    id: CardId
    display_name: Name
    family: Name
    vendor: Name
    country: Country | None = None
    """Of the vendor's seat."""
    released: date | None = None
    released_to: Literal["day", "month"] = "day"
    """How exactly that is known: with `month`, `released` is the first of it."""
    retired: date | None = None
    """When the vendor stopped to support it."""
    parameters_b: Annotated[float, Field(gt=0)] | None = None
    """Billions, as the vendor counts them."""
    active_parameters_b: Annotated[float, Field(gt=0)] | None = None
    """Billions that one token takes, of a mixture of experts."""
    context_tokens: Annotated[int, Field(gt=0)] | None = None
    max_output_tokens: Annotated[int, Field(gt=0)] | None = None
    modalities_in: tuple[Name, ...] = ()
    modalities_out: tuple[Name, ...] = ()
    languages: tuple[Name, ...] = ()
    """BCP 47, those that the vendor names."""
    scenarios: tuple[Scenario, ...] = ()
    """What it is for, in Changeover's words: by these it is found."""
    licence: Terms | None = None
    weights: Literal["open", "closed"] | None = None
    """Whether anybody can download them. Says nothing of what the licence allows."""
    free_to_modify: bool | None = None
    """Whether the licence lets anybody change the weights and use the result, without asking or paying."""
    gated: bool | None = None
    """Whether the hub gives the weights only to who has agreed to something there."""
    lineage: Lineage = Lineage()
    chat_format: Name | None = None
    """None: a base model, which has no chat template; or not known."""
    reasoning_format: Name | None = None
    reasoning_toggle: Name | None = None
    """How a request turns its reasoning on and off."""
    tool_call_format: Name | None = None
    structured_output: Name | None = None
    architecture: Architecture = Architecture()
    engines: tuple[EngineSupport, ...] = ()
    recipes: tuple[Recipe, ...] = ()
    memory: tuple[MemoryMinimum, ...] = ()
    minimum_hardware: Name | None = None
    disk_gb: Annotated[float, Field(gt=0)] | None = None
    """Decimal gigabytes of what is downloaded."""
    sampling: dict[str, int | float] = Field(default_factory=dict[str, int | float])
    """What the vendor recommends, by the names of the OpenAI API where it has one."""
    repositories: tuple[RepositoryId, ...] = ()
    """Of the weights on the Hugging Face Hub, the vendor's own first."""
    modelscope: tuple[RepositoryId, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    hosted: tuple[Hosted, ...] = ()
    figures: tuple[Figure, ...] = ()
    claims: tuple[Claim, ...] = ()
    sources: Annotated[tuple[FactSource, ...], Field(min_length=1)]
    unverified: tuple[Name, ...] = ()
    """Facts that were looked for and not found."""
    note: str | None = None

    @model_validator(mode="after")
    def _says_where_everything_was_read(self) -> Card:
        stated = {key for key in self.model_fields_set - UNSOURCED if getattr(self, key) not in (None, (), {})}
        unread = sorted(key for key in stated if not any(source.says(key) for source in self.sources))
        if unread:
            names = ", ".join(f"`{key}`" for key in unread)
            raise ValueError(f"no source is given for {names}. Name each under `sources`: facts, at, grade, checked")
        known = {*type(self).model_fields, "everything"}
        for fact in (fact for source in self.sources for fact in source.facts):
            if fact.split(".")[0] not in known:
                raise ValueError(f"a source is given for `{fact}`, which no card has")
        return self

    @property
    def licence_id(self) -> str | None:
        """The licence's id; None: unknown."""
        return None if self.licence is None else self.licence.id

    @property
    def checked(self) -> date:
        """When its sources were last read: the oldest reading."""
        return min(source.checked for source in self.sources)

    @property
    def released_on(self) -> str | None:
        """When it was released, as exactly as it is known: `2025-08-05` or `2025-06`."""
        if self.released is None:
            return None
        return self.released.isoformat() if self.released_to == "day" else f"{self.released:%Y-%m}"
