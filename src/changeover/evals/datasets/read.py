"""Reading a dataset: a JSONL file that people write, read whole and checked before anything is measured.

One sample a line:

    {"id": "q3-report", "input": "Summarise: …", "target": {"facts": [["1,815"]]}, "tags": ["long"]}

`id`, `input` and `target` are required; `tools`, `tags`, `cluster` and `source` may be left out; other keys are
refused. `input` is a text, a list of messages, or an object of variables for the task's input template.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from changeover.core.digest import canonical_json
from changeover.core.errors import DatasetError, nearest
from changeover.evals.datasets.samples import Message, Role, Sample


@dataclass(frozen=True)
class Inputs:
    """How the inputs of a file become messages."""

    draw: Callable[[Mapping[str, Any]], str]
    """Makes the user's message of a sample's variables; ValueError says what is wrong with them."""
    texts: bool = True
    """Whether a text stands for itself; False where a template wants variables."""


SHAPE = "Write one JSON object a line: id, input, target."


class _MessageLine(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Role
    content: str | None = None
    target: str | dict[str, Any] | None = None


class _Function(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["function"]
    function: _Function


class _SampleLine(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(min_length=1, max_length=200)
    input: list[_MessageLine] = Field(min_length=1)
    target: str | dict[str, Any] = Field(min_length=1)
    tools: list[_Tool] = []
    tags: list[Annotated[str, Field(min_length=1)]] = []
    cluster: str | None = Field(default=None, max_length=200)
    source: str | None = None


_KEYS_INSIDE: Mapping[str, type[BaseModel]] = {"input": _MessageLine, "tools": _Tool}


def inputs_of(template: str | None, *, plain: bool = False) -> Inputs:
    """Variables become a message by the template; else as JSON where `plain`; else they are refused.

    Raises:
        DatasetError: The template is not Jinja.
    """
    if plain:
        return Inputs(lambda variables: json.dumps(variables, ensure_ascii=False, indent=1))
    if template is None:
        return Inputs(_no_template)
    # Jinja is large and most tasks have no template: it is imported where one is used.
    return Inputs(import_module("changeover.evals.datasets.render").InputTemplate(template), texts=False)


def read_samples(path: Path, inputs: Inputs) -> tuple[tuple[Sample, ...], dict[str, int]]:
    """The samples of a file in its order, and the line of each by id.

    Raises:
        DatasetError: The first thing that is wrong, with file and line.
    """
    samples: dict[str, Sample] = {}
    lines: dict[str, int] = {}
    for number, line in text_lines(path):
        where = f"{path}:{number}"
        sample = parse_sample(read_json(line, where), where, inputs)
        if sample.id in samples:
            raise DatasetError(
                f"{where}: id `{sample.id}` is also the sample's on line {lines[sample.id]}. "
                "Give each sample an id of its own."
            )
        samples[sample.id], lines[sample.id] = sample, number
    if not samples:
        raise DatasetError(f"{path}: the file has no sample. {SHAPE}")
    return tuple(samples.values()), lines


def parse_sample(value: Any, where: str, inputs: Inputs) -> Sample:
    """One checked sample of one JSON value.

    Raises:
        DatasetError: What is wrong; begins with `where`.
    """
    if not isinstance(value, dict):
        raise DatasetError(f"{where}: one JSON object is expected on a line, with id, input and target.")
    fields = cast("dict[str, Any]", value)
    asked, variables = fields.get("input"), None
    if isinstance(asked, str) and asked:
        if not inputs.texts:
            raise DatasetError(
                f"{where}: `input`: the task has an input template, so an object of its variables is expected (or a "
                "list of messages, which are used as they are)."
            )
        fields = {**fields, "input": [{"role": "user", "content": asked}]}
    elif isinstance(asked, dict) and asked:
        variables = cast("dict[str, Any]", asked)
        try:
            fields = {**fields, "input": [{"role": "user", "content": inputs.draw(variables)}]}
        except ValueError as exc:
            raise DatasetError(f"{where}: `input`: {exc}.") from exc
    try:
        row = _SampleLine.model_validate(fields)
    except ValidationError as exc:
        raise DatasetError(f"{where}: {_explain(exc)}") from exc
    wrong = _wrong_turn(row.input) or _wrong_tool(row.tools)
    if wrong is not None:
        raise DatasetError(f"{where}: {wrong}")
    return Sample(
        id=row.id,
        input=tuple(Message(role=line.role, content=line.content, target=line.target) for line in row.input),
        target=row.target,
        tools=tuple(fields.get("tools") or ()),
        tags=tuple(row.tags),
        cluster=row.cluster or None,
        source=row.source,
        variables=variables,
    )


def text_lines(path: Path) -> list[tuple[int, str]]:
    """Lines of a text file that are not blank, with their numbers from 1. A byte-order mark is skipped.

    Raises:
        DatasetError: There is no such file, it cannot be read, or it is not UTF-8.
    """
    # Not `splitlines`: JSON strings may hold characters that it takes for line ends.
    text = read_text(path)
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def read_text(path: Path) -> str:
    """A whole UTF-8 file, without its byte-order mark.

    Raises:
        DatasetError: There is no such file, it cannot be read, or it is not UTF-8.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"No dataset file `{path}`. Write it, or name another.") from None
    except OSError as exc:
        raise DatasetError(f"{path}: the dataset cannot be read: {exc.strerror}.") from exc
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise DatasetError(f"{path}:{line}: not UTF-8 text. Save the file as UTF-8.") from exc


def read_json(text: str, where: str) -> Any:
    """Strict JSON: no NaN, no key twice in an object, no half characters, nothing without a digest.

    Raises:
        DatasetError: What is wrong; begins with `where`.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
        canonical_json(value).encode()  # a sample needs a digest: infinities and lone surrogates have none
    except json.JSONDecodeError as exc:
        raise DatasetError(f"{where}: not JSON at column {exc.colno}: {exc.msg.lower()}.") from exc
    except UnicodeEncodeError as exc:
        raise DatasetError(f"{where}: a string holds half of a surrogate pair. Write the character itself.") from exc
    except RecursionError as exc:
        raise DatasetError(f"{where}: nested too deeply.") from exc
    except ValueError as exc:
        raise DatasetError(f"{where}: {exc}.") from exc
    return value


def _no_template(variables: Mapping[str, Any]) -> NoReturn:
    del variables
    raise ValueError(
        "an object of variables needs a template. Write one beside the task, such as `summarise.input.md` with "
        '`{{ document }}` in it, and name it in the task: `input = "summarise.input.md"`'
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"`{name}` is no JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    known = dict(pairs)
    if len(known) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key `{next(key for key in keys if keys.count(key) > 1)}` stands twice in one object")
    return known


def _wrong_turn(messages: list[_MessageLine]) -> str | None:
    """What is wrong with who speaks when, if anything."""
    for place, message in enumerate(messages):
        if message.content is None and message.role != "assistant":
            return (
                f"`input.{place}.content`: missing. Only an assistant's message may have none: the model answers there."
            )
        if message.target is not None and (message.role != "assistant" or message.content is not None):
            return (
                f"`input.{place}.target`: only where the model answers, in an assistant's message without content. "
                "The target of the last answer is the sample's."
            )
        if message.target in ("", {}):
            return f"`input.{place}.target`: empty. Say what a good answer is at this turn, or leave it out."
        if message.content is None and (place == 0 or messages[place - 1].role != "user"):
            return f"`input.{place}`: the model can only answer to a user's message. Put one before it."
    if messages[-1].role != "user":
        return "`input`: the last message must be the user's. The model answers it, and that answer's target is the sample's."
    return None


def _wrong_tool(tools: list[_Tool]) -> str | None:
    names = [tool.function.name for tool in tools]
    for place, tool in enumerate(tools):
        if names.index(tool.function.name) < place:
            return f"`tools.{place}`: a tool named `{tool.function.name}` stands there already."
        parameters = tool.function.parameters
        if parameters and parameters.get("type") != "object":
            return f'`tools.{place}.function.parameters`: a JSON Schema with `"type": "object"` is expected.'
    return None


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    kind = first["type"]
    top, *inner = (str(part) for part in first["loc"])
    key = ".".join([top, *inner])
    if kind == "extra_forbidden":
        known = _KEYS_INSIDE.get(top, _SampleLine).model_fields if inner else _SampleLine.model_fields
        return f"`{key}`: unknown key. {nearest(inner[-1] if inner else top, known)}"
    if top == "target" and (kind == "missing" or first["input"] in (None, "", {})):
        return "the sample has no target. Say what a good answer is, as a string or an object."
    if kind == "missing":
        return f"`{key}`: missing. Add it."
    if top == "target":
        return "`target`: a string or an object is expected."
    if top == "input" and not inner:
        return "`input`: a text, an object of variables, or a list of messages with role and content is expected."
    if top == "input" and "target" in inner:
        return f"`input.{inner[0]}.target`: a string or an object is expected."
    if top == "tools":
        return f"`{key}`: {first['msg'].lower()}. A tool is written as the OpenAI API does."
    return f"`{key}`: {first['msg'].lower()}."
