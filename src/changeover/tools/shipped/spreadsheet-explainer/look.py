"""Computes what a sheet holds: its columns, their sums, means and extremes, empty cells and rows that stand twice."""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal
from typing import Any

MOST_COLUMNS = 12
NAMES = re.compile(r"(?i)\b(id|nr|number|year|jahr|zip|plz|phone|code)\b|\w no\.?$|^no\.$|#|番号|年")
"""Heads of columns whose numbers are names, and no amounts."""


def look(pages: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """What every sheet holds, as values and in words for a model. The pages of a CSV file are one sheet."""
    tables = [(page["label"], page["text"]) for page in pages]
    if kind == "csv":
        tables = [(name, "\n".join(text for _, text in tables))]
    sheets = [_sheet(label, _rows(text)) for label, text in tables]
    return {"sheets": sheets, "text": "\n\n".join(_words(sheet) for sheet in sheets)}


def _rows(text: str) -> list[list[str]]:
    """The cells as the reader writes them, with tabs between."""
    return [[cell.strip() for cell in line.split("\t")] for line in text.splitlines() if line.strip()]


def _sheet(label: str, rows: list[list[str]]) -> dict[str, Any]:
    heads, body = (rows[0], rows[1:]) if rows else ([], [])
    width = len(heads)
    body = [(row + [""] * width)[:width] for row in body]
    decimal = _decimal_sign([cell for row in body for cell in row])
    columns = [_column(head, place, body, decimal) for place, head in enumerate(heads[:MOST_COLUMNS])]
    twice = [" / ".join(row) for row, times in Counter(map(tuple, body)).items() if times > 1]
    return {"label": label, "rows": len(body), "columns": columns, "twice": twice[:5]}


def _column(head: str, place: int, body: list[list[str]], decimal: str) -> dict[str, Any]:
    """A column's figures; of one that holds words, or names things by number, how many different cells it has."""
    filled = [row for row in body if row[place]]
    numbers = [(row, value) for row in filled if (value := _number(row[place], decimal)) is not None]
    column: dict[str, Any] = {"name": head, "empty": len(body) - len(filled)}
    if len(numbers) * 10 < len(filled) * 8 or not numbers or _names_things(head):
        return column | {"different": len({row[place] for row in filled})}
    values = [value for _, value in numbers]
    low, high = min(numbers, key=lambda each: each[1]), max(numbers, key=lambda each: each[1])
    return column | {
        "sum": _plain(sum(values, Decimal())),
        "mean": _plain(sum(values, Decimal()) / len(values)),
        "smallest": {"value": _plain(low[1]), "row": _row_name(low[0])},
        "largest": {"value": _plain(high[1]), "row": _row_name(high[0])},
    }


def _names_things(head: str) -> bool:
    return NAMES.search(head) is not None


def _decimal_sign(cells: list[str]) -> str:
    """What stands before fractions, by the cells that leave no doubt: 48,20 has a comma, 48.20 a point."""
    commas = sum(re.fullmatch(r"\D*\d[\d.]*,(\d{1,2}|\d{4,})\D*", cell) is not None for cell in cells)
    points = sum(re.fullmatch(r"\D*\d[\d,]*\.(\d{1,2}|\d{4,})\D*", cell) is not None for cell in cells)
    return "," if commas > points else "."


def _number(cell: str, decimal: str) -> Decimal | None:
    """The number of a cell that holds nothing else but a sign of currency or percent."""
    bare = re.sub(r"^[€$£¥]\s*|\s*(?:[€$£¥%]|EUR|USD|GBP|JPY|CHF|円)$", "", cell.strip()).replace("\u2212", "-")
    group = r"[.'\s\u2019]" if decimal == "," else r"[,'\s\u2019]"
    if not re.fullmatch(rf"[-+]?(\d{{1,3}}({group}\d{{3}})+|\d+)({re.escape(decimal)}\d+)?", bare):
        return None
    return Decimal(re.sub(group, "", bare).replace(",", "."))


def _plain(value: Decimal) -> float:
    return float(round(value, 2))


def _row_name(row: list[str]) -> str:
    """The first cell, and the second where the first is a number or a date."""
    return ", ".join(row[: 2 if re.search(r"\d", row[0]) else 1])


def _words(sheet: dict[str, Any]) -> str:
    lines = [f"{sheet['label']}: {sheet['rows']} rows, {len(sheet['columns'])} columns"]
    for column in sheet["columns"]:
        empty = f", {column['empty']} empty" if column["empty"] else ""
        if "sum" in column:
            lines.append(
                f"{column['name']}: sum {column['sum']:.12g}, mean {column['mean']:.12g}, "
                f"smallest {column['smallest']['value']:.12g} ({column['smallest']['row']}), "
                f"largest {column['largest']['value']:.12g} ({column['largest']['row']}){empty}"
            )
        else:
            lines.append(f"{column['name']}: {column['different']} different{empty}")
    lines += [f"twice: {row}" for row in sheet["twice"]]
    return "\n".join(lines)
