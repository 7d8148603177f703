"""What the gateway says of tools, runs and jobs. What it says beyond this is passed over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED: frozenset[JobState] = frozenset({"done", "failed", "cancelled"})


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """How a tool is talked with."""

    history: str
    """The input that is the conversation so far."""
    message: str
    """The input that is what is said now."""
    greeting: str = ""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that this key may use."""

    name: str
    title: str
    description: str
    group: str = "Other"
    tier: str = "low"
    inputs: dict[str, Any]
    """JSON schema of all its inputs together."""
    output: dict[str, Any]
    """JSON schema that `Result.value` always meets."""
    media_type: str = "text/markdown"
    extension: str = ".md"
    """Of a file that `Result.text` is written to."""
    chat: Chat | None = None
    example: dict[str, Any] | None = None
    """Inputs to try it with; of a list of tools only where there are no files among them."""
    tasks: list[str] = []
    """Every task that it asks."""

    @property
    def input_types(self) -> dict[str, str]:
        """The type that each input was declared with, such as `document` or `choice`, in the order of the declaration."""
        return {name: type_of(schema) for name, schema in self.inputs.get("properties", {}).items()}

    def recent(self, history: list[dict[str, str]]) -> list[dict[str, str]]:
        """The newest messages of a conversation, from one of the user's on, of which the tool takes so many."""
        if self.chat is None:
            return history
        most = self.inputs["properties"][self.chat.history].get("maxItems", len(history))
        asked = (place for place, message in enumerate(history) if message["role"] == "user")
        return history[next((place for place in asked if len(history) - place <= most), len(history)) :]


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """Where something stands."""

    claim: str
    document: str = ""
    page: int | None = None
    label: str = ""
    """Such as `p. 3`."""
    quote: str = ""
    score: float = 0.0
    """0 to 1: how far the passage bears it out."""
    supported: bool = True
    problem: str = ""
    """Why a person should look at the place although it is supported."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a run gave."""

    tool: str
    value: dict[str, Any]
    text: str
    """For a person to read."""
    id: str = ""
    digest: str = ""
    """Of the tool as it was."""
    citations: list[Citation] = []
    problems: list[str] = []
    """What is not as it should be and was let through."""
    steps: list[dict[str, Any]] = []
    answered_by: list[dict[str, Any]] = []


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is."""

    step: str
    number: int
    """Of the step, from 1."""
    steps: int
    done: int = 0
    """Of its calls, pages or members."""
    of: int | None = None

    @property
    def share(self) -> float:
        """Steps that are behind it, and the part of this one."""
        return self.number - 1 + (min(self.done / self.of, 1.0) if self.of else 0.0)

    def __str__(self) -> str:
        counted = f" {self.done}/{self.of}" if self.of else ""
        return f"{self.step}{counted} · step {self.number} of {self.steps}"


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the answer, while it is written. The checks come after it: what holds is `Result.text`."""

    piece: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A run that goes on without its caller."""

    id: str
    tool: str
    state: JobState
    progress: Progress | None = None
    result: Result | None = None
    error: dict[str, Any] | None = None
    created_at: str | float | None = None
    started_at: str | float | None = None
    ended_at: str | float | None = None
    expires_at: str | float | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED


Event = Progress | Piece | Result
"""What comes of a run that is followed; a result is the last."""


def type_of(schema: Mapping[str, Any]) -> str:
    """The type that an input was declared with; its schema alone does not tell a table from a file."""
    return str(schema.get("x-input", "text"))


def cited(citations: Iterable[Citation]) -> list[str]:
    """Citations as lines under a text: `[1] p. 3 “…”`, each place once; what nothing bears out is said below them."""
    sources = list(citations)
    found = [source for source in sources if source.supported]
    several = len({source.document for source in found}) > 1
    places = dict.fromkeys((source.document if several else "", source.label, _short(source.quote)) for source in found)
    lines = [
        " ".join([f"[{number}]", *(part for part in (document, label) if part), f"“{quote}”"])
        for number, (document, label, quote) in enumerate(places, 1)
    ]
    return lines + [f"no source found for “{_short(each.claim)}”" for each in sources if not each.supported]


def _short(text: str, most: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"
