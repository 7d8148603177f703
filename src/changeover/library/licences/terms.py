"""What a licence asks, as data: one declaration for each licence, its clauses as conditions. `judge` evaluates them."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

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


class _Condition(Declared):
    clause: Name
    """Where it stands in the licence's text: `5(c)`, `Exhibit A, 14`. `not numbered` where the text has no numbers."""
    quote: Name
    """The clause's own words, shortened with `…`; where only a summary of it was read, the summary's."""
    source: Name
    """Where the words were read."""
    grade: Grade


class ExcludedTerritory(_Condition):
    """It grants nothing there."""

    kind: Literal["excluded-territory"]
    countries: Annotated[tuple[Country, ...], Field(min_length=1)]
    """Written out: the European Union is its 27 members."""
    outputs_too: bool
    """Whether answers may not be used there either."""


class ForbiddenUses(_Condition):
    """It may not be used for these."""

    kind: Literal["forbidden-uses"]
    uses: Annotated[tuple[Use, ...], Field(min_length=1)]


class Size(_Condition):
    """From a size of the licensee on, something else is needed."""

    kind: Literal["size"]
    measure: Literal["monthly-users", "monthly-revenue-usd", "yearly-revenue-usd"]
    over: Annotated[float, Field(ge=0)]
    """The condition holds where the organisation's figure is above this."""
    then: Literal["licence", "display-name", "authorisation"]
    display: Name | None = None
    """The name that must be displayed."""


class NonCommercial(_Condition):
    """Commercial use needs an authorisation."""

    kind: Literal["non-commercial"]


class OutputsTrainNothing(_Condition):
    """Outputs may not improve other models, or make what they train a derivative."""

    kind: Literal["outputs-train"]
    effect: Literal["forbidden", "derivative"]


class Duty(_Condition):
    """Something that must be done by whoever uses or passes it on."""

    kind: Literal["duty"]
    duty: Literal[
        "notice", "flow-down", "display-name", "label-outputs", "state-changes", "comply-with-law", "terms-copy"
    ]
    when: Literal["always", "distribution", "commercial", "public-outputs"]
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
    text_sha256: Annotated[tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")], ...], Field()] = ()
    """Digests of its text that were read and compared, at least the first 16 digits of each."""
    commercial_use: bool | None = None
    free_to_modify: bool | None = None
    conditions: tuple[Condition, ...] = ()
    source: Name
    grade: Grade
    checked: date
    note: str | None = None
