"""Makes a test file of an answer that holds tests."""

from __future__ import annotations

import ast
import re
from typing import Any

_FENCE = re.compile(r"```[ \t]*(\w*)[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def problem(value: str) -> str | None:
    """What is wrong with an answer; None if it holds tests."""
    try:
        body = ast.parse(_code(value)).body
    except SyntaxError as exc:
        return f"it is no Python: {exc.msg}, line {exc.lineno}"
    return None if any(map(_is_test, body)) else "it defines no function whose name begins with `test_`"


def look(code: str, module: str) -> list[str]:
    """What the code defines, which is what is tested.

    Raises:
        ValueError: The module's name is none, or the code is no Python, or there is nothing in it to test.
    """
    if not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(f"`{module}` is no name of a module")
    try:
        body = ast.parse(code).body
    except SyntaxError as exc:
        raise ValueError(f"the code is no Python: {exc.msg}, line {exc.lineno}") from exc
    names = [node.name for node in body if isinstance(node, (*_FUNCTION, ast.ClassDef))]
    if not names:
        raise ValueError("the code defines no function and no class")
    return names


def assemble(answer: str, tested: list[str], module: str) -> dict[str, Any]:
    """The test file, and the names of its tests. Of the answer it keeps functions and constants, and no import.

    Args:
        answer: What the model wrote.
        tested: What is imported.
        module: Where from.

    Raises:
        SyntaxError: The answer is no Python.
    """
    kept: list[ast.stmt] = []
    for node in ast.parse(_code(answer)).body:
        if isinstance(node, _FUNCTION) and node.name not in tested:
            node.body = [each for each in node.body if not isinstance(each, ast.Import | ast.ImportFrom)] or [
                ast.Pass()
            ]
            kept.append(node)
        elif isinstance(node, ast.Assign):
            kept.append(node)
    head = ["import pytest", ""] if "pytest" in {name for node in kept for name in _names(node)} else []
    head.append(f"from {module} import {', '.join(sorted(tested))}")
    parts = ["\n".join(head), *(ast.unparse(node) for node in kept)]
    return {
        "tests": "\n\n\n".join(part for part in parts if part) + "\n",
        "names": [node.name for node in kept if isinstance(node, _FUNCTION) and _is_test(node)],
    }


def _code(answer: str) -> str:
    blocks: list[tuple[str, str]] = _FENCE.findall(answer)
    python = [code for language, code in blocks if language.lower() in ("python", "python3", "py")]
    return (python or [code for _, code in blocks] or [answer])[0].strip("\n")


def _is_test(node: ast.stmt) -> bool:
    return isinstance(node, _FUNCTION) and node.name.startswith("test")


def _names(node: ast.stmt) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
