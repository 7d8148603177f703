"""Reading tools: every folder of a directory, each checked against itself before it is used."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from changeover.core import toml
from changeover.core.digest import sha256_file, sha256_value
from changeover.core.errors import ConfigError, nearest
from changeover.tools.declarations import (
    ASKING,
    FILES,
    TOOL_FILE,
    TOOL_NAME,
    CallStep,
    CheckDeclaration,
    CiteStep,
    ExtractStep,
    FunctionStep,
    LookUpStep,
    MapStep,
    ReduceStep,
    RenderStep,
    SplitStep,
    StepDeclaration,
    Tool,
    ToolDeclaration,
    Tools,
    ValidateStep,
)
from changeover.tools.expressions import names_in, names_in_template

ALWAYS = frozenset({"knowledge", "problems"})
"""Names that every expression may use: the folders of `[knowledge]`, and what checks let through."""


def load_tools(directory: Path) -> Tools:
    """Read every tool of a directory. What is wrong with one stops no other: see `Tools.problems`."""
    tools = Tools()
    if directory.is_dir():
        for file in sorted(directory.glob(f"*/{TOOL_FILE}")):
            try:
                tools[file.parent.name] = load_tool(file.parent)
            except ConfigError as exc:
                tools.refuse(file.parent.name, exc)
    return tools


def load_tool(folder: Path) -> Tool:
    """Read one tool.

    Raises:
        ConfigError: What is wrong with it: the file, the key, and what to do.
    """
    file = folder / TOOL_FILE
    if not TOOL_NAME.fullmatch(folder.name):
        raise ConfigError(f"{folder}: a tool's name has lower-case letters, digits and `-`, at most 40.")
    declared = toml.load(ToolDeclaration, file)
    try:
        own = tuple(sorted(task.stem for task in (folder / "tasks").glob("*.toml")))
        tool = Tool(name=folder.name, folder=folder, declared=declared, digest=digest_of(folder), own_tasks=own)
    except OSError as exc:
        raise ConfigError(f"{folder}: a file in it cannot be read: {exc}.") from exc
    try:
        _check_steps(tool)
        _check_example(tool)
    except ConfigError as exc:
        raise ConfigError(f"{file}: {exc.message}") from exc
    return tool


def digest_of(folder: Path) -> str:
    """What a tool does is its declaration, with every file that it reads; datasets measure it and change nothing."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.suffix != ".jsonl")
    seen = (file for file in files if "__pycache__" not in file.parts)
    return sha256_value({file.relative_to(folder).as_posix(): sha256_file(file) for file in seen})


def _check_steps(tool: Tool) -> None:
    declared = tool.declared
    known = {*declared.inputs, *ALWAYS}
    calls: set[str] = set()
    for place, step in enumerate(declared.steps):
        where = f"`steps[{place}]` (`{step.name}`)"
        for key, expression, extra in _expressions(step):
            _check_names(f"{where}: `{key}`", names_in(expression), known | extra)
        _check_files(tool, step, where, known)
        if isinstance(step, ValidateStep) and step.repair is not None and step.repair not in calls:
            raise ConfigError(
                f"{where}: `repair` = `{step.repair}` is no call before it. {nearest(step.repair, calls)}"
            )
        if isinstance(step, CallStep):
            calls.add(step.name)
        known.add(step.name)
    for key, expression in _output(declared):
        _check_names(f"`output.{key}`", names_in(expression), known)
    read_schema(tool, declared.output.schema_file)
    for name, knowledge in declared.knowledge.items():
        folder = (tool.folder / knowledge.folder).resolve()
        if not folder.is_dir():
            raise ConfigError(f"`knowledge.{name}`: no folder `{knowledge.folder}`. Make it, or name another.")
        if tool.folder.resolve() not in folder.parents:
            raise ConfigError(
                f"`knowledge.{name}`: `{knowledge.folder}` lies outside of the tool's folder, and what is applied is a copy "
                "of that. Put the documents in."
            )


def _output(declared: ToolDeclaration) -> Iterator[tuple[str, str]]:
    for key, expression in declared.output.value.items():
        yield f"value.{key}", expression
    yield "text", declared.output.text
    if declared.output.citations is not None:
        yield "citations", declared.output.citations


def _expressions(step: StepDeclaration) -> Iterator[tuple[str, str, set[str]]]:
    """Every expression of a step: its key, itself, and the names that are there for it alone."""
    if step.when is not None:
        yield "when", step.when, set()
    match step:
        case ExtractStep():
            yield "file", step.file, set()
        case SplitStep():
            yield "source", step.source, set()
        case CallStep():
            if (step.messages is None) == (not step.give):
                raise ConfigError(f"`{step.name}`: a call has either `give` or `messages`.")
            if step.messages is not None:
                yield "messages", step.messages, set()
        case MapStep():
            yield "over", step.over, set()
        case ReduceStep():
            yield "over", step.over, set()
        case LookUpStep():
            yield "question", step.question, set()
            yield "source", step.source, set()
        case CiteStep():
            yield "text", step.text, set()
            yield "source", step.source, set()
        case ValidateStep():
            yield "value", step.value, set()
            for number, check in enumerate(step.checks):
                if check.source is not None:
                    yield f"checks[{number}].source", check.source, set()
        case RenderStep() | FunctionStep():
            pass
    if isinstance(step, (*ASKING, FunctionStep)):
        own = {step.each, "index"} if isinstance(step, MapStep) else set[str]()
        own |= {step.joined} if isinstance(step, ReduceStep) else set[str]()
        for key, expression in step.give.items():
            yield f"give.{key}", expression, own


def _check_names(where: str, asked: Iterable[str], known: set[str]) -> None:
    for name in sorted(asked):
        if name not in known:
            raise ConfigError(f"{where}: nothing is called `{name}` there. {nearest(name, known - ALWAYS)}")


NEEDS: dict[str, tuple[str, ...]] = {
    "schema": ("schema_file",),
    "figures": ("source",),
    "quotes": ("source",),
    "one-of": ("source",),
    "language": ("source",),
    "sql": ("source",),
    "pages": ("source",),
    "max-words": ("most",),
    "function": ("file", "call"),
}
"""Keys without which a check means nothing."""


def _check_files(tool: Tool, step: StepDeclaration, where: str, known: set[str]) -> None:
    match step:
        case RenderStep():
            try:
                asked = names_in_template(read_beside(tool, step.template))
            except ConfigError as exc:
                raise ConfigError(f"{where}: `template` = `{step.template}`: {exc.message}") from exc
            _check_names(f"{where}: `{step.template}`", asked, known)
        case FunctionStep():
            _check_function(tool, where, step.file, step.call)
        case ValidateStep():
            for number, check in enumerate(step.checks):
                _check_check(tool, f"{where}: `checks[{number}]`", check)
        case _:
            pass


def _check_check(tool: Tool, where: str, check: CheckDeclaration) -> None:
    for key in NEEDS.get(check.check, ()):
        if getattr(check, key) is None:
            raise ConfigError(f"{where}: `{check.check}` needs `{key}`.")
    if check.schema_file is not None:
        read_schema(tool, check.schema_file)
    if check.file is not None and check.call is not None:
        _check_function(tool, where, check.file, check.call)


def _check_function(tool: Tool, where: str, file: str, name: str) -> None:
    """See that a file defines a function, without running it."""
    source = read_beside(tool, file)
    try:
        tree = ast.parse(source, file)
    except (SyntaxError, ValueError) as exc:
        raise ConfigError(f"{where}: `{file}` is no Python: {exc}.") from exc
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if name not in defined:
        raise ConfigError(f"{where}: `{file}` defines no function `{name}`. {nearest(name, defined)}")


def _check_example(tool: Tool) -> None:
    declared = tool.declared
    for name, value in declared.example.items():
        if name not in declared.inputs:
            raise ConfigError(f"`example.{name}`: no such input. {nearest(name, declared.inputs)}")
        for each in cast("list[Any]", value) if isinstance(value, list) else [value]:
            if isinstance(each, str) and each.startswith("@"):
                beside(tool, each[1:])
    for name, declaration in declared.inputs.items():
        if not declaration.optional and name not in declared.example:
            raise ConfigError(f"`example`: the input `{name}` is missing. Add it.")
        given = declared.example.get(name)
        if declaration.type in FILES and isinstance(given, str) and not given.startswith("@"):
            raise ConfigError(f"`example.{name}` = `{given}`: a file is named with `@`, as in `@example.pdf`.")


def beside(tool: Tool, name: str) -> Path:
    """A file of the tool's folder.

    Raises:
        ConfigError: There is none of that name, or it lies elsewhere.
    """
    file = (tool.folder / name).resolve()
    if not file.is_relative_to(tool.folder.resolve()):
        raise ConfigError(f"`{name}` lies outside of the tool's folder. Put it in, and name it from there.")
    if not file.is_file():
        raise ConfigError(f"no file `{name}` in the tool's folder. Write it, or name another.")
    return file


def read_beside(tool: Tool, name: str) -> str:
    """The text of a file of the tool's folder.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return beside(tool, name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read `{name}`: {exc}.") from exc


def read_schema(tool: Tool, name: str) -> dict[str, Any]:
    """A JSON schema of the tool's folder.

    Raises:
        ConfigError: It is none.
    """
    try:
        schema = json.loads(read_beside(tool, name))
        Draft202012Validator.check_schema(schema)
    except (json.JSONDecodeError, RecursionError) as exc:
        raise ConfigError(f"`{name}` is not JSON: {exc}.") from exc
    except SchemaError as exc:
        raise ConfigError(f"`{name}` is no JSON schema: {exc.message[:300]}.") from exc
    if not isinstance(schema, dict):
        raise ConfigError(f"`{name}` is no JSON schema: an object is expected.")
    return cast("dict[str, Any]", schema)
