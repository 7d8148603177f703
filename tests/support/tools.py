"""Tools for tests: folders written in a few lines, and run with a caller that answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from changeover.tasks.declarations import Tasks, load_tool_tasks
from changeover.tools.caller import Answered
from changeover.tools.check import check_tool
from changeover.tools.declarations import Tool
from changeover.tools.documents.reader import Limits
from changeover.tools.load import load_tool
from changeover.tools.means import Journal, Means, NoJournal
from changeover.tools.runner import run_tool
from changeover.tools.values import Document, File, Outcome, Page, Progress

ANYTHING = '{"type": "object"}'
HEAD = """
title = "A tool"
description = "For a test."
"""
TASK = """
description = "For a test."
prompt = "ask.prompt.md"
dataset = "ask.jsonl"
first_incumbent = "echo"
scorer.name = "exact"
"""

Messages = Sequence[Mapping[str, Any]]
Reply = str | Exception | Answered


def write_tool(root: Path, toml: str, *, name: str = "tool", tasks: Sequence[str] = ("ask",), **files: str) -> Tool:
    """Write a tool's folder and read it.

    Args:
        root: Directory of tools.
        toml: What follows the title and the description.
        name: Of the tool.
        tasks: Names of its own; each gets an input template where `files` has `NAME_input`.
        files: Further texts; `__` in a name is a point, so `out__json` is `out.json`.
    """
    folder = root / name
    (folder / "tasks").mkdir(parents=True, exist_ok=True)
    (folder / "tool.toml").write_text(HEAD + toml, encoding="utf-8")
    (folder / "out.json").write_text(ANYTHING, encoding="utf-8")
    for task in tasks:
        template = files.pop(f"{task}_input", None)
        declared = TASK + (f'input = "{task}.input.md"\n' if template is not None else "")
        (folder / "tasks" / f"{task}.toml").write_text(declared, encoding="utf-8")
        (folder / "tasks" / "ask.prompt.md").write_text("You answer.", encoding="utf-8")
        (folder / "tasks" / "ask.jsonl").write_text("", encoding="utf-8")
        if template is not None:
            (folder / "tasks" / f"{task}.input.md").write_text(template, encoding="utf-8")
    for file, text in files.items():
        (folder / file.replace("__", ".")).write_text(text, encoding="utf-8")
    tool = load_tool(folder)
    check_tool(tool, load_tool_tasks(root))
    return tool


@dataclass
class Scripted:
    """Answers tasks by a function of the last message, or by one text after the other; keeps what it was asked."""

    answer: Callable[[str], Reply] | Sequence[Reply] | str = "fine"
    asked: list[tuple[str, list[Mapping[str, Any]]]] = field(default_factory=list)
    pieces: Sequence[str] = ()
    """Sent before the answer, where somebody listens."""

    async def ask(self, task: str, messages: Messages, *, on_text: Callable[[str], None] | None = None) -> Answered:
        self.asked.append((task, list(messages)))
        for piece in self.pieces if on_text is not None else ():
            on_text(piece)
        reply = self._reply(str(messages[-1]["content"]))
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, Answered):
            return reply
        return Answered(text=reply, deployment="small", revision=3, prompt_tokens=7, completion_tokens=2)

    def _reply(self, message: str) -> Reply:
        if isinstance(self.answer, str):
            return self.answer
        if callable(self.answer):
            return self.answer(message)
        return self.answer[min(len(self.asked), len(self.answer)) - 1]

    @property
    def messages(self) -> list[str]:
        """The last message of each asking."""
        return [str(messages[-1]["content"]) for _, messages in self.asked]


@dataclass
class TextReader:
    """Reads files as texts, with a form feed between pages and tabs between cells."""

    read_names: list[str] = field(default_factory=list)

    async def read(
        self,
        file: File,
        limits: Limits,
        *,
        ocr: Literal["auto", "always", "never"] = "auto",
        on_page: Callable[[int, int], None] | None = None,
    ) -> Document:
        del limits, ocr
        self.read_names.append(file.name)
        texts = file.data.decode().split("\f")
        for number in range(len(texts)):
            if on_page is not None:
                on_page(number + 1, len(texts))
        pages = [Page(number=number, label=f"p. {number}", text=text) for number, text in enumerate(texts, start=1)]
        kind: Literal["csv", "text"] = "csv" if file.name.endswith(".csv") else "text"
        return Document(name=file.name, kind=kind, pages=pages)

    async def close(self) -> None:
        pass


@dataclass
class Kept:
    """A journal in memory; what is kept must be JSON."""

    values: dict[str, str] = field(default_factory=dict)

    def kept(self, place: str) -> Any | None:
        return json.loads(self.values[place]) if place in self.values else None

    async def keep(self, place: str, value: Any) -> None:
        assert place not in self.values, f"{place} is kept twice"
        self.values[place] = json.dumps(value)


@dataclass
class Bench:
    """Runs one tool."""

    tool: Tool
    cache: Path
    caller: Scripted = field(default_factory=Scripted)
    reader: TextReader = field(default_factory=TextReader)
    journal: Journal = field(default_factory=NoJournal)
    pool: Executor | None = None
    progress: list[Progress] = field(default_factory=list)

    @property
    def tasks(self) -> Tasks:
        return load_tool_tasks(self.tool.folder.parent)

    async def run(self, *, stream: bool = False, **given: Any) -> Outcome:
        """Run it on inputs."""
        means = Means(
            caller=self.caller,
            reader=self.reader,
            tasks=self.tasks,
            cache=self.cache,
            journal=self.journal,
            pool=self.pool,
        )
        return await run_tool(self.tool, given, means, on_progress=self.progress.append, stream=stream)


def bench(
    root: Path,
    steps: str,
    *,
    answer: Callable[[str], Reply] | Sequence[Reply] | str = "fine",
    inputs: str = 'text = { type = "text", required = false, min_chars = 0 }',
    output: str = "",
    value: str = "{ value = 'result' }",
    text: str = "result",
    more: str = "",
    example: str = "{}",
    **files: str,
) -> Bench:
    """A tool of some steps, of which one is called `result`, ready to run."""
    toml = (
        f"{more}\nexample = {example}\nsteps = [\n{steps}\n]\n"
        f'[inputs]\n{inputs}\n[output]\nvalue = {value}\ntext = "{text}"\nschema_file = "out.json"\n{output}\n'
    )
    return Bench(tool=write_tool(root, toml, **files), cache=root / "cache", caller=Scripted(answer))
