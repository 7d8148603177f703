"""What a fact is worth: where it was read, when, and how near to its origin that was. Cards, claims and observations use it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from changeover.core.toml import Declared

Name = Annotated[str, Field(min_length=1)]


def _country(code: str) -> str:
    if len(code) != 2 or not (code.isascii() and code.isalpha() and code.isupper()):
        raise ValueError("a country is two capital letters, as in ISO 3166-1: `SG`")
    return code


Country = Annotated[str, AfterValidator(_country)]
"""ISO 3166-1 alpha-2."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256, hex."""

Grade = Literal["run", "package", "repository", "vendor", "registry", "secondary", "excerpt"]
"""How a fact was learnt. `run`: done and seen here. `package`: read in a published package or in the file itself.
`repository`: read in the project's own repository. `vendor`: on the vendor's page or its hub page. `registry`: in a
list that others keep. `secondary`: in what somebody wrote about it. `excerpt`: in a part of such a text."""

GRADES: Final[tuple[Grade, ...]] = ("run", "package", "repository", "vendor", "registry", "secondary", "excerpt")
"""Best first. Where sources disagree, the better grade wins; of one grade the later reading."""

EVERYTHING: Final = "everything"
"""In place of a list of facts: all that the card says."""


class FactSource(Declared):
    """Where facts of a card were read."""

    facts: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Keys of the card that were read there, or `everything`."""
    at: Name
    """A link, or a repository with its commit and the file, or a package with its version."""
    grade: Grade
    checked: date
    """When it was last read."""

    def says(self, fact: str) -> bool:
        """Whether it is given for a fact."""
        return fact in self.facts or EVERYTHING in self.facts


class Price(Declared):
    """What a host asked from a day on. A new price is a new entry; none is ever edited."""

    since: date | None = None
    """None: from when on is not known; it was so when it was read."""
    read: date
    input_usd_per_million_tokens: Annotated[float, Field(ge=0)]
    output_usd_per_million_tokens: Annotated[float, Field(ge=0)]
    region: Name | None = None
    source: Name


class Figure(Declared):
    """One result that somebody published. Figures of different versions of an index are never compared."""

    index: Name
    """What was measured, by the name of the index or benchmark without its version."""
    version: Name | None = None
    """None: the index has no versions, or which one it was is not known."""
    value: float
    as_of: date | None = None
    variant: Name | None = None
    """What exactly was measured, where it is not the card's model as it is."""
    source: Name


class Claim(Declared):
    """What somebody says of a model: attributed and dated, never the product's own figure."""

    words: Name
    """Word for word, in the language of the source."""
    said_by: Name
    said_on: date | None = None
    where: Name
    checkable: bool
    """Whether anybody could check it with what is public."""
    found: Name | None = None
    """What the check found, with its source; None: nobody checked."""
