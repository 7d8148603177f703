"""The pages of the documentation, and the blocks of code on them.

A block's info string may say, after its language, what becomes of it in the tests:

* nothing: it is run as it stands, or validated where it is data
* `exit="1"`: the same, and its last command ends with that status
* `goes="on"`: it goes on until Ctrl-C, which is pressed once it says where it is
* `ranby="test_name"`: that test, or that file of tests, runs it, or its commands on a project of its own
* `norun="needs an engine of its own"`: it cannot be run here, and why, in one of the ways of `NOT_RUN`; its commands are parsed

A block of text below one that was run is what that printed, and is compared with it. Otherwise it says what it is:

* `of="a drawing"`, or another one of `SHOWN`
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"^[ ]*```([^\n`]*)\n(.*?)^[ ]*```$", re.MULTILINE | re.DOTALL)
INFO = re.compile(r"""^(?P<language>\w*)(?P<rest>(?: \w+="[^"]*")*)$""")
KNOWN = frozenset({"exit", "goes", "ranby", "norun", "of"})
NOT_RUN = {
    "sets up the environment of the tests": "its targets of `make` exist",
    "another lane of tests": "its targets of `make` exist",
    "installs packages": "the extras, or the engines, that it names exist",
    "needs an engine of its own": "its deployments are planned",
    "needs weights that are not here": "its deployments are planned",
    "needs a key of another company's server": "its deployments are planned",
    "needs a program that is fetched": "its commands of ours are parsed",
}
"""The reasons for which a block is not run, and what is still seen of it."""
SHOWN = {
    "a drawing": "of no program",
    "an excerpt": "what a program says in a state that the page tells of",
    "real models": "what was printed once where real models answered",
}
"""What a text shows that no block above it prints."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    """Of its opening fence, from 1."""
    language: str
    says: Mapping[str, str] = field(hash=False)
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
