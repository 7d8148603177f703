"""Checks an invoice as it was read: whether its sums add up, and its amounts and number stand on the paper."""

from __future__ import annotations

import re
from typing import Any

CENT = 0.011
"""Of each rounded amount."""
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def checks(invoice: dict[str, Any], text: str) -> dict[str, Any]:
    """Whether sums and dates hold, None where something is missing; and in words what is not as it should be."""
    net, tax, total = invoice.get("net"), invoice.get("tax"), invoice.get("total")
    lines: list[dict[str, Any]] = invoice.get("lines") or []
    amounts = [line.get("amount") for line in lines]
    products = [right for line in lines if (right := _product(line)) is not None]
    whole = [net] if net is not None else [total, None if None in (tax, total) else total - tax]
    result: dict[str, Any] = {
        "lines_multiply": all(products) if products else None,
        "lines_add_up": None if not lines or None in amounts else _any_near(sum(amounts), [*whole, total], len(lines)),
        "net_and_tax_make_total": None if None in (net, tax, total) else abs(net + tax - total) <= 2 * CENT,
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
    strange = [f"{key} {value}" for key, value in (("net", net), ("tax", tax), ("total", total)) if value]
    strange = [each for each in strange if not any(abs(abs(float(each.split()[1])) - seen) < CENT for seen in on_paper)]
    flags += [f"{each} does not stand on the invoice" for each in strange]
    flags += [f"no {key}" for key in ("number", "date", "seller", "currency") if not invoice.get(key)]
    flags += ["no total"] if total is None else []
    number = str(invoice.get("number") or "")
    if re.sub(r"\s", "", number) not in re.sub(r"\s", "", text):
        flags.append(f"the number {number} does not stand on the invoice")
    return result | {"flags": flags}


def _product(line: dict[str, Any]) -> bool | None:
    quantity, price, amount = line.get("quantity"), line.get("unit_price"), line.get("amount")
    return None if quantity is None or price is None or amount is None else abs(quantity * price - amount) <= 2 * CENT


def _any_near(value: float, wanted: list[float | None], count: int) -> bool | None:
    known = [each for each in wanted if each is not None]
    return any(abs(value - each) <= CENT * count for each in known) if known else None


def _in_order(first: str | None, then: str | None) -> bool | None:
    if not first or not then or not DATE.fullmatch(first) or not DATE.fullmatch(then):
        return None
    return first <= then


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
