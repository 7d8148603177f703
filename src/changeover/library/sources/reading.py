"""What an importer makes of its source: rows about models, and out of them observations. Importers write it, `sync` reads it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Final, cast

from changeover.core.digest import canonical_json
from changeover.library.facts import Grade
from changeover.library.lineage import plain_name
from changeover.library.observations import Observation
from changeover.library.sources.matching import Names

LONGEST_CARD: Final = 200
LONGEST_FACT: Final = 120
LONGEST_LOCATOR: Final = 500
LARGEST: Final = 1e15
"""Of a number: above all that is counted of a model, and whole numbers up to it are exact in JSON."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """One fact in one row."""

    fact: str
    """A key of the card, dotted where it is nested; or one of the signals."""
    value: Any
    """JSON."""
    locator: str
    grade: Grade
    as_of: date | None = None
    read: date | None = None
    """When it was read, where that was not now."""
    rank: int = 0
    """Where rows of one source disagree, the lowest is heard first; of one rank the majority counts."""
    counted: bool = False
    """The fact is how many different values the rows give: hosts that offer a model."""

    def __post_init__(self) -> None:
        """Refuse numbers that neither JSON nor a database can hold.

        Raises:
            ValueError: There is one.
        """
        for number in cast("dict[str, Any]", self.value).values() if isinstance(self.value, dict) else (self.value,):
            if isinstance(number, int | float) and not abs(number) < LARGEST:
                raise ValueError(f"`{self.fact}` = `{str(number)[:20]}` is beyond any model")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model, as a source describes it in one place."""

    name: str
    """The source's own name; the model goes by it where it has no card."""
    said: tuple[Said, ...]
    names: tuple[str, ...] = ()
    """Further names by which a card may be found."""
    repositories: tuple[str, ...] = ()
    """`owner/name` on a hub; a card is found by them first."""
    card: str | None = None
    """The card, where the source was asked for it."""


@dataclass(frozen=True, kw_only=True)
class LicenceText:
    """The text of a licence, as it was at the source."""

    card: str
    sha256: str
    source: str
    """Repository, revision and file."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was read of one source at one time. Nothing of it is written yet."""

    source: str
    where: str
    """File, address or package."""
    digest: str
    """SHA-256 of what was read."""
    summary: str
    """How much that was, in words."""
    rows: tuple[Row, ...]
    texts: tuple[LicenceText, ...] = ()
    notes: tuple[str, ...] = ()
    """What was left out, and why."""


def observations(reading: Reading, names: Names, seen_at: datetime) -> tuple[Observation, ...]:
    """One observation for each model and fact. What several rows say of one model is put to the vote."""
    found: dict[tuple[str, str], list[Said]] = {}
    for row in reading.rows:
        model = row.card or names.card(row.repositories, (row.name, *row.names)) or own_name(row.name)
        for said in row.said:
            found.setdefault((model, said.fact[:LONGEST_FACT]), []).append(said)
    made: list[Observation] = []
    for (model, fact), each in sorted(found.items()):
        said, value, locator = _heard(each)
        made.append(
            Observation(
                card=model,
                fact=fact,
                value=value,
                source=reading.source,
                locator=locator[:LONGEST_LOCATOR],
                grade=said.grade,
                as_of=said.as_of,
                seen_at=seen_at if said.read is None else datetime.combine(said.read, time(), UTC),
            )
        )
    return tuple(made)


def own_name(name: str) -> str:
    """How a model without a card is called: one spelling for all the hosts that have it."""
    return (plain_name(name) or name.strip() or "unnamed")[:LONGEST_CARD]


def said_if(facts: Mapping[str, Any], locator: str, grade: Grade, as_of: date | None = None) -> Iterator[Said]:
    """Those facts that the source does not leave open."""
    for fact, value in facts.items():
        if value not in (None, "", [], {}):
            yield Said(fact=fact, value=value, locator=locator, grade=grade, as_of=as_of)


def price(
    host: str, id: str, input_usd: float, output_usd: float, *, since: date | None = None
) -> tuple[str, dict[str, Any]]:
    """The fact of a price, and its value. Dollars are per million tokens."""
    value = {
        "id": id,
        "input_usd_per_million_tokens": round(input_usd, 6),
        "output_usd_per_million_tokens": round(output_usd, 6),
        "since": None if since is None else since.isoformat(),
    }
    return f"hosted.{host_name(host)}.price", value


def host_name(host: str) -> str:
    """A host in one spelling: lists write `fireworks_ai` and `fireworks-ai`, cards write names for people.

    >>> [host_name("fireworks_ai"), host_name("zai"), host_name("Z.ai")]
    ['fireworks-ai', 'z-ai', 'z-ai']
    """
    plain = "-".join(re.findall(r"[^\W_]+", host.casefold()))
    return _HOSTS.get(plain, plain)


_HOSTS = {
    "alibaba": "alibaba-cloud-model-studio",
    "alibaba-cn": "alibaba-cloud-model-studio-mainland-china",
    "dashscope": "alibaba-cloud-model-studio",
    "fireworks": "fireworks-ai",
    "moonshot": "moonshot-ai",
    "moonshotai": "moonshot-ai",
    "together": "together-ai",
    "togetherai": "together-ai",
    "zai": "z-ai",
}
"""Short names that lists have for hosts, and how the cards' names for them read in that spelling."""


def _heard(said: list[Said]) -> tuple[Said, Any, str]:
    """What counts of all that rows say of one fact: where it is from, its value, and where it stands."""
    if said[0].counted:
        different = {canonical_json(each.value) for each in said}
        return said[0], len(different), said[0].locator
    first = min(each.rank for each in said)
    heard = [each for each in said if each.rank == first]
    if len(heard) == 1:
        return heard[0], heard[0].value, heard[0].locator
    texts = [canonical_json(each.value) for each in heard]
    counts = Counter(texts)
    count, _, place = max((counts[text], _size(heard[place].value), -place) for place, text in enumerate(texts))
    chosen = heard[-place]
    votes = f"as in {count} of {len(heard)} rows"
    return chosen, chosen.value, f"{chosen.locator[: LONGEST_LOCATOR - 40]}, {votes}"


def _size(value: Any) -> float:
    """Decides between limits that as many rows have: hosts allow less than a model takes, never more."""
    return value if isinstance(value, int | float) else 0.0
