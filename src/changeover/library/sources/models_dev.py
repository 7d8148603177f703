"""models.dev's `api.json`: which host offers which model, with limits, modalities, dates and prices (MIT licence).

Shape read in github:anomalyco/models.dev packages/core/src/schema.ts @0359798 and its README @0760cef.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

from msgspec import Meta, Struct

from changeover.library.sources.documents import Rows, json_of, mapping_of
from changeover.library.sources.matching import without_routing
from changeover.library.sources.reading import Reading, Row, Said, price, said_if

NAME = "models.dev"
ADDRESS = "https://models.dev/api.json"
WHAT = "list of models.dev"

Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}(-\d{2})?$")]
Tokens = Annotated[float, Meta(ge=0)]
Dollars = Annotated[float, Meta(ge=0)]


class _Modalities(Struct, frozen=True):
    input: list[str] = []
    output: list[str] = []


class _Limit(Struct, frozen=True):
    context: Tokens = 0
    output: Tokens = 0


class _Cost(Struct, frozen=True):
    input: Dollars
    output: Dollars


class _Model(Struct, frozen=True):
    name: str
    limit: _Limit
    modalities: _Modalities
    open_weights: bool
    release_date: Day | None = None
    cost: _Cost | None = None


class _Provider(Struct, frozen=True):
    name: str
    models: dict[str, Any]


def read(data: bytes, where: str) -> Reading:
    """The rows of a file.

    Raises:
        ConfigError: It is cut off, or something else than a list of models.dev.
    """
    document = mapping_of(json_of(data, where), where, WHAT)
    rows = Rows(where, WHAT)
    hosts = Rows(where, WHAT)
    providers = list(hosts.each(document.items(), _Provider, lambda name, provider: (name, provider)))
    notes = hosts.notes()
    made = [
        row
        for host, provider in providers
        for row in rows.each(provider.models.items(), _Model, partial(_row, where, host))
    ]
    return Reading(
        source=NAME,
        where=where,
        digest=hashlib.sha256(data).hexdigest(),
        summary=f"{len(made)} rows of {len(providers)} hosts",
        rows=tuple(made),
        notes=(*notes, *rows.notes()),
    )


def _row(where: str, host: str, id: str, model: _Model) -> Row:
    return Row(name=id, names=(model.name,), said=tuple(_said(where, host, id, model)))


def _said(where: str, host: str, id: str, model: _Model) -> Iterator[Said]:
    locator = f"{where}: {host}/{id}"
    facts = {
        "context_tokens": int(model.limit.context) or None,
        "max_output_tokens": int(model.limit.output) or None,
        # `pdf` says that a host reads the file for the model.
        "modalities_in": sorted(set(model.modalities.input) - {"pdf"}),
        "modalities_out": sorted(set(model.modalities.output) - {"pdf"}),
        "released": model.release_date,
        "weights": "open" if model.open_weights else "closed",
    }
    yield from said_if(facts, locator, "registry")
    yield Said(fact="signals.providers", value=host, locator=where, grade="registry", counted=True)
    # What costs nothing is a trial or a subscription's, and no price.
    if model.cost is not None and (model.cost.input or model.cost.output) and id == without_routing(id):
        fact, value = price(host, id, model.cost.input, model.cost.output)
        yield Said(fact=fact, value=value, locator=locator, grade="registry", rank=len(id))
