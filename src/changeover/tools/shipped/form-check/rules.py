"""Decides the rules of a form that can be decided, and settles them with what a model found.

A rule in JSON has `id`, `says`, and, if it can be decided, `check`, `field` and what the check needs: `required`;
`pattern` (`value`: a regular expression); `at_least`, `at_most` (`value`: a number); `one_of` (`value`: a list);
`not_before`, `not_after`, `same_as` (`other`: a field); `required_if` (`other`: a field, `value`: what it must be).
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

MISSING, CONTRADICTORY, IMPLAUSIBLE = "missing", "contradictory", "implausible"
EMPTY = {"", "-", "--", "n/a", "none", "…", "...", "☐"}


def decide(form: str, rules: str) -> dict[str, Any]:
    """The rules, listed for a model, and what those that can be decided say of the form."""
    fields = _fields(form)
    read = _rules(rules)
    decided = {rule["id"]: _verdict(rule, fields) for rule in read if _decidable(rule)}
    return {
        "rules": read,
        "decided": decided,
        "listed": "\n".join(f"{rule['id']}: {rule['says']}" for rule in read),
    }


def settle(decided: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, Any]:
    """What was computed, in the model's words where it found the same; and what it found by rules left to judgement."""
    by_rule = {finding["rule"].strip().casefold(): finding for finding in reversed(found)}
    findings: list[dict[str, Any]] = []
    for rule in decided["rules"]:
        said = by_rule.get(rule["id"].casefold())
        if rule["id"] in decided["decided"]:
            verdict = decided["decided"][rule["id"]]
            if verdict is not None:
                findings.append(verdict | {"reason": (said or {}).get("reason") or rule["says"], "by": "rule"})
        elif said is not None:
            findings.append(said | {"rule": rule["id"], "by": "model"})
    return {"findings": findings, "rules": len(decided["rules"])}


def _rules(text: str) -> list[dict[str, Any]]:
    try:
        read_as_json: Any = json.loads(text)
        given: list[Any] = cast("list[Any]", read_as_json) if isinstance(read_as_json, list) else [read_as_json]
    except ValueError:
        given = [line.strip(" -*\t") for line in text.splitlines() if line.strip(" -*\t")]
    read: list[dict[str, Any]] = []
    for place, rule in enumerate(given, 1):
        if isinstance(rule, dict):
            named = cast("dict[str, Any]", rule)
            read.append({"id": f"R{place}", "says": named.get("check", "")} | named)
        else:
            numbered = re.match(r"([A-Za-z]{0,4}\d{1,4})[:.)]\s*(.+)", str(rule))
            read.append(
                {"id": numbered[1] if numbered else f"R{place}", "says": numbered[2] if numbered else str(rule)}
            )
    return [rule | {"id": str(rule["id"]), "says": str(rule["says"])} for rule in read]


def _fields(form: str) -> dict[str, str]:
    """Fields of lines such as `Name: Ana Ruiz` or `Name | Ana Ruiz`, by their names in small letters."""
    pairs = (re.split(r"\s*[:\uff1a|\t]\s*", line.strip(" |"), maxsplit=1) for line in form.splitlines())
    return {pair[0].casefold(): pair[1].strip() for pair in pairs if len(pair) == 2}


def _decidable(rule: dict[str, Any]) -> bool:
    check, needs = rule.get("check"), {"pattern": "value", "at_least": "value", "at_most": "value", "one_of": "value"}
    needs |= dict.fromkeys(("not_before", "not_after", "same_as", "required_if"), "other")
    return "field" in rule and (check == "required" or (check in needs and needs[check] in rule))


def _verdict(rule: dict[str, Any], fields: dict[str, str]) -> dict[str, Any] | None:
    """What is wrong by one rule; None: nothing. A field that is empty breaks only rules that require it."""
    check, value = rule["check"], _value(fields, rule["field"])
    other, wanted = _value(fields, rule.get("other", "")), rule.get("value")
    problem: str | None = None
    if check == "required" or (check == "required_if" and other.casefold() == str(wanted).casefold()):
        problem = None if value else MISSING
    elif not value:
        return None
    elif check == "pattern":
        problem = None if re.fullmatch(str(wanted), value) else IMPLAUSIBLE
    elif check in ("at_least", "at_most"):
        number = _number(value)
        low = check == "at_least"
        fine = number is not None and (number >= float(wanted or 0) if low else number <= float(wanted or 0))
        problem = None if fine else IMPLAUSIBLE
    elif check == "one_of":
        problem = None if value.casefold() in _folded(wanted) else IMPLAUSIBLE
    elif other:
        first, second = _sortable(value), _sortable(other)
        holds = {"not_before": first >= second, "not_after": first <= second, "same_as": first == second}
        problem = None if holds.get(check, True) else CONTRADICTORY
    return None if problem is None else {"rule": rule["id"], "field": rule["field"], "problem": problem}


def _value(fields: dict[str, str], name: str) -> str:
    value = fields.get(str(name).casefold(), "")
    return "" if value.casefold() in EMPTY or not value.strip("_. ") else value


def _folded(texts: Any) -> list[str]:
    return [str(each).casefold() for each in cast("list[Any]", texts)] if isinstance(texts, list) else []


def _number(text: str) -> float | None:
    found = re.search(r"-?\d[\d,' ]*(?:\.\d+)?", text)
    return None if found is None else float(re.sub(r"[^\d.-]", "", found[0]))


def _sortable(text: str) -> tuple[str, str]:
    """Dates by their day, others by their text: 3.9.2026 and 2026-09-03 are the same."""
    written = re.fullmatch(r"(\d{1,2})[./](\d{1,2})[./](\d{4})", text)
    return ("", f"{written[3]}-{int(written[2]):02}-{int(written[1]):02}" if written else text.casefold())
