"""Tools as people declare them: a folder each, `tool.toml` in it, checked whole when it is read.

    document-summary/
      tool.toml                  purpose, inputs, steps, output
      example.pdf                what `[example]` names
      tasks/summarise.toml       the task `document-summary.summarise`, its prompt, its dataset beside it

Values are named by expressions: Jinja's, in its sandbox, without the braces. They see the inputs and what earlier steps
made, each by its name. No tool names a model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from changeover.core import toml
from changeover.core.errors import UnknownToolError, nearest
from changeover.tasks.declarations import Record, Tier

TOOL_FILE = "tool.toml"
TOOL_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
VALUE_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""Of inputs and steps: they are names in expressions."""

Expression = Annotated[str, Field(min_length=1, max_length=2_000)]
"""Such as `part.text`, `'short'`, `pages | length > 3`."""

InputType = Literal[
    "text", "document", "documents", "image", "table", "conversation", "choice", "number", "flag", "list"
]
FILES: frozenset[InputType] = frozenset({"document", "documents", "image", "table"})
"""Types whose value is a file, or several."""


class InputDeclaration(toml.Declared):
    """One thing that a tool is given."""

    type: InputType
    """`text`; `document`, a file of any kind that can be read (`documents`: several of them); `image`, a scan or a photo;
    `table`, a CSV or XLSX file; `conversation`, a list of messages with `role` and `content`; `choice`, one of
    `choices`; `number`; `flag`, true or false; `list`, of texts."""
    description: str = ""
    """One line, for people and agents."""
    required: bool = True
    """What need not be given is then an empty text or list, false, or none."""
    default: str | float | bool | None = None
    """Where nothing is given; makes it optional."""
    choices: tuple[str, ...] = ()
    """What a choice is one of."""
    min_chars: int = Field(default=1, ge=0)
    """Of a text."""
    max_chars: int | None = Field(default=None, ge=1, le=20_000_000)
    """Of a text, or of all that is read from a file; None: 200,000 of a text, 3,000,000 of a file."""
    max_mib: float = Field(default=25.0, gt=0, le=512)
    """Of each file."""
    max_pages: int = Field(default=500, ge=1, le=10_000)
    """Of a document: pages, slides, sheets."""
    max_items: int = Field(default=50, ge=1, le=10_000)
    """Of a conversation, a list, or several documents."""
    minimum: float | None = None
    """Of a number."""
    maximum: float | None = None
    """Of a number."""

    @model_validator(mode="after")
    def _whole(self) -> InputDeclaration:
        if (self.type == "choice") != bool(self.choices):
            raise ValueError('`choices` are for `type = "choice"`, which needs them')
        if self.type == "choice" and self.default is not None and self.default not in self.choices:
            raise ValueError(f"`default` is none of the choices ({', '.join(self.choices)})")
        return self

    @property
    def most_chars(self) -> int:
        """The limit that holds."""
        return self.max_chars or (3_000_000 if self.type in FILES else 200_000)

    @property
    def optional(self) -> bool:
        """Whether it may be left out."""
        return not self.required or self.default is not None


class _Step(toml.Declared):
    name: str = Field(pattern=VALUE_NAME.pattern)
    """What its result is called in later expressions."""
    when: Expression | None = None
    """Where this is false the step is left out, and its result is none."""


class ExtractStep(_Step):
    """Reads a file: its pages with their text, by OCR where they are pictures. Makes a document, see `values`."""

    do: Literal["extract"]
    file: Expression
    """An input that is a file, or several: then the result is a list."""
    ocr: Literal["auto", "always", "never"] = "auto"
    """`auto`: pages without a text of their own."""


class SplitStep(_Step):
    """Cuts a document, or a text, into parts at paragraphs and sentences; each knows its pages."""

    do: Literal["split"]
    source: Expression
    """A document, a text, or a list of them."""
    max_chars: int = Field(default=6_000, ge=200, le=200_000)
    """Of one part."""
    overlap_chars: int = Field(default=0, ge=0, le=2_000)
    """Of the part before, that a part begins with."""


class _Asks(_Step):
    task: str
    """One of the tool's own (`summarise` is the file `tasks/summarise.toml`), or a task of the project."""
    give: dict[str, Expression] = Field(default_factory=dict)
    """Variables of the task's input template, each an expression. A task without a template takes one: `text`."""
    answer: Literal["text", "json"] = "text"
    """`json`: the answer is read as JSON, in a fenced block or among words too; where it is none it is asked for once
    more."""


class CallStep(_Asks):
    """Asks a task once."""

    do: Literal["call"]
    messages: Expression | None = None
    """Instead of `give`: a conversation, the last message the user's."""


class MapStep(_Asks):
    """Asks a task for each member of a list, several at once. The results are in the list's order."""

    do: Literal["map"]
    over: Expression
    """The list."""
    each: str = Field(default="each", pattern=VALUE_NAME.pattern)
    """What a member is called in `give`; `index` counts from 0."""
    at_once: int = Field(default=4, ge=1, le=32)
    """Askings under way at a time."""


class ReduceStep(_Asks):
    """Makes one text of a list: asks a task about as many members as fit, then about what came of them, until one is left.

    A list of one is not asked about.
    """

    do: Literal["reduce"]
    over: Expression
    """The list."""
    joined: str = Field(default="joined", pattern=VALUE_NAME.pattern)
    """What the members of one asking are called in `give`, joined by empty lines."""
    max_chars: int = Field(default=6_000, ge=200, le=200_000)
    """Of the members of one asking together."""
    at_once: int = Field(default=4, ge=1, le=32)
    """Askings under way at a time."""


class LookUpStep(_Step):
    """Finds what belongs to a question: passages of a text by meaning and words, or rows of a table by their terms."""

    do: Literal["look-up"]
    question: Expression
    """A text in any language."""
    source: Expression
    """Parts, a document, documents, a table; or `knowledge.NAME`, a folder that `[knowledge]` names."""
    find: Literal["passages", "terms"] = "passages"
    """`terms`: rows of a table, or entries of a glossary, whose first column stands in the question."""
    most: int = Field(default=5, ge=1, le=50)
    """Passages, or rows."""


class CiteStep(_Step):
    """Says for each sentence of a text, or member of a list, which passages bear it out: with page and score.

    The model is not asked: it holds whichever answers. A sentence with a figure or a name that its place has not is not
    borne out; one that says *not* of what its place says, or the other way round, has a `problem`.
    """

    do: Literal["cite"]
    text: Expression
    """A text, whose sentences are looked for, or a list."""
    source: Expression
    """Parts, passages, or a document."""
    least: float = Field(default=0.35, ge=0, le=1)
    """Lowest share of a sentence's words, or figures, that must stand in a passage for it to count as its source."""


class CheckDeclaration(toml.Declared):
    """One condition on a value."""

    check: Literal[
        "schema",
        "figures",
        "quotes",
        "one-of",
        "language",
        "sql",
        "python",
        "max-words",
        "not-empty",
        "pages",
        "function",
    ]
    """`schema`: it meets the JSON schema in `schema_file`; `figures`: every number of it stands in `source`, however it is
    written (1,815 is 1815, and rounds to 1.8 thousand; 3 is three); `quotes`: every text of it stands word for word in `source`, white
    space, quotes and hyphens aside; `one-of`: it is one of `source`; `language`: it is in the language of `source`, a
    text, or a code such as `'ja'`; `sql`: it runs on an empty SQLite database made by the statements in `source`, and only
    reads; `python`: it is Python that compiles; `max-words`: each text of it has no more words than `most`; `not-empty`:
    it holds something; `pages`: every page of it is one of the document `source`; `function`: the function of the tool's
    folder, given the value, and `source` where there is one, returns none, and not what is wrong."""
    source: Expression | None = None
    """What the value is compared with."""
    field: str | None = None
    """Key, or keys with dots, of what is looked at in a JSON value; of a list, in each member."""
    most: int | None = Field(default=None, ge=1)
    """Words."""
    schema_file: str | None = None
    """JSON schema beside `tool.toml`."""
    file: str | None = None
    """Python file beside `tool.toml`."""
    call: str | None = None
    """The function in it."""


class ValidateStep(_Step):
    """Checks a value. Its result is the value, mended where that was needed."""

    do: Literal["validate"]
    value: Expression
    """What is checked: a text, or JSON."""
    checks: tuple[CheckDeclaration, ...] = Field(min_length=1)
    repair: str | None = None
    """Name of the call whose answer this is: it is asked again, and shown what was wrong."""
    tries: int = Field(default=1, ge=0, le=3)
    """How often."""
    otherwise: Literal["fail", "drop", "flag"] = "fail"
    """After that: `fail`, the tool ends with an error; `drop`, sentences or members at fault are left out,
    all of them where need be, unless a check is `not-empty`; `flag`, the value stays and `problems` of the result says what
    is wrong with it."""


class RenderStep(_Step):
    """Fills in a Jinja template: makes a text."""

    do: Literal["render"]
    template: str
    """File beside `tool.toml`, such as `answer.md`. It sees every input and result."""


class FunctionStep(_Step):
    """Calls a Python function of the organisation's own, in a process of its own: JSON goes in, JSON comes out.

    A `ValueError` that it raises before a task was asked is about what the caller gave: the caller is told so (400).

    It can read the tool's folder and the libraries of Python; the rest of the machine, and the network, are closed to it.
    """

    do: Literal["function"]
    file: str
    """Python file beside `tool.toml`."""
    call: str
    """The function in it."""
    give: dict[str, Expression] = Field(default_factory=dict)
    """Its keyword arguments."""
    timeout_s: float = Field(default=30, gt=0, le=600)
    """Then it is ended."""
    memory_mib: int = Field(default=512, ge=64, le=16_384)
    """Most that it may take."""


StepDeclaration = Annotated[
    ExtractStep
    | SplitStep
    | CallStep
    | MapStep
    | ReduceStep
    | LookUpStep
    | CiteStep
    | ValidateStep
    | RenderStep
    | FunctionStep,
    Field(discriminator="do"),
]
ASKING = (CallStep, MapStep, ReduceStep)
"""Steps that ask a task."""


class OutputDeclaration(toml.Declared):
    """What the tool gives, whichever model answers."""

    value: dict[str, Expression]
    """The JSON object: each key an expression."""
    text: Expression
    """What a person reads."""
    citations: Expression | None = None
    """A result of `cite` or `look-up`."""
    schema_file: str
    """JSON schema beside `tool.toml` that `value` always meets: the contract. What does not is never given out."""
    media_type: str = "text/markdown"
    """Of the text."""
    extension: str = ".md"
    """Of a file that the text is written to."""


class KnowledgeDeclaration(toml.Declared):
    """A folder of documents that a tool may look things up in."""

    folder: str
    """Relative to the tool's folder. Everything in it is read once, and again when a file changes."""
    description: str = ""


class AccessDeclaration(toml.Declared):
    """Who may use it, beside whoever's key may call all its tasks."""

    teams: tuple[str, ...] = ()
    """Only their keys; empty: any."""
    keys: tuple[str, ...] = ()
    """Only keys of these names; empty: any."""


class ChatDeclaration(toml.Declared):
    """A tool that is talked with."""

    history: str
    """The input that is the conversation so far."""
    message: str
    """The input that is what is said now."""
    greeting: str = ""
    """What a person reads first."""


class ToolDeclaration(toml.Declared):
    """`tool.toml`."""

    title: str = Field(min_length=1, max_length=80)
    """What people call it."""
    description: str = Field(min_length=1, max_length=400)
    """What it is for, in one or two sentences, for people and agents."""
    group: str = "Other"
    """What it is listed under."""
    tier: Tier = "low"
    """What is at stake. Its tasks state theirs themselves; none may be below this."""
    record: Record = "metadata"
    """The most that is kept of a run, in the words of a task's `record`: none of its tasks may keep more. Inputs of a job
    are kept until it is done, and its result for `jobs.keep_hours`."""
    timeout_s: float = Field(default=600, gt=0, le=86_400)
    """For the whole run."""
    side_effects: Literal["none"] = "none"
    """What it does to the world. Tools that act do not exist."""
    inputs: dict[str, InputDeclaration] = Field(min_length=1)
    steps: tuple[StepDeclaration, ...] = Field(min_length=1)
    output: OutputDeclaration
    knowledge: dict[str, KnowledgeDeclaration] = Field(default_factory=dict)
    access: AccessDeclaration = AccessDeclaration()
    chat: ChatDeclaration | None = None
    example: dict[str, Any]
    """Inputs to try it with; `@example.pdf` is the file beside this one."""

    @model_validator(mode="after")
    def _names(self) -> ToolDeclaration:
        for name in self.inputs:
            if not VALUE_NAME.fullmatch(name):
                raise ValueError(f"`inputs.{name}`: use lower-case letters, digits and `_`, a letter first")
        names = [*self.inputs, *(step.name for step in self.steps)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"`{twice}` is the name of two inputs or steps. Give each its own")
        if self.chat is not None:
            for key, wanted in (("history", "conversation"), ("message", "text")):
                named = self.inputs.get(getattr(self.chat, key))
                if named is None or named.type != wanted:
                    raise ValueError(f"`chat.{key}` must name an input of type `{wanted}`")
        return self


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A declared tool, and where its files are."""

    name: str
    folder: Path
    declared: ToolDeclaration
    digest: str
    """Of every file in the folder but datasets: what it does."""
    own_tasks: tuple[str, ...]
    """Names of the tasks that its folder declares, without the tool's. As it was read: who may run a tool, and whom it asks,
    hang on no folder that somebody removes."""

    def task_of(self, step: CallStep | MapStep | ReduceStep) -> str:
        """The whole name of the task that a step asks."""
        return self.full_name(step.task)

    def full_name(self, task: str) -> str:
        """The whole name of a task as the tool's steps name it."""
        return f"{self.name}.{task}" if task in self.own_tasks else task

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Whole names of every task that it asks, in the order of its steps."""
        asked = (self.task_of(step) for step in self.declared.steps if isinstance(step, ASKING))
        return tuple(dict.fromkeys(asked))


class Tools(toml.Declarations[Tool]):
    """Declared tools by name, which is that of the folder."""


def find_tool(tools: Tools, name: str) -> Tool:
    """Get a tool by name, or say which there are.

    Raises:
        UnknownToolError: There is none.
        ConfigError: Its files are broken.
    """
    try:
        return tools[name]
    except KeyError:
        raise UnknownToolError(f"No tool named `{name[:200]}`. {nearest(name[:200], tools)}") from None
