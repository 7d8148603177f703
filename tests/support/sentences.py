"""The sentences that modules can write, read from their source: what stands in them as it is, and where values go in.

A name or an expression with few known texts, such as `"s" if many else ""`, is each of them in turn; any other is a value.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

VALUE = None
"""A place for a value."""
Pieces = tuple[str | None, ...]
"""A sentence: texts, and places for values."""
MOST_FORMS = 48
"""Of one sentence; more are not told apart, and what makes them is a value."""
WORDS = re.compile(r"`[^`]*`|[A-Za-z][a-z']+")
LEAST_WORDS = 2
"""Fewer stand in badges and labels, which the pages' own texts have."""
QUIET = frozenset(
    {"debug", "info", "warning", "error", "exception", "getLogger", "field", "compile", "Path", "partial"}
)
"""Calls whose texts no page shows."""
FAULTS = frozenset({"ValueError", "TypeError", "RuntimeError", "NotImplementedError", "AssertionError"})


@dataclass(frozen=True)
class Sentence:
    """One that a module can write."""

    where: str
    pieces: Pieces

    def told(self) -> str:
        """It, with a number in each place, from 71 on."""
        numbers = itertools.count(71)
        return "".join(str(next(numbers)) if piece is None else piece for piece in self.pieces)

    def values(self) -> list[str]:
        return [str(71 + place) for place in range(sum(piece is None for piece in self.pieces))]


def sentences_of(file: Path, functions: Sequence[str] = ()) -> Iterator[Sentence]:
    """Every sentence of a module, or of some of its functions and classes; words that stand alone are none."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    named = [node for node in tree.body if getattr(node, "name", None) in functions] if functions else [tree]
    assert not functions or len(named) == len(functions), f"{file}: no longer has one of {', '.join(functions)}"
    outside = _known(tree.body)
    for node in named:
        yield from _within(node, file, outside)


def raised_by(file: Path) -> Iterator[Sentence]:
    """What the errors say that a module raises, but for faults of a programmer."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    outside = _known(tree.body)
    for scope, known in _scopes(tree, outside):
        for node in _own(scope):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                name = (
                    node.exc.func.attr if isinstance(node.exc.func, ast.Attribute) else getattr(node.exc.func, "id", "")
                )
                if name.endswith(("Error", "Error_")) and name not in FAULTS:
                    yield from _forms_of(node.exc.args[0], known, f"{file.name}:{node.lineno}")


def _within(node: ast.AST, file: Path, outside: Mapping[str, list[Pieces]]) -> Iterator[Sentence]:
    for scope, known in _scopes(node, outside):
        seen: set[int] = set()
        parts = _parts_of_others(scope, known)
        for inner in _own(scope):
            if id(inner) in seen or (isinstance(inner, ast.Assign) and _names(inner) <= parts and _names(inner)):
                seen.update(id(child) for child in ast.walk(inner))
                continue
            if isinstance(inner, ast.JoinedStr | ast.Constant | ast.BinOp):
                if isinstance(inner, ast.Constant) and not isinstance(inner.value, str):
                    continue
                seen.update(id(child) for child in ast.walk(inner))
                yield from _forms_of(inner, known, f"{file.name}:{inner.lineno}")


def _parts_of_others(scope: ast.AST, known: Mapping[str, list[Pieces]]) -> set[str]:
    """Names whose texts are told where they are put into another text."""
    within = {
        name.id
        for node in _own(scope)
        if isinstance(node, ast.JoinedStr)
        for name in ast.walk(node)
        if isinstance(name, ast.Name)
    }
    return {name for name in within if name in known}


def _names(node: ast.Assign) -> set[str]:
    return {each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)}


def _forms_of(node: ast.expr, known: Mapping[str, list[Pieces]], where: str) -> Iterator[Sentence]:
    for pieces in _texts(node, known):
        flat = _joined(pieces)
        text = "".join(" " if piece is None else piece for piece in flat)
        words = [word for word in WORDS.findall(text) if not word.startswith("`")]
        if len(words) >= LEAST_WORDS and " " in text and not (flat[0] or "").startswith((" ", ",")):  # else an end
            yield Sentence(where, flat)


def _scopes(node: ast.AST, known: Mapping[str, list[Pieces]]) -> Iterator[tuple[ast.AST, Mapping[str, list[Pieces]]]]:
    """A function or module, and those inside of it, with what its names may say."""
    yield node, known
    for inner in _own(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda) and inner is not node:
            mine = {} if isinstance(inner, ast.Lambda) else _known(inner.body, known)
            taken = (
                set()
                if isinstance(inner, ast.ClassDef)
                else {each.arg for each in inner.args.args + inner.args.kwonlyargs}
            )
            before = {name: texts for name, texts in known.items() if name not in taken}
            yield from _scopes(inner, {**before, **mine})


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """What stands in a scope, without what stands in another inside of it, and without what nobody reads."""
    waiting: list[ast.AST] = [scope]
    while waiting:
        node = waiting.pop(0)
        if node is not scope:
            yield node
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
                continue
        waiting.extend(_read(node))


def _read(node: ast.AST) -> Iterator[ast.AST]:
    """The children of a node that may hold what a person reads: no docstring, annotation, key of a dictionary, comparison."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "slice", "args") and not isinstance(node, ast.Call):
            continue
        if isinstance(node, ast.Compare):
            continue
        if isinstance(node, ast.Dict) and name == "keys":
            continue
        if isinstance(node, ast.Call) and name == "args" and _called(node) in QUIET:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue  # a docstring
            if isinstance(child, ast.AST):
                yield child


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _known(body: Sequence[ast.stmt], before: Mapping[str, list[Pieces]] | None = None) -> dict[str, list[Pieces]]:
    """What the names say that are given texts in a block, where all that they are given is known."""
    given: dict[str, list[ast.expr]] = {}
    unknown: set[str] = set()
    for statement in body:
        for node in itertools.chain([statement], _own(statement)):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        given.setdefault(target.id, []).append(node.value)
                    elif isinstance(target, ast.Tuple):
                        same = isinstance(node.value, ast.Tuple) and len(node.value.elts) == len(target.elts)
                        values = (
                            node.value.elts if same and isinstance(node.value, ast.Tuple) else [None] * len(target.elts)
                        )
                        for each, value in zip(target.elts, values, strict=True):
                            if isinstance(each, ast.Name):
                                if value is None:
                                    unknown.add(each.id)
                                else:
                                    given.setdefault(each.id, []).append(value)
            elif isinstance(node, ast.For | ast.comprehension | ast.NamedExpr | ast.AugAssign):
                unknown |= {each.id for each in ast.walk(node.target) if isinstance(each, ast.Name)}
    found: dict[str, list[Pieces]] = {}
    for name, values in given.items():
        texts = [text for value in values for text in _texts(value, {**(before or {}), **found})]
        if name not in unknown and len(texts) <= MOST_FORMS and all(text != (VALUE,) for text in texts):
            found[name] = texts
    return found


def _texts(node: ast.expr, known: Mapping[str, list[Pieces]]) -> list[Pieces]:
    """The texts that an expression can be; one value where nobody knows."""
    match node:
        case ast.Constant(value=str(text)):
            return [(text,)]
        case ast.IfExp(body=body, orelse=other):
            return _texts(body, known) + _texts(other, known)
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mult()):
            return [(text,), ("",)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _product([_texts(left, known), _texts(right, known)])
        case ast.Subscript(value=ast.Dict(values=values)):
            return [text for value in values for text in _texts(value, known)]
        case ast.JoinedStr(values=parts):
            return _product(
                [
                    _texts(part.value, known)
                    if isinstance(part, ast.FormattedValue) and part.format_spec is None and part.conversion == -1
                    else [(VALUE,)]
                    if isinstance(part, ast.FormattedValue)
                    else _texts(part, known)
                    for part in parts
                ]
            )
        case _:
            return [(VALUE,)]


def _product(parts: list[list[Pieces]]) -> list[Pieces]:
    count = 1
    for part in parts:
        count *= len(part)
    if count > MOST_FORMS:
        parts = [part if len(part) <= 2 else [(VALUE,)] for part in parts]
    return [tuple(itertools.chain.from_iterable(each)) for each in itertools.product(*parts)]


def _joined(pieces: Pieces) -> Pieces:
    """With no two texts next to each other, and none that is empty."""
    made: list[str | None] = []
    for piece in pieces:
        if piece == "":
            continue
        if made and made[-1] is not None and piece is not None:
            made[-1] += piece
        elif made and made[-1] is None and piece is None:
            continue  # two values with nothing between them are one to who reads the sentence
        else:
            made.append(piece)
    return tuple(made)
