"""Checks an invoice as it was read: whether its sums add up, and its amounts and number stand on the paper."""

from __future__ import annotations

import re
from typing import Any

SIGNS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "円¥￥", "CNY": "元¥￥"}
"""What may stand for a currency."""
CENT = 0.011
"""Of each rounded amount."""
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def checks(invoice: dict[str, Any], text: str) -> dict[str, Any]:
    """Whether sums and dates hold, None where something is missing; and in words what is not as it should be."""
    net, tax, total = (_amount(invoice.get(key)) for key in ("net", "tax", "total"))
    lines: list[dict[str, Any]] = invoice.get("lines") or []
    amounts = [amount for line in lines if (amount := _amount(line.get("amount"))) is not None]
    products = [right for line in lines if (right := _product(line)) is not None]
    before_tax = net if net is not None or tax is None or total is None else total - tax
    result: dict[str, Any] = {
        "lines_multiply": all(products) if products else None,
        "lines_add_up": _any_near(sum(amounts), [before_tax, total], len(lines))
        if len(amounts) == len(lines) > 0
        else None,
        "net_and_tax_make_total": _any_near(net + tax, [total], 2) if net is not None and tax is not None else None,
        "due_after_date": _in_order(invoice.get("date"), invoice.get("due_date")),
    }
    named = {
        "lines_multiply": "a line's quantity times its price is not its amount",
        "lines_add_up": "the lines do not add up to the net or the total",
        "net_and_tax_make_total": "net and tax do not make the total",
        "due_after_date": "it is due before its date",
    }
    flags = [words for key, words in named.items() if result[key] is False]
    on_paper = _amounts(text)
    for key, value in (("net", net), ("tax", tax), ("total", total)):
        if value and not any(abs(abs(value) - seen) < CENT for seen in on_paper):
            flags.append(f"{key} {value:.12g} does not stand on the invoice")
    flags += [f"no {key}" for key in ("number", "date", "seller", "currency") if not invoice.get(key)]
    flags += ["no total"] if total is None else []
    flags += [
        f"{invoice[key]} is no day" for key in ("date", "due_date") if invoice.get(key) and not _day(invoice[key])
    ]
    currency = str(invoice.get("currency") or "")
    if currency and currency not in text and not any(sign in text for sign in SIGNS.get(currency, "")):
        flags.append(f"the currency {currency} does not stand on the invoice")
    number = str(invoice.get("number") or "")
    if re.sub(r"\s", "", number) not in re.sub(r"\s", "", text):
        flags.append(f"the number {number} does not stand on the invoice")
    return result | {"flags": flags}


def _amount(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _product(line: dict[str, Any]) -> bool | None:
    quantity, price, amount = line.get("quantity"), line.get("unit_price"), line.get("amount")
    return None if quantity is None or price is None or amount is None else abs(quantity * price - amount) <= 2 * CENT


def _any_near(value: float, wanted: list[float | None], count: int) -> bool | None:
    known = [each for each in wanted if each is not None]
    return any(abs(value - each) <= CENT * count for each in known) if known else None


def _in_order(first: str | None, then: str | None) -> bool | None:
    return first <= then if first and then and _day(first) and _day(then) else None


def _day(text: str) -> bool:
    return DATE.fullmatch(text) is not None


def _amounts(text: str) -> set[float]:
    """Every number of a text, in each way it may be read: 1.234 is 1234 or 1.234."""
    found: set[float] = set()
    for number in re.findall(r"\d[\d.,'\u2019 \u00a0]*", text):
        for piece in {number, *number.split()}:
            bare = re.sub(r"[^\d.,]", "", piece).strip(".,")
            found |= {float(read) for read in _readings(bare) if read}
    return found


def _readings(number: str) -> list[str]:
    whole, _, fraction = number.replace(",", ".").rpartition(".")
    digits = re.sub(r"[.,]", "", number)
    return [digits, f"{whole.replace('.', '')}.{fraction}"] if whole else [digits]
