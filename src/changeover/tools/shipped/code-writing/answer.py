"""Takes the code out of an answer."""

from __future__ import annotations

import ast
import re
from typing import Any

_FENCE = re.compile(r"```[ \t]*(\w*)[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)


def read(answer: str) -> dict[str, Any]:
    """The code of an answer, and the names of the functions and classes that it defines.

    Raises:
        SyntaxError: It is no Python.
    """
    blocks: list[tuple[str, str]] = _FENCE.findall(answer)
    python = [code for language, code in blocks if language.lower() in ("python", "python3", "py")]
    code = (python or [code for _, code in blocks] or [answer])[0].strip("\n")
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {"code": code, "defines": [node.name for node in ast.parse(code).body if isinstance(node, defined)]}
