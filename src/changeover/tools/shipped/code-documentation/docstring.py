"""Makes a docstring of what a model says, and of what stands in the code."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from typing import Any, cast

NOT_DESCRIBED = "Not described."
_WIDTH = 96
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def look(code: str) -> list[str]:
    """The parameters that are to be described.

    Raises:
        ValueError: A docstring cannot be put there; says why.
    """
    try:
        node = _function(code)
    except SyntaxError as exc:
        raise ValueError(f"the code is no Python: {exc.msg}, line {exc.lineno}") from exc
    _put_in(code, node, "")
    return parameters(node)


def problem(value: str, source: str) -> str | None:
    """What is missing in an answer, or made up by it; None if nothing is.

    Args:
        value: The answer.
        source: The code.
    """
    said, wanted = _described(value), parameters(_function(source))
    missing, unknown = [name for name in wanted if name not in said], [name for name in said if name not in wanted]
    if missing:
        return f"it does not describe: {', '.join(missing)}"
    return f"the function has no parameter called: {', '.join(unknown)}" if unknown else None


def document(answer: str, code: str) -> dict[str, Any]:
    """The docstring, the code with it, and the parameters that the answer does not describe."""
    node = _function(code)
    meanings, said = _described(answer), _read(answer)
    names = parameters(node)
    lines = _wrapped(_sentence(said.get("summary")), "")
    if names:
        lines += ["", "Args:"]
        for name in names:
            lines += _wrapped(f"{name}: {_sentence(meanings.get(name))}", "    ")
    if _returns(node):
        lines += ["", "Returns:", *_wrapped(_sentence(said.get("returns")), "    ")]
    for place, error in enumerate(_raised(node)):
        lines += [] if place else ["", "Raises:"]
        when = re.sub(rf"^(?:an? )?{re.escape(error)}\W+", "", str(said.get("raises") or "").strip())
        lines += _wrapped(f"{error}: {_sentence(when)}", "    ")
    docstring = "\n".join(lines)
    not_described = [name for name in names if name not in meanings]
    return {"docstring": docstring, "code": _put_in(code, node, docstring), "not_described": not_described}


def parameters(node: _Function) -> list[str]:
    """Names of a function's parameters in their order, without `self` and `cls`."""
    given = node.args
    some = [*given.posonlyargs, *given.args]
    names = [each.arg for each in some if not (each is some[0] and each.arg in ("self", "cls"))]
    names += [given.vararg.arg] if given.vararg else []
    names += [each.arg for each in given.kwonlyargs]
    return names + ([given.kwarg.arg] if given.kwarg else [])


def _function(code: str) -> _Function:
    for node in ast.parse(textwrap.dedent(code)).body:
        if isinstance(node, _Function):
            return node
    raise ValueError("the code holds no function")


def _read(answer: str) -> dict[str, Any]:
    """The object in an answer; an empty one where there is none."""
    start, end = answer.find("{"), answer.rfind("}")
    try:
        value = json.loads(answer[start : end + 1])
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _described(answer: str) -> dict[str, str]:
    """The meaning of each parameter, as the answer has it; stars before a name do not count."""
    found: dict[str, str] = {}
    listed: object = _read(answer).get("parameters")
    for each in cast("list[Any]", listed) if isinstance(listed, list) else []:
        if isinstance(each, dict):
            said = cast("dict[str, Any]", each)
            meaning = str(said.get("meaning", "")).strip()
            if meaning:
                found.setdefault(str(said.get("name", "")).strip("* `"), meaning)
    return found


def _sentence(said: object) -> str:
    """One line with a full stop at its end, that cannot end the docstring itself."""
    text = " ".join(str(said or "").split()).replace('"""', "'''").replace("\\", "\\\\").rstrip('"')
    if not text:
        return NOT_DESCRIBED
    return text if text[-1] in ".!?。" else f"{text}."


def _returns(node: _Function) -> bool:
    return any(isinstance(each, ast.Return) and each.value is not None for each in _own(node))


def _raised(node: _Function) -> list[str]:
    """Names of the errors that the function itself raises, in the order of the code."""
    found: dict[str, None] = {}
    for each in _own(node):
        if isinstance(each, ast.Raise) and each.exc is not None:
            error = each.exc.func if isinstance(each.exc, ast.Call) else each.exc
            if isinstance(error, ast.Name | ast.Attribute):
                found[ast.unparse(error)] = None
    return list(found)


def _own(node: ast.AST) -> list[ast.AST]:
    """Everything in a function but what stands in functions and classes inside of it, in the order of the code."""
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            found += [child, *_own(child)]
    return found


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}    " if indent else "")


def _put_in(code: str, node: _Function, docstring: str) -> str:
    """The code with the docstring as the first line of the function's body, in place of one that it had."""
    lines = textwrap.dedent(code).split("\n")
    first = node.body[0]
    decorated = [each.lineno for each in getattr(first, "decorator_list", [])]
    begins = min([first.lineno, *decorated])
    indent = lines[first.lineno - 1][: first.col_offset]
    if indent.strip():
        raise ValueError("the function stands on one line. Put its body on a line of its own")
    whole = f'"""{docstring}"""' if "\n" not in docstring else f'"""{docstring}\n"""'
    written = [f"{indent}{line}" if line else "" for line in whole.split("\n")]
    if ast.get_docstring(node) is not None:
        lines[first.lineno - 1 : first.end_lineno] = written
    else:
        lines[begins - 1 : begins - 1] = written
    return "\n".join(lines).strip("\n")
