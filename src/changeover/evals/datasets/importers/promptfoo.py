"""Importing promptfoo's tests: variables, prompts and assertions of a `promptfooconfig.yaml`."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from changeover.core.errors import DatasetError
from changeover.evals.datasets.importers.base import Draft, Imported, as_list, as_table, tags_of
from changeover.evals.datasets.importers.rows import objects
from changeover.evals.datasets.read import read_text
from changeover.evals.datasets.render import InputTemplate

Table = Mapping[str, Any]

FILE = "file://"
MOST_COMBINATIONS = 1_000
"""Of list values in one test."""
NO_TARGETS = frozenset({"cost", "latency", "perplexity", "finish-reason"})
"""Assertions about an answer's price or speed: measures of a task, targets of no sample."""


class _Loader(yaml.SafeLoader):
    """YAML as promptfoo reads it (1.2): `yes` and `12:30` are texts, not truth values and minutes."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)(?:[eE][-+]?[0-9]+)?", "-+0123456789"),
):
    yaml.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first), _Loader)


@dataclass
class Wanted:
    """What the assertions of one test ask of an answer, by the scorer that could check it."""

    exact: list[str] = field(default_factory=list[str])
    all: list[str] = field(default_factory=list[str])
    any: list[str] = field(default_factory=list[str])
    patterns: list[str] = field(default_factory=list[str])
    schema: dict[str, Any] | None = None
    ignore_case: bool = False

    @property
    def scorers(self) -> list[str]:
        """Scorers that could check something of it."""
        kinds = {
            "exact": self.exact,
            "contains": self.all or self.any or self.exact,
            "json-schema": self.schema is not None,
            "regex": self.patterns,
        }
        return [name for name, there in kinds.items() if there]

    def target(self, scorer: str) -> Any:
        """The target for a scorer; None if it has none."""
        if scorer not in self.scorers:
            return None
        if scorer == "exact":
            return self.exact[0] if len(self.exact) == 1 else {"any": self.exact}
        if scorer == "contains":
            both = {"all": [*self.all, *self.exact], "any": self.any}
            return {key: texts for key, texts in both.items() if texts}
        if scorer == "regex":
            return {"all": self.patterns}
        return {"schema": self.schema}


def import_promptfoo(path: Path, found: Imported) -> None:
    """Add every test of a configuration.

    Variables become variables of an input template, which the first prompt is; one that is a conversation gives the
    task's prompt and the template. What asserts nothing that a target can say is named and left out.
    """
    config = _mapping(_yaml(path), path)
    _take_prompt(config, path, found)
    default = _mapping(config.get("defaultTest") or {}, path)
    tests = list(_tests(config.get("tests"), path))
    if not tests:
        raise DatasetError(f"{path}: no `tests`. They are what would be imported.")
    unmapped: Counter[str] = Counter()
    read: list[tuple[str, dict[str, Any], Wanted, Table]] = []
    for where, test in tests:
        asserts = [*_list(default.get("assert")), *_list(test.get("assert"))]
        variables = {**_mapping(default.get("vars") or {}, path), **_mapping(test.get("vars") or {}, path)}
        read += [(where, one, _wanted(asserts, one, unmapped), test) for one in _combinations(variables, path)]
    found.scorer = _commonest(wanted for _, _, wanted, _ in read)
    found.options = {"ignore_case": True} if any(wanted.ignore_case for _, _, wanted, _ in read) else {}
    for kind, count in unmapped.most_common():
        found.note(f"not imported: {count} × `{kind}`, which no target can say")
    for where, variables, wanted, test in read:
        target = wanted.target(found.scorer)
        if target is None:
            found.skip(where, f"no assertion of this test can be a target for the scorer `{found.scorer}`.")
        elif not variables:
            found.skip(where, "the test has no `vars`, so every case would ask the same.")
        else:
            metadata = _mapping(test.get("metadata") or {}, path)
            tags = [tag for key in ("tags", "category", "difficulty") for tag in tags_of(metadata.get(key))]
            fields = {"input": _input(variables, found), "target": target, "tags": tags}
            found.drafts.append(Draft(fields=fields, where=where))


def _take_prompt(config: Table, path: Path, found: Imported) -> None:
    """The task's prompt and its input template, from the first prompt that is text."""
    prompts = [text for prompt in _list(config.get("prompts")) if (text := _prompt_text(prompt, path)) is not None]
    if len(prompts) > 1:
        found.note(
            f"{len(prompts)} prompts: the first one is taken; a prompt is a variant here, and switched like a model"
        )
    if not prompts:
        found.note("no prompt in text: write the task's prompt and its input template")
        return
    try:
        messages = json.loads(prompts[0])
    except ValueError:
        found.template = prompts[0]
        return
    said = [(str(one.get("role")), str(one.get("content"))) for one in map(as_table, as_list(messages))]
    systems, users = ([text for role, text in said if role == kind] for kind in ("system", "user"))
    if len(users) != 1 or len(systems) > 1 or len(said) != len(systems) + 1:
        found.note("the prompt is a conversation: only its variables are taken; write the input template")
        return
    found.template = users[0]
    if systems and "{{" in systems[0]:
        found.template = f"{systems[0]}\n\n{users[0]}"
    elif systems:
        found.prompt = systems[0]


def _prompt_text(prompt: Any, path: Path) -> str | None:
    if isinstance(prompt, dict):
        prompt = cast("Table", prompt).get("raw") or cast("Table", prompt).get("id")
    if not isinstance(prompt, str):
        return None
    if not prompt.startswith(FILE) and not (prompt.endswith((".txt", ".md", ".json")) and "\n" not in prompt):
        return prompt
    file = _beside(prompt, path)
    return read_text(file).strip() if file.suffix in (".txt", ".md", ".json") else None


def _input(variables: dict[str, Any], found: Imported) -> Any:
    """A single variable without a template is the question itself."""
    if found.template is None and len(variables) == 1:
        [value] = variables.values()
        return str(value)
    if found.template is None:
        return variables
    used = InputTemplate(found.template).names
    unused = sorted(variables.keys() - used)
    if unused:
        found.note(f"not used by the prompt, left out: {', '.join(unused)}")
    return {name: value for name, value in variables.items() if name in used}


def _tests(tests: Any, path: Path) -> Iterator[tuple[str, Table]]:
    if isinstance(tests, str):
        yield from _tests_in(_beside(tests, path))
        return
    for number, test in enumerate(_list(tests), start=1):
        if isinstance(test, str):
            yield from _tests_in(_beside(test, path))
        else:
            yield f"{path}: test {number}", _mapping(test, path)


def _tests_in(file: Path) -> Iterator[tuple[str, Table]]:
    """Tests in a file of their own."""
    if file.suffix in (".yaml", ".yml"):
        for number, test in enumerate(_list(_yaml(file)), start=1):
            yield f"{file}: test {number}", _mapping(test, file)
    elif file.suffix in (".json", ".jsonl"):
        for where, test in objects(file):
            yield where, _mapping(test, file)
    elif file.suffix == ".csv":
        for number, cells in enumerate(csv.DictReader(io.StringIO(read_text(file), newline="")), start=2):
            variables = {name: value for name, value in cells.items() if not str(name).startswith("__")}
            asserts = [
                _from_cell(value) for name, value in cells.items() if str(name).startswith("__expected") and value
            ]
            yield f"{file}:{number}", {"vars": variables, "assert": asserts}
    else:
        raise DatasetError(f"{file}: tests that code makes cannot be imported. Write them out as YAML, JSON or CSV.")


def _from_cell(cell: str) -> Table:
    """`contains: x` in a cell; without a known type before the colon, the whole answer."""
    kind, colon, value = cell.partition(":")
    if colon and kind.strip().replace("-", "").isalnum() and kind.strip().islower() and "\n" not in kind:
        kind = kind.strip()
        values = [part.strip() for part in value.split(",")] if kind.endswith(("-any", "-all")) else value.strip()
        return {"type": kind, "value": values}
    return {"type": "equals", "value": cell}


def _combinations(variables: Table, path: Path) -> Iterator[dict[str, Any]]:
    """One set of variables for each combination of values in lists, as promptfoo runs them."""
    choices = [cast("list[Any]", value) if isinstance(value, list) else [value] for value in variables.values()]
    for number, values in enumerate(itertools.product(*choices)):
        if number >= MOST_COMBINATIONS:
            raise DatasetError(f"{path}: a test has more than {MOST_COMBINATIONS} combinations of its variables.")
        yield {name: _value(value, path) for name, value in zip(variables, values, strict=True)}


def _value(value: Any, path: Path) -> Any:
    return read_text(_beside(value, path)).strip() if isinstance(value, str) and value.startswith(FILE) else value


def _wanted(asserts: list[Any], variables: dict[str, Any], unmapped: Counter[str]) -> Wanted:
    wanted = Wanted()
    for one in asserts:
        if isinstance(one, dict) and cast("Table", one).get("type") == "assert-set":
            inner = _wanted(_list(cast("Table", one).get("assert")), variables, unmapped)
            for name in ("exact", "all", "any", "patterns"):
                getattr(wanted, name).extend(getattr(inner, name))
            wanted.schema, wanted.ignore_case = wanted.schema or inner.schema, wanted.ignore_case or inner.ignore_case
        elif isinstance(one, dict):
            _add(wanted, cast("Table", one), variables, unmapped)
    return wanted


def _add(wanted: Wanted, one: Table, variables: dict[str, Any], unmapped: Counter[str]) -> None:
    kind, value = str(one.get("type")), one.get("value")
    texts = [_filled(str(text), variables) for text in _list(value)]
    plain = bool(texts) and not any(text.startswith(FILE) for text in texts)
    if kind == "equals" and plain and not isinstance(value, dict):
        wanted.exact += texts
    elif kind in ("contains", "icontains", "contains-all", "icontains-all") and plain:
        wanted.all += texts
        wanted.ignore_case |= kind.startswith("i")
    elif kind in ("contains-any", "icontains-any") and plain and not wanted.any:
        wanted.any += texts
        wanted.ignore_case |= kind.startswith("i")
    elif kind == "regex" and plain:
        wanted.patterns += texts
    elif kind in ("is-json", "contains-json") and (value is None or isinstance(value, dict)):
        wanted.schema = cast("dict[str, Any]", value or {})
    elif kind not in NO_TARGETS:
        unmapped[kind] += 1
    else:
        unmapped[f"{kind} (see `measures` and the gate)"] += 1


def _filled(text: str, variables: dict[str, Any]) -> str:
    """An expected value with the test's variables put in."""
    if "{{" not in text:
        return text
    template = InputTemplate(text)
    try:
        return template({name: value for name, value in variables.items() if name in template.names})
    except ValueError:
        return text


def _commonest(tests: Iterator[Wanted]) -> str:
    """The scorer that can check most tests; the strictest of several."""
    counted = Counter(name for wanted in tests for name in wanted.scorers)
    return max(("exact", "json-schema", "regex", "contains"), key=lambda name: counted[name])


def _yaml(path: Path) -> Any:
    try:
        return yaml.load(read_text(path), Loader=_Loader)
    except yaml.MarkedYAMLError as exc:
        line = "" if exc.problem_mark is None else f":{exc.problem_mark.line + 1}"
        raise DatasetError(f"{path}{line}: no YAML: {exc.problem}.") from exc
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        raise DatasetError(f"{path}: no YAML: {' '.join(str(exc).split())}.") from exc


def _beside(name: str, path: Path) -> Path:
    """A file that a configuration names. It must lie in the configuration's directory or below."""
    file = (path.parent / name.removeprefix(FILE)).resolve()
    if not file.is_relative_to(path.parent.resolve()):
        raise DatasetError(f"{path}: `{name}` lies outside its directory. Copy it there.")
    return file


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _mapping(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DatasetError(f"{path}: a table of names is expected where `{str(value)[:40]}` stands.")
    return {str(key): inner for key, inner in cast("dict[Any, Any]", value).items()}
