"""JSON as models write it."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from pydantic import JsonValue

_FENCED = re.compile(r"\A\s*```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```\s*\Z", re.DOTALL | re.IGNORECASE)


def read_json(answer: str, *, fenced: bool = True) -> JsonValue:
    """Read an answer that is JSON and nothing else; by default it may stand in one fenced block.

    Raises:
        ValueError: It is no JSON; `NaN` and infinities are none.
        RecursionError: It is nested too deeply.
    """
    match = _FENCED.match(answer) if fenced else None
    return json.loads(match.group(1) if match else answer, parse_constant=_refuse)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"`{name}` is no JSON number")
