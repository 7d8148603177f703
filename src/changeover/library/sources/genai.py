"""genai-prices, the installed package: prices of hosts with their dates, without a network (MIT licence)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import genai_prices
from genai_prices import data_snapshot
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, StartDateConstraint, TieredPrices

from changeover.core.digest import sha256_text
from changeover.library.sources.matching import without_routing
from changeover.library.sources.reading import Reading, Row, Said, price, said_if

NAME = "genai-prices"


def read(today: date) -> Reading:
    """The rows of the package, with the prices that hold today."""
    where = f"genai-prices=={genai_prices.__version__}"
    providers = data_snapshot.get_snapshot().providers
    rows = [_row(f"{where}: {host.id}", host.id, model, today) for host in providers for model in host.models]
    return Reading(
        source=NAME,
        where=where,
        digest=sha256_text(where),
        summary=f"{len(rows)} rows of {len(providers)} hosts",
        rows=tuple(rows),
    )


def _row(where: str, host: str, model: ModelInfo, today: date) -> Row:
    names = (model.name,) if model.name else ()
    return Row(name=model.id, names=names, said=tuple(_said(f"{where}/{model.id}", host, model, today)))


def _said(locator: str, host: str, model: ModelInfo, today: date) -> Iterator[Said]:
    yield from said_if({"context_tokens": model.context_window}, locator, "registry")
    found = _holding(model.prices, today)
    if found is None or model.id != without_routing(model.id):
        return
    prices, since = found
    asked, answered = _base(prices, "input_mtok"), _base(prices, "output_mtok")
    if asked is not None and answered is not None and (asked or answered):
        fact, value = price(host, model.id, asked, answered, since=since)
        yield Said(fact=fact, value=value, locator=locator, grade="registry", rank=len(model.id))


def _holding(prices: ModelPrice | list[ConditionalPrice], today: date) -> tuple[ModelPrice, date | None] | None:
    """The price that holds today, and since when, where that is known."""
    if isinstance(prices, ModelPrice):
        return prices, None
    dated = [
        (each.constraint.start_date, each.prices)
        for each in prices
        if isinstance(each.constraint, StartDateConstraint) and each.constraint.start_date <= today
    ]
    if dated:
        since, newest = max(dated, key=lambda entry: entry[0])
        return newest, since
    return next(((each.prices, None) for each in prices if each.constraint is None), None)


def _base(prices: ModelPrice, key: str) -> float | None:
    """Dollars per million tokens; where the price rises with the length, the first step."""
    value: Any = getattr(prices, key, None)
    if isinstance(value, TieredPrices):
        value = value.base
    return float(value) if isinstance(value, Decimal | int | float) else None
