"""Writes the generated pages of `docs/reference/` from the code they describe; a test compares them with it.

python -m docs.generate
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from changeover.app.shipped_tools import baselines as shipped_baselines
from changeover.app.shipped_tools import shipped_folder
from changeover.cli import exits
from changeover.cli.main import COMMANDS
from changeover.client.failures import Unreachable
from changeover.core import errors
from changeover.core.errors import ChangeoverError
from changeover.core.settings import Settings
from changeover.evals.scorers import SCORERS
from changeover.gateway.feedback import UnknownRequestError
from changeover.gateway.routes import NoSuchRoute, WrongMethod
from changeover.library.licences.policy import Policy
from changeover.library.serve.hub import Missing
from changeover.serving.backends import BACKENDS
from changeover.serving.capabilities import CAPABILITIES, Capabilities
from changeover.serving.conformance import PROBES, Finding, Result, verdicts
from changeover.serving.options import OPTIONS
from changeover.tasks.declarations import TaskDeclaration, load_tool_tasks
from changeover.tools.declarations import CheckDeclaration, Expression, StepDeclaration, ToolDeclaration
from changeover.tools.desk import JobCancelledError
from changeover.tools.jobs import UnknownJobError
from changeover.tools.load import NEEDS
from docs import environment
from docs.gateway import metrics, routes
from docs.page import page
from docs.rights import rights

REFERENCE = Path(__file__).parent / "reference"
DATA = Path(__file__).parent / "data"
"""What was measured, as it was written down."""
KINDS = {
    str: "text",
    date: "date",
    int: "whole number",
    float: "number",
    bool: "true or false",
    dict: "table",
    tuple: "list",
}
BOUNDS = {
    "gt": "above {}",
    "ge": "{} or more",
    "lt": "below {}",
    "le": "at most {}",
    "max_length": "at most {} characters",
}
EXPRESSION = get_args(Expression)[1].metadata
LOCAL_ERRORS: Mapping[type[ChangeoverError], str] = {
    NoSuchRoute: "the gateway, MCP over HTTP",
    WrongMethod: "the gateway, the library's server",
    UnknownRequestError: "`/v1/feedback`",
    UnknownJobError: "`/v1/jobs`",
    JobCancelledError: "`/v1/jobs`",
    Missing: "the library's server",
    Unreachable: "the Python client",
}
"""Those that a room keeps to itself, and where one meets them."""
GENERIC_OPTIONS = frozenset({"install_completion", "show_completion", "help"})
"""On every command, and about the shell."""


@dataclass(frozen=True)
class Key:
    """One key of a declaration, as a page shows it."""

    name: str
    kind: str
    default: str
    meaning: str


def configuration() -> str:
    """Every key of the files that people write, and of engines."""
    parts = [
        "# Configuration",
        "`changeover.toml` says where things are, a file below `tasks/` declares one task. Unknown keys are refused, "
        "with the nearest known one. [changeover.example.toml](../../changeover.example.toml) is the first of them with "
        "every key, to copy from; [Your own task](../guides/own-task.md) writes one of the second.",
        "## `changeover.toml`",
        *_tables(Settings),
        "## `tasks/NAME.toml`",
        *_tables(TaskDeclaration),
        "Scorers and their options: [scorers](scorers.md).",
        "## `policy.toml`",
        "[policy.example.toml](../../src/changeover/templates/project/policy.example.toml), which `changeover init` puts into a "
        "project, has every key, to copy from; "
        "[a licence policy](../guides/licence-policy.md) writes one.",
        *_tables(Policy),
        "## Options of engines",
        "Given to `changeover deploy`, by a flag of their own or as `--option NAME=VALUE`, and kept with the deployment.",
    ]
    for name, model in OPTIONS.items():
        parts += [f"### `--engine {name}`", _doc(model), _table(keys_of(model))]
    parts += ["## Environment", environment.table()]
    return page(parts)


def scorers() -> str:
    """Every scorer with its options and the targets that it reads."""
    parts = [
        "# Scorers",
        "A task names one as `scorer.name` and sets options in `scorer.options`. A score lies between 0 and 1 and is "
        "kept with the scorer's version: a change of either is a new score.",
    ]
    for name, scorer in SCORERS.items():
        does = scorer.compare if scorer.score is None else scorer.score
        parts += [f"## `{name}`", f"Version {scorer.version}. {inspect.getdoc(_scoring(does)) or ''}"]
        if scorer.needs_target:
            text = "text, or an " if scorer.from_text is not None else ""
            parts += [
                f"**Target**: {text}object with these keys. {_doc(scorer.target)}",
                _table(keys_of(scorer.target)),
            ]
        else:
            parts.append(f"**Target**: {_doc(scorer.target)}")
        parts += [f"**Options**: {_doc(scorer.options)}", *_tables(scorer.options)]
    return page(parts)


def error_tree() -> str:
    """Every error of the system, with what the door makes of it."""
    drawn = inspect.getdoc(errors) or ""
    statuses = dict(re.findall(r"(\w+(?:Error_?|Overflow))\s+(\d{3}|--)\s", drawn))
    rows = [
        f"| `{kind.code}` | {statuses[kind.__name__].replace('--', '–')} | {kind.source} | "
        f"{'yes' if kind.retryable else 'no'} | {_doc(kind)} |"
        for kind in _family(ChangeoverError)
    ]
    return page(
        [
            "# Errors",
            "What the gateway answers, and what a command says in one line. Applications get the "
            "[envelope](api.md#errors) with `code` and with `source`: the gateway, or the model behind it. A dash for the "
            "status marks what only commands meet. [Faults](../concepts/faults.md) shows which fault gives which.",
            "| `code` | status | source | worth retrying | meaning |\n|---|---|---|---|---|\n" + "\n".join(rows),
            "## Of one place alone",
            "| `code` | status | where | meaning |\n|---|---|---|---|\n"
            + "\n".join(
                f"| `{kind.code}` | {kind.status} | {where} | {_doc(kind)} |" for kind, where in LOCAL_ERRORS.items()
            ),
            "The gateway also answers 413 `invalid_request` for a body over `gateway.max_body_mib`. An engine that calls a request wrong (400, 404, 413, 422) is passed on with its "
            "status and `source` `model`.",
        ]
    )


EXITS = {
    exits.EXIT_PASS: "pass or done",
    exits.EXIT_FAIL: "fail",
    exits.EXIT_USAGE: "usage or a wrong declaration",
    exits.EXIT_INCONCLUSIVE: "inconclusive",
    exits.EXIT_INTERRUPTED: "stopped by Ctrl-C",
}
"""How commands end; single ones say more of 0, 1 and 3 on their pages."""


def command_line() -> str:
    """Every command's help."""
    parts = [
        "# Command line",
        "Every command has `--help` with an example, and `--json`, which prints the result and nothing else. What happens "
        "on the way goes to standard error.",
        "**Exit status**: " + ", ".join(f"{status} {meaning}" for status, meaning in EXITS.items()) + ".",
        "| command | |\n|---|---|\n"
        + "\n".join(f"| [`{name}`](#changeover-{name}) | {line} |" for name, (_, line) in COMMANDS.items()),
    ]
    for name, (module, _) in COMMANDS.items():
        command = typer.main.get_command(importlib.import_module(module).app)
        parts += _command(f"changeover {name}", command)
    return page(parts)


def tools() -> str:
    """Every key of a tool, every kind of step and every check."""
    parts = [
        "# Tools",
        "A tool is a folder below `tools/`; its name is the tool's. [What a tool is](../concepts/tools.md) says how one runs. "
        "An *expression* names a value: Jinja's, in its sandbox, without the braces, such as `part.text`, "
        "`pages | length > 3` or `'short'`. It sees the inputs, and the results of earlier steps, by their names; "
        "`knowledge`, the folders; and `problems`, what was let through.",
        "## `tool.toml`",
        *_tables(ToolDeclaration),
        "## `[[steps]]`",
        "Done in their order. Each has a `do`, and:",
    ]
    [union, _] = get_args(StepDeclaration)
    steps: tuple[type[BaseModel], ...] = get_args(union)
    shared = {"name", "when"}
    parts.append(_table(key for key in keys_of(steps[0]) if key.name in shared))
    for step in steps:
        [kind] = get_args(step.model_fields["do"].annotation)
        parts += [f"### `{kind}`", " ".join((inspect.getdoc(step) or "").split())]
        parts.append(_table(key for key in keys_of(step) if key.name not in {*shared, "do"}))
    checks = attribute_docs(CheckDeclaration)["check"]
    rows = [
        f"| {name} | {', '.join(f'`{key}`' for key in NEEDS.get(name.strip('`'), ())) or '–'} | {does.removesuffix('.')} |"
        for name, _, does in (each.partition(": ") for each in re.split(r"; (?=`)", checks))
    ]
    parts += [
        "### Checks",
        "Each of the `checks` of `validate` is a table. Where a value is a list, or JSON with texts in it, every member and text is "
        "looked at by itself.",
        "| `check` | needs | holds where |\n|---|---|---|\n" + "\n".join(rows),
        _table(key for key in keys_of(CheckDeclaration) if key.name != "check"),
    ]
    return page(parts)


def baselines() -> str:
    """What small models reach on the shipped tools' datasets, as it was measured, and the floors."""
    tasks, measured = load_tool_tasks(shipped_folder()), shipped_baselines()
    models = sorted({each["model"] for task in measured.values() for each in task["results"]})
    rows = [
        f"| `{name}` | {task.declared.family or 'any'} | {task.declared.tier} | {_points(task.declared.gate.floor)} | "
        + " | ".join(_reached(measured.get(name, {}), model) for model in models)
        + " |"
        for name, task in tasks.items()
    ]
    parts = [
        "# Baselines of the shipped tools",
        "Mean scores in points of 100 on each task's own samples, with a 95 % interval and the number of samples; *inj.* is the "
        "score on samples whose material gives orders. `python -m benchmarks.tools --write` measures them on small models that run "
        "on a laptop, and they are reported as they are: most of these jobs are too hard for models of this size, and whoever is "
        "below the floor is never promoted. Where a dataset was changed since, the next run says something else.",
        "| task | meant for | tier | floor | "
        + " | ".join(models)
        + " |\n|---|---|---|---"
        + "|---" * len(models)
        + "|\n"
        + "\n".join(rows),
    ]
    return page(parts)


def conformance() -> str:
    """What every kind of engine declares, what the suite proves, and what it found on real engines."""
    found = _data("conformance.json")
    rows: list[dict[str, Any]] = found["rows"]
    kinds = [kind for kind in BACKENDS if kind != "openai"]
    capabilities = attribute_docs(Capabilities)
    parts = [
        "# Conformance",
        "What engines can do: as each kind declares it, and as the suite found it. "
        "[Capabilities](../concepts/capabilities.md) says what the gateway makes of it.",
        "## Declared",
        "Of every kind of engine, whatever model it serves; what a model or its deployment has besides stands in its profile. "
        "Of `openai`, a server that others run, nothing is known but that it chats.",
        "| capability | " + " | ".join(kinds) + " | meaning |\n|---|" + "---|" * len(kinds) + "---|",
    ]
    parts[-1] += "".join(
        f"\n| `{name}` | "
        + " | ".join("yes" if getattr(BACKENDS[kind].capabilities, name) else "–" for kind in kinds)
        + f" | {capabilities[name]} |"
        for name in CAPABILITIES
    )
    parts += [
        "## The probes",
        "Each looks at how an answer comes, never at how wise it is. Where a model is free to call a tool and does not, "
        "nothing was found out, and that is said.",
        "| probe | what it proves |\n|---|---|\n"
        + "\n".join(f"| `{probe.name}` | {probe.proves.replace('|', chr(92) + '|')} |" for probe in PROBES),
        "## Found",
        f"By `python -m benchmarks.conformance --write`, on {found['machine']}, at each engine itself: what the gateway does "
        "for those that lack something is not in here. *yes*: it passed; *no*: it is not there; **wrong**: it is there and "
        "is not right; a dot: it could not be asked of that model, or not be seen. The reasons stand below.",
        "| capability | " + " | ".join(_title(row) for row in rows) + " |\n|---|" + "---|" * len(rows),
    ]
    found_of = [verdicts(_findings(row)) for row in rows]
    parts[-1] += "".join(
        f"\n| `{name}` | " + " | ".join(_SIGNS[found.get(name, "not applicable")] for found in found_of) + " |"
        for name in CAPABILITIES
        if any(name in found for found in found_of)
    )
    parts += [
        *(_reasons(row) for row in rows),
    ]
    if found["skipped"]:
        parts += ["### Not looked at", "\n".join(f"* `{name}`: {why}" for name, why in found["skipped"].items())]
    return page([*parts, *_loads()])


_SIGNS: Mapping[Result, str] = {"passed": "yes", "failed": "**wrong**", "missing": "no", "not applicable": "·"}


def _findings(row: Mapping[str, Any]) -> list[Finding]:
    return [
        Finding(**each, capability=each["probe"].partition(".")[0], sent="", declared=None) for each in row["findings"]
    ]


def _reasons(row: Mapping[str, Any]) -> str:
    lines = [
        f"* `{finding.probe}` {finding.result}: {finding.seen}".replace("<", "&lt;")
        for finding in _findings(row)
        if finding.result != "passed"
    ]
    note = f" {row['note'][0].upper()}{row['note'][1:]}." if row["note"] else ""
    return "\n".join([f"### {_title(row)}", "", f"{row['software']}, {row['date']}.{note}", "", *lines]).rstrip()


def _title(row: Mapping[str, Any]) -> str:
    return " · ".join(part for part in (row["engine"], row["model"], row["started"]) if part)


def _loads() -> Iterator[str]:
    """Which architectures each engine loads, by checkpoints of the real classes with random weights."""
    rows: list[dict[str, Any]] = _data("loads.json") if (DATA / "loads.json").exists() else []
    if not rows:
        return
    engines = sorted({row["engine"] for row in rows})
    yield "## Architectures"
    yield (
        "Tiny checkpoints of the real class with random weights, loaded by the code that would load the real ones, and asked "
        "for a few tokens. `make test-engines` makes and loads them."
    )
    of = {(row["architecture"], row["engine"]): row for row in rows}
    yield ("| architecture | " + " | ".join(engines) + " |\n|---|" + "---|" * len(engines)) + "".join(
        f"\n| {name} | " + " | ".join(_loaded(of.get((name, engine))) for engine in engines) + " |"
        for name in dict.fromkeys(row["architecture"] for row in rows)
    )


def _loaded(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    return "yes" if row["loads"] else "no: " + str(row["reason"]).replace("|", "\\|")


def _data(name: str) -> Any:
    return json.loads((DATA / name).read_text())


def _points(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"


def _reached(task: Mapping[str, Any], model: str) -> str:
    result = next((each for each in task.get("results", ()) if each["model"] == model), None)
    if result is None:
        return "–"
    injected = "" if result["injection"] is None else f", inj. {_points(result['injection'])}"
    bounds = f"{_points(result['low'])}–{_points(result['high'])}"
    return f"{_points(result['score'])} ({bounds}, {result['samples']}){injected}"


PAGES: Mapping[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "scorers.md": scorers,
    "errors.md": error_tree,
    "cli.md": command_line,
    "tools.md": tools,
    "baselines.md": baselines,
    "conformance.md": conformance,
    "metrics.md": metrics,
    "routes.md": routes,
    "rights.md": rights,
}


def write(directory: Path) -> None:
    """Write every generated page into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, made in PAGES.items():
        (directory / name).write_text(made(), encoding="utf-8")


def keys_of(model: type[BaseModel]) -> list[Key]:
    """The keys of a declaration that are no tables of their own."""
    docs = attribute_docs(model)
    return [
        Key(field.alias or name, _kind(field), _default(field), docs.get(name, ""))
        for name, field in model.model_fields.items()
        if _model_in(field.annotation) is None
    ]


def attribute_docs(model: type) -> dict[str, str]:
    """The texts that stand below the fields of a class, on one line each; those of its bases too."""
    docs: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if kind in (BaseModel, object):
            continue
        [declared] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(declared, ast.ClassDef)
        for field, text in pairwise(declared.body):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if (
                isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                meaning = " ".join(text.value.value.split())
                docs[field.target.id] = re.sub(r"^None: ", "Left out: ", meaning).replace("None: ", "left out: ")
    return docs


def _tables(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """A model's own keys, then each table inside it, and those inside them."""
    yield _table(keys_of(model))
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is None:
            continue
        many = get_origin(field.annotation) is tuple
        path = f"{before}{name}.NAME" if get_origin(field.annotation) is dict else f"{before}{name}"
        yield f"### `{f'[[{path}]]' if many else f'[{path}]'}`"
        yield _doc(inner) + (f" By default `{_toml(field.get_default())}`." if many and not field.is_required() else "")
        yield from _tables(inner, f"{path}.")


def _table(keys: Iterable[Key]) -> str:
    rows = [f"| `{key.name}` | {key.kind} | {key.default} | {key.meaning or '–'} |" for key in keys]
    return "| key | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows)


def _kind(field: FieldInfo) -> str:
    if field.metadata == EXPRESSION:
        return "expression"
    limits = [
        words.format(value)
        for limit in field.metadata
        for name, words in BOUNDS.items()
        if (value := getattr(limit, name, None)) is not None
    ]
    return ", ".join([_words(field.annotation), *limits])


def _words(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation == Expression:
        return "expression"
    if origin is Annotated:
        return _words(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in inner if part is not NoneType))
    if origin is list:
        return "list of " + re.sub(r"\b(list|text|number)\b", r"\1s", _words(inner[0]))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return KINDS.get(origin or annotation, "any JSON")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "–" if value is None else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    """A default as it would stand in a TOML file."""
    if isinstance(value, BaseModel):
        inside = ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.model_dump(exclude_unset=True).items())
        return f"{{ {inside} }}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, cast('tuple[Any, ...]', value)))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value}"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for part in (annotation, *get_args(annotation)):
        if inspect.isclass(part) and issubclass(part, BaseModel):
            return part
    return None


def _doc(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def _scoring(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function whose docstring says how a scorer scores: for one that only computes, the one inside."""
    inner = inspect.getclosurevars(function).nonlocals.get("function")
    return inner if callable(inner) else function


def _family(kind: type[ChangeoverError]) -> Iterator[type[ChangeoverError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _family(child)


def _command(name: str, command: Any) -> Iterator[str]:
    """One command and those below it. The library that parses commands gives its objects no types."""
    inner: Mapping[str, Any] = getattr(command, "commands", {})
    shown = [option for option in command.params if option.name not in GENERIC_OPTIONS]
    yield f"{'#' * (name.count(' ') + 1)} {name}"
    for paragraph in str(command.help).split("\n\n"):
        yield re.sub(r"^Example: (.*)", r"Example: `\1`", " ".join(paragraph.split()))
    if shown:
        yield f"`{name} {' '.join(map(_usage, shown))}`"
        yield "| | | default |\n|---|---|---|\n" + "\n".join(map(_option, shown))
    for child, below in inner.items():
        yield from _command(f"{name} {child}", below)


def _usage(option: Any) -> str:
    positional = option.param_type_name == "argument"
    shown = option.name.upper() if positional else option.opts[0]
    if not positional and not option.is_flag:
        shown += f" {option.name.upper()}"
    return shown if option.required else f"[{shown}]"


def _option(option: Any) -> str:
    shown = option.name.upper() if option.param_type_name == "argument" else option.opts[0]
    default = option.default
    plain = "required" if option.required else "" if default in (None, False, "") else f"`{default}`"
    return f"| `{shown}` | {option.help} | {plain} |"


if __name__ == "__main__":
    write(REFERENCE)
