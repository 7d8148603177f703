"""Keeps the findings of a review that can be looked up."""

from __future__ import annotations

import json
import re
from typing import Any, cast

_SEVERITIES = ("high", "medium", "low")
_MOST = 20
_OBJECT = re.compile(r"\{[^{}]*\}")
_NONE = re.compile(r'"findings"\s*:\s*\[\s*\]')


def problem(value: str) -> str | None:
    """What is wrong with an answer; None if it can be read. An answer that cannot is not one that finds nothing."""
    return None if _said(value) or _NONE.search(value) else "it is not JSON with a list of `findings`"


def keep(answer: str, code: str) -> dict[str, Any]:
    """The findings on lines that there are, the worst first, each with its line's text; and how many were left out.

    Args:
        answer: JSON as the model wrote it; what cannot be read holds no finding.
        code: What was reviewed.
    """
    lines = code.split("\n")
    said = _said(answer)
    kept: dict[tuple[int, str], dict[str, Any]] = {}
    for each in said:
        line, severity = each.get("line"), str(each.get("severity")).lower()
        what, why = (" ".join(str(each.get(key) or "").split()) for key in ("what", "why"))
        exists = isinstance(line, int) and 1 <= line <= len(lines) and bool(lines[line - 1].strip())
        if isinstance(line, int) and exists and severity in _SEVERITIES and what:
            found = {"severity": severity, "line": line, "code": lines[line - 1].strip(), "what": what, "why": why}
            kept.setdefault((line, what), found)
    findings = sorted(kept.values(), key=lambda each: (_SEVERITIES.index(each["severity"]), each["line"]))[:_MOST]
    return {"findings": findings, "dropped": len(said) - len(findings)}


def _said(answer: str) -> list[dict[str, Any]]:
    """Every finding; of an answer that was cut off, those before."""
    try:
        listed: object = json.loads(answer[answer.find("{") : answer.rfind("}") + 1])["findings"]
        members = cast("list[Any]", listed) if isinstance(listed, list) else []
    except (ValueError, KeyError, TypeError):
        members = [value for text in _OBJECT.findall(answer) if (value := _loaded(text)) is not None]
    return [cast("dict[str, Any]", each) for each in members if isinstance(each, dict) and "line" in each]


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
