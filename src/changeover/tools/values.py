"""What steps hand to each other, and what a tool gives in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it was sent. What its name and type claim is not believed."""

    name: str
    """Last part only, without any folder; for people."""
    data: bytes


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page, slide or sheet."""

    number: int
    """From 1."""
    label: str
    """Such as `p. 3`, `slide 3`, `sheet Prices`."""
    text: str
    ocr: bool = False
    """Read from a picture."""
    confidence: float | None = None
    """Of OCR, 0 to 1, mean over its lines."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A file, read."""

    name: str
    kind: Literal["pdf", "docx", "pptx", "xlsx", "html", "markdown", "email", "csv", "image", "text"]
    pages: list[Page]
    title: str | None = None
    notes: list[str] = []
    """What a reader should know, such as `macros were ignored`, `3 attachments were not read`."""

    @property
    def text(self) -> str:
        """All pages, one after the other."""
        return "\n\n".join(page.text for page in self.pages if page.text)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a document, or of a text."""

    index: int
    text: str
    document: str = ""
    """Name of the document."""
    pages: list[int] = []
    """Numbers of the pages that it stands on; none of a text."""
    label: str = ""
    """Such as `pp. 3-5`."""
    starts: list[int] = []
    """Where in the text each of its pages begins."""
    labels: list[str] = []
    """Of each of its pages."""


class Found(Part, frozen=True, kw_only=True):
    """A passage that belongs to a question; what `look-up` gives."""

    question: str
    score: float
    """0 to 1; 1 for what is first by words and by meaning. Only the order means something."""


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """Where something stands."""

    claim: str
    """The sentence, or the question."""
    document: str
    page: int | None
    label: str
    quote: str
    """The passage, at most 300 characters."""
    score: float
    """0 to 1: how far the passage bears it out."""
    supported: bool
    problem: str = ""
    """Why a person should look at the place although it is supported."""


class StepTook(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a run."""

    name: str
    do: str
    calls: int
    """Of tasks."""
    seconds: float
    repairs: int = 0
    """Answers that were asked for again because a check failed."""


class AnsweredBy(msgspec.Struct, frozen=True, kw_only=True):
    """Who answered a task during a run."""

    task: str
    deployment: str
    revision: int | None
    calls: int
    prompt_tokens: int
    completion_tokens: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of a tool gave; `value` meets the tool's contract."""

    tool: str
    digest: str
    value: Mapping[str, Any]
    text: str
    citations: list[Citation]
    problems: list[str]
    """What is not as it should be and was let through, for people."""
    steps: list[StepTook]
    answered_by: list[AnsweredBy]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is."""

    step: str
    number: int
    """Of the step, from 1."""
    steps: int
    done: int = 0
    """Of its calls, pages or members."""
    of: int | None = None
    text: str | None = None
    """A piece of the answer that is being written, where the caller wants a stream and the step's answer is the output's
    text."""
