"""LiteLLM's `model_prices_and_context_window.json`: prices and limits by hosted id (MIT licence).

Shape read in github:BerriAI/litellm model_prices_and_context_window.json @00035b6.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from changeover.library.sources.documents import Rows, json_of, mapping_of
from changeover.library.sources.matching import without_routing
from changeover.library.sources.reading import Reading, Row, Said, price, said_if

NAME = "litellm"
ADDRESS = "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json"
WHAT = "price file of LiteLLM"
EXPLAINS_ITSELF = "sample_spec"
"""The row that says what the keys mean."""
OF_TEXT = ("chat", "completion", "responses", "embedding")
"""Kinds of rows whose prices are per token."""

Amount = Annotated[float, Meta(ge=0)]


class _Model(Struct, frozen=True):
    litellm_provider: str
    mode: str | None = None
    max_input_tokens: Amount | str | None = None
    max_output_tokens: Amount | str | None = None
    input_cost_per_token: Amount | None = None
    output_cost_per_token: Amount | None = None


def read(data: bytes, where: str) -> Reading:
    """The rows of a file.

    Raises:
        ConfigError: It is cut off, or something else than LiteLLM's price file.
    """
    document = mapping_of(json_of(data, where), where, WHAT)
    named = [(name, value) for name, value in document.items() if name != EXPLAINS_ITSELF]
    rows = Rows(where, WHAT)
    made = tuple(rows.each(named, _Model, partial(_row, where)))
    return Reading(
        source=NAME,
        where=where,
        digest=hashlib.sha256(data).hexdigest(),
        summary=f"{len(made)} rows",
        rows=made,
        notes=rows.notes(),
    )


def _row(where: str, id: str, model: _Model) -> Row:
    return Row(name=id, said=tuple(_said(f"{where}: {id}", id, model)))


def _said(locator: str, id: str, model: _Model) -> Iterator[Said]:
    facts = {
        "context_tokens": _tokens(model.max_input_tokens),
        "max_output_tokens": _tokens(model.max_output_tokens),
    }
    if model.mode in OF_TEXT:
        yield from said_if(facts, locator, "registry")
    if model.input_cost_per_token is None or model.mode not in OF_TEXT or id != without_routing(id):
        return
    asked = 1e6 * model.input_cost_per_token
    answered = 1e6 * (model.output_cost_per_token or 0.0)
    if asked or answered:
        fact, value = price(model.litellm_provider, id, asked, answered)
        yield Said(fact=fact, value=value, locator=locator, grade="registry", rank=len(id))


def _tokens(value: float | str | None) -> int | None:
    """A limit; some rows have it as text."""
    return int(float(value)) or None if value is not None else None
