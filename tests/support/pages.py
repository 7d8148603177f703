"""The pages of the documentation, and the blocks of code on them.

A block's info string may say, after its language, what becomes of it in the tests:

* nothing: it is run as it stands, or validated where it is data
* `exit="1"`: the same, and its last command ends with that status
* `ranby="test_name"`: that test, or that file of tests, runs it, or its commands on a project of its own
* `norun="needs a GPU"`: it cannot be run here, and why; its commands are still parsed
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"^[ ]*```([^\n`]*)\n(.*?)^[ ]*```$", re.MULTILINE | re.DOTALL)
INFO = re.compile(r"""^(?P<language>\w*)(?P<rest>(?: \w+="[^"]*")*)$""")
KNOWN = frozenset({"exit", "ranby", "norun"})


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    """Of its opening fence, from 1."""
    language: str
    says: Mapping[str, str]
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def repository() -> Iterator[Path]:
    """Every file that belongs to the repository: nothing hidden, made or installed."""
    # A further working tree has a file of that name, which holds a path of this machine.
    made = {".git", *(line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines())}
    for directory, inside, files in os.walk(ROOT):
        inside[:] = [d for d in inside if d not in made and (d == ".ci" or not d.startswith(".")) and "." not in d[1:]]
        yield from (Path(directory) / file for file in files if file not in made)


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in their order.

    Raises:
        ValueError: An info string is not of the form above.
    """
    text, found = page.read_text(), list[Block]()
    for match in FENCED.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        info = INFO.match(match[1].strip())
        says = dict(re.findall(r'(\w+)="([^"]*)"', info["rest"])) if info else {}
        if info is None or not says.keys() <= KNOWN or "" in says.values():
            raise ValueError(f"{page.relative_to(ROOT)}:{line}: `{match[1]}` says nothing that the tests know")
        found.append(Block(page, line, info["language"], says, match[2]))
    return found


def without_blocks(text: str) -> str:
    """Running text alone."""
    return FENCED.sub("", text)
