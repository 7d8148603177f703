"""Takes the statement out of an answer."""

from __future__ import annotations

import re

_FENCE = re.compile(r"```[ \t]*\w*[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)


def read(answer: str) -> str:
    """The statement of an answer, without fences, without comments on lines of their own, without a semicolon at its end."""
    blocks: list[str] = _FENCE.findall(answer)
    lines = (blocks or [answer])[0].strip().split("\n")
    return "\n".join(line for line in lines if not line.lstrip().startswith("--")).strip().rstrip(";").strip()
