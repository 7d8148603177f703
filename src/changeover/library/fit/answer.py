"""What `fit` says: a verdict with every figure that it was made from. `changeover fit`, search and recommend read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["fits", "tight", "no", "unknown"]
"""`tight`: it fits, and so little is left, or so much less than was published, that it may fail. `unknown`: a fact is
missing, and `missing` names it."""

RemedyKind = Literal["quantisation", "context", "concurrency", "cards", "sibling"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of what it needs, over all cards together."""

    name: Literal["weights", "context", "activations", "process", "margin"]
    bytes: int
    how: str
    """From what it follows, in words."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How it is spread over cards."""

    tensor_parallel: int
    pipeline_parallel: int
    nodes: int
    expert_parallel: bool = False

    @property
    def cards(self) -> int:
        """Cards that it takes."""
        return self.tensor_parallel * self.pipeline_parallel


@dataclass(frozen=True, kw_only=True)
class Published:
    """A minimum that somebody published, beside what was computed."""

    minimum_bytes: int
    source: str
    difference_bytes: int | None
    """What was computed less what was published; None: nothing could be computed."""
    met: bool
    """Whether what engines may use of the cards is as much."""


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """Something that would make it fit."""

    kind: RemedyKind
    words: str
    value: str
    """What to ask for instead: a quantisation, a number, hardware, or a card's id."""
    needs_bytes: int
    """What it would need then."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Whether a model fits, how, and from which figures that follows."""

    model: str
    hardware: str
    """As `parse_hardware` takes it, or `here`."""
    verdict: Verdict
    needs_bytes: int | None
    """Over all cards of `layout`; None: not known."""
    has_bytes: int | None
    """What an engine may use of those cards."""
    total_bytes: int | None
    """What those cards have."""
    context_tokens: int
    concurrency: int
    quantisation: str | None
    most_requests: int | None = None
    """Requests with the whole context that there is room for; None: it does not fit, or nobody can compute it."""
    parts: tuple[Part, ...] = ()
    layout: Layout | None = None
    engine: str | None = None
    """None: no engine is known that runs this model on this hardware."""
    flags: tuple[str, ...] = ()
    command: str | None = None
    published: Published | None = None
    remedies: tuple[Remedy, ...] = ()
    missing: tuple[str, ...] = ()
    """Facts that nobody could look up, each in words. With verdict `unknown` they are why."""
    notes: tuple[str, ...] = ()
    """Assumptions, and documented limits that were kept."""

    @property
    def ok(self) -> bool:
        """Whether it may be tried."""
        return self.verdict in ("fits", "tight")
