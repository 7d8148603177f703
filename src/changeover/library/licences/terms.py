"""What a licence asks, as data: one declaration for each licence, its clauses as conditions. `judge` evaluates them."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from changeover.core.toml import Declared
from changeover.library.facts import Country, Grade, Name

LicenceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_-]*$")]

Use = Literal[
    "credit-decisions",
    "employment-decisions",
    "insurance-decisions",
    "education-decisions",
    "medical-decisions",
    "legal-decisions",
    "law-enforcement",
    "critical-infrastructure",
    "financial-advice",
    "medical-advice",
    "legal-advice",
    "military",
    "surveillance",
    "biometrics",
    "political-campaigns",
    "gambling",
    "adult-content",
    "impersonation",
]
"""What a task's answers are used for, where a licence or a law may care."""


NOT_NUMBERED: Final = "not numbered"


class _Condition(Declared):
    clause: Name
    """Where it stands in the licence's text: `5(c)`, `Exhibit A, 14`. `not numbered`: the text has no numbers, or the
    number was not read."""
    quote: Name
    """The clause's own words, shortened with `…`; where only a summary of it was read, the summary's."""
    about: Name | None = None
    """A few words for a table; None: what can be said of every condition of its kind."""
    source: Name | None = None
    """Where the words were read; None: where the rest of the licence was."""
    grade: Grade | None = None


class ExcludedTerritory(_Condition):
    """It grants nothing there."""

    kind: Literal["excluded-territory"]
    countries: Annotated[tuple[Country, ...], Field(min_length=1)]
    """Written out: the European Union is its 27 members."""
    called: Name | None = None
    """The countries as people say them."""
    outputs_too: bool
    """Whether answers may not be used there either."""


class ForbiddenUses(_Condition):
    """It may not be used for these."""

    kind: Literal["forbidden-uses"]
    uses: Annotated[tuple[Use, ...], Field(min_length=1)]
    unless: Name | None = None
    """What makes such a use right, as the middle of a sentence; somebody then has to say that it is so."""
    doubt: Name | None = None
    """Why it is not certain that the clause means such a use at all; then it is a warning."""


class Size(_Condition):
    """From a size of the licensee on, something else is needed."""

    kind: Literal["size"]
    measure: Literal["monthly-users", "monthly-revenue-usd", "yearly-revenue-usd"]
    over: Annotated[float, Field(ge=0)]
    """The condition holds where the organisation's figure is above this."""
    counted: Name | None = None
    """What the clause counts, if not what the whole organisation has now."""
    then: Literal["licence", "display-name", "authorisation"]
    display: Name | None = None
    """The name that must be displayed."""


class NonCommercial(_Condition):
    """Commercial use needs an authorisation."""

    kind: Literal["non-commercial"]


class OutputsTrainNothing(_Condition):
    """Outputs may not improve other models, or it has a consequence that they do."""

    kind: Literal["outputs-train"]
    effect: Literal["forbidden", "derivative", "display-name"]
    """`derivative`: what they train is under the same terms. `display-name`: it must be named after this model."""
    display: Name | None = None


class Duty(_Condition):
    """Something that must be done by whoever uses or passes it on."""

    kind: Literal["duty"]
    duty: Literal[
        "notice", "flow-down", "display-name", "label-outputs", "state-changes", "comply-with-law", "terms-copy"
    ]
    when: Literal["always", "distribution", "copies", "commercial", "public-outputs"]
    """`distribution`: passing it on in any way that the licence counts as that. `copies`: giving out its files."""
    display: Name | None = None


class HostingIsDistribution(_Condition):
    """Offering it to others as a service counts as passing it on."""

    kind: Literal["hosting-is-distribution"]


class Acceptance(_Condition):
    """Somebody of the organisation has to accept the terms before the weights are given out."""

    kind: Literal["acceptance"]


class Revocable(_Condition):
    """The licensor may end or restrict the use."""

    kind: Literal["revocable"]


_NOTICES: Final = ("notice", "terms-copy", "state-changes")

Condition = Annotated[
    ExcludedTerritory
    | ForbiddenUses
    | Size
    | NonCommercial
    | OutputsTrainNothing
    | Duty
    | HostingIsDistribution
    | Acceptance
    | Revocable,
    Field(discriminator="kind"),
]


class LicenceTerms(Declared):
    """One licence. Its conditions are those that decide something here; they are not its whole text."""

    id: LicenceId
    """SPDX identifier where there is one."""
    name: Name
    spdx: bool
    """Whether `id` is in the SPDX list of licences."""
    osi_approved: bool | None = None
    licensor: Name | None = None
    """Of a licence for one vendor's models."""
    governing_law: Name | None = None
    url: Name | None = None
    aliases: tuple[Name, ...] = ()
    """Other names of it on cards and hubs."""
    models: tuple[Name, ...] = ()
    """Beginnings of the names of models under it, for those that have no card and are what others were made from."""
    models_source: Name | None = None
    text_sha256: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")], ...] = ()
    """Digests of its text as it stands beside the weights, at least the first 16 digits of each."""
    commercial_use: bool | None = None
    free_to_modify: bool | None = None
    """Whether whoever it grants anything may change the weights. Whether anybody may, everywhere and for every purpose,
    is what a card's `free_to_modify` says: never more than its licences allow."""
    conditions: tuple[Condition, ...] = ()
    source: Name
    """Where its conditions were read."""
    grade: Grade
    checked: date
    note: str | None = None

    @model_validator(mode="after")
    def _says_where_models_were_read(self) -> LicenceTerms:
        if self.models and self.models_source is None:
            raise ValueError("`models` needs `models_source`: where it was read that they are under it")
        return self

    @property
    def restricts(self) -> bool:
        """Whether it asks more than to keep notices and to pass on its text."""
        return any(not isinstance(each, Duty) or each.duty not in _NOTICES for each in self.conditions)
