"""A project with small tools on the echo engine: one of each kind that a way in has to carry."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.projects import write_project

from changeover.app.shipped_tools import add_tools, new_tool

SHIPPED = "document-summary"
TASK = """\
description = "Says it again."
prompt = "{task}.prompt.md"
dataset = "{task}.jsonl"
first_incumbent = "echo"
[parameters]
temperature = 0.0
[scorer]
name = "contains"
"""
TALK = """\
title = "Talk"
description = "Says again what was said last."
[inputs.history]
type = "conversation"
required = false
max_items = 4
[inputs.message]
type = "text"
[inputs.ending]
type = "text"
default = ""
min_chars = 0
[[steps]]
name = "reply"
do = "call"
task = "say"
messages = "(history or []) + [{'role': 'user', 'content': message ~ ending}]"
[output]
value = { reply = "reply", turns = "(history or []) | length" }
text = "reply"
schema_file = "output.schema.json"
[chat]
history = "history"
message = "message"
greeting = "Say something."
[example]
message = "hello there"
"""
WAITS = """\
title = "Waits"
description = "Takes a while, in two steps, without asking anybody."
[inputs.seconds]
type = "number"
default = 0
[inputs.until]
type = "text"
description = "A file: it waits until that is there."
required = false
[inputs.words]
type = "list"
required = false
[[steps]]
name = "slept"
do = "function"
file = "wait.py"
call = "wait"
give = { seconds = "seconds", until = "until" }
[[steps]]
name = "slept_again"
do = "function"
file = "wait.py"
call = "wait"
give = { seconds = "0" }
[output]
value = { seconds = "slept", words = "words or []" }
text = "'waited for ' ~ slept"
schema_file = "output.schema.json"
[example]
seconds = 0
"""
SLOW_READER = """\
title = "Slow reader"
description = "Takes a minute over any file."
[inputs.document]
type = "document"
[[steps]]
name = "slept"
do = "function"
file = "wait.py"
call = "wait"
give = { seconds = "60" }
[output]
value = { seconds = "slept" }
text = "'read'"
schema_file = "output.schema.json"
[example]
document = "@wait.py"
"""
WAIT = """\
import os
import time


def wait(seconds, until=None):
    time.sleep(seconds)
    while until and not os.path.exists(until):
        time.sleep(0.02)
    return seconds
"""
SCHEMA = {"type": "object"}


def write_tools_project(directory: Path) -> Path:
    """Write a project with five tools.

    * `document-summary`, as it is shipped: reads a file, gives citations
    * `headline`, as `changeover tool new` writes it: a text, and a number
    * `talk`: a conversation
    * `waits`: takes as long as it is told, or until a file is there, and asks no task
    * `slow-reader`: takes a file, and a minute
    """
    write_project(directory)
    tools = directory / "tools"
    add_tools(tools, [SHIPPED])
    for task in (tools / SHIPPED / "tasks").glob("*.toml"):
        lines = task.read_text().splitlines()
        named = ['first_incumbent = "echo"' if line.startswith("first_incumbent") else line for line in lines]
        task.write_text("\n".join(named) + "\n")
    new_tool(tools, "headline", title=None, first_incumbent="echo")
    _write(tools / "talk", TALK, task="say")
    _write(tools / "waits", WAITS, task=None)
    _write(tools / "slow-reader", SLOW_READER, task=None)
    for name in ("waits", "slow-reader"):
        (tools / name / "wait.py").write_text(WAIT)
    return directory


def _write(folder: Path, declared: str, *, task: str | None) -> None:
    folder.mkdir()
    (folder / "tool.toml").write_text(declared)
    (folder / "output.schema.json").write_text(json.dumps(SCHEMA))
    if task is not None:
        tasks = folder / "tasks"
        tasks.mkdir()
        (tasks / f"{task}.toml").write_text(TASK.format(task=task))
        (tasks / f"{task}.prompt.md").write_text("Say it again.\n")
        samples = [{"id": f"s{n}", "input": f"sample {n}: please say ok", "target": "ok"} for n in range(5)]
        (tasks / f"{task}.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
