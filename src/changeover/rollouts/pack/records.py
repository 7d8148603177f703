"""What stands in the files of an evidence pack. `collect` makes these values of rows, everything else reads them back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from msgspec import Meta

from changeover.evals.queries import ComparedSample, Comparison
from changeover.rollouts.decide import Rollout
from changeover.rollouts.queries import Approval, Event, Override
from changeover.tasks.routes import Route

CLOCKS_APART = timedelta(minutes=1)
"""How far the clocks of several gateways may lie apart: exchanges bear the time of who answered, events that of who led."""

FORMAT = 1
"""Rises when an older `verify` would misread a pack."""

MANIFEST = "pack.json"
SIGNATURE = "pack.sig"
PUBLIC_KEY = "public_key.pem"
ROLLOUT = "rollout.json"
BUNDLES = "bundles.json"
COMPARISONS = "comparisons.json"
DATASETS = "datasets.json"
ROUTES = "routes.json"
APPROVALS = "approvals.json"
OVERRIDES = "overrides.json"
TRIALS = "trials.json"
SAMPLES = "samples.jsonl"
GUARD = "guard.jsonl"
SHADOW_SCORES = "shadow_scores.jsonl"
FEEDBACK = "feedback.jsonl"
REPORT = "report.html"

LISTED = (
    PUBLIC_KEY,
    ROLLOUT,
    BUNDLES,
    COMPARISONS,
    DATASETS,
    ROUTES,
    APPROVALS,
    OVERRIDES,
    TRIALS,
    SAMPLES,
    GUARD,
    SHADOW_SCORES,
    FEEDBACK,
    REPORT,
)
"""Every file that the manifest lists: all but the manifest and its signature."""

FileName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_]*\.[a-z]+\Z")]
"""Flat, so that no name leads out of the directory."""
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One file, as the manifest knows it."""

    sha256: Digest
    bytes: Annotated[int, Meta(ge=0)]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is signed: which files there are, and what they hold."""

    format: int
    changeover: str
    """Version that wrote it."""
    rollout: int
    task: str
    created_at: datetime
    files: dict[FileName, Listed]


@dataclass(frozen=True, kw_only=True)
class GuardTotals:
    """What `guard.jsonl` holds, all together."""

    records: int
    asked: int
    """Of the records: those that count, for who gave up and who asked wrongly say nothing of the candidate."""
    failed: int
    copies: int
    """Of the records: copies of requests, whose answers nobody got."""
    violations: int
    order: Literal["written", "numbered"]
    """The order in which they became readable, or the order in which numbers were drawn: several writers of a PostgreSQL
    may become readable in another order than they drew theirs."""
    missing: str | None
    """Why some that a decision counted are not there any more; None where all are."""


@dataclass(frozen=True, kw_only=True)
class RolloutFile:
    """The rollout, and what happened to it."""

    project: str
    written_at: datetime
    content: bool
    """Whether the texts of samples and answers are in the pack."""
    rollout: Rollout
    events: list[Event]
    """Oldest first, each with the evidence it was decided from."""
    guard: GuardTotals


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the library said of a bundle's model when the pack was written."""

    card: str
    licence: str | None
    url: str | None
    in_package: bool | None
    note: str | None
    vendor: str
    sources: list[str]
    checked: date
    weights_on_card: bool | None
    """Whether the card knows the bundle's weights by their digest; None where the bundle has no digest."""


@dataclass(frozen=True, kw_only=True)
class BundleRecord:
    """A variant that a route names, with its whole bundle."""

    variant: str
    task: str
    deployment: str
    digest: Digest
    document: dict[str, Any]
    terms: Terms | None
    """None: the library has no card of this model."""


@dataclass(frozen=True, kw_only=True)
class BundlesFile:
    """Who was switched to whom."""

    incumbent: str
    """Variant id, as in the rollout."""
    candidate: str
    differs: list[str]
    """What changes from one to the other, in words."""
    bundles: list[BundleRecord]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One sample of a dataset."""

    id: str
    digest: Digest
    cluster: str | None
    document: dict[str, Any] | None = None
    """The sample itself, where the pack holds texts."""


@dataclass(frozen=True, kw_only=True)
class DatasetRecord:
    """A version of a dataset, as it was when it was measured on."""

    digest: Digest
    path: str | None
    members: list[Member] | None
    """In the file's order; None where the store never kept it."""


@dataclass(frozen=True, kw_only=True)
class AnswerRecord:
    """One answer of one side to one sample."""

    id: int
    bundle: Digest
    asked: str
    """Digest of what was asked."""
    repeat: int
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    duration_ms: float
    failed: bool
    text_sha256: str | None
    text: str | None = None
    """Where the pack holds texts."""
    tool_calls: list[Mapping[str, str]] | None = None
    """Where the pack holds texts."""
    error: str | None = None
    """Where the pack holds texts: an engine may repeat there what it was asked."""


@dataclass(frozen=True, kw_only=True)
class SampleRecord:
    """One sample of a comparison, in drawn order: what the test saw, and what it knew afterwards."""

    compared: ComparedSample
    incumbent: list[AnswerRecord]
    candidate: list[AnswerRecord]


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """How a trial went on one task."""

    task: str
    kind: str
    """`measured`, or why it was not."""
    comparison: str | None
    verdict: str
    no_worse: float | None
    """E-value where its comparison stopped."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """The trial that a rollout came from: one candidate on every task, whose switches hold together or not."""

    id: int
    candidate: str
    """Deployment."""
    actor: str
    started_at: datetime
    ended_at: datetime | None
    rate: float
    """Of false switches among those that hold together."""
    rows: list[TrialRow]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One exchange of the candidate, without its content, in order of arrival."""

    id: str
    at: datetime
    copy_of: str | None
    """The exchange that it copies: nobody got its answer."""
    revision: int | None
    variant: str | None
    """Who answered."""
    failed_variants: list[str]
    """Who was asked first and failed."""
    status: int
    error: str | None
    truncated: bool
    abandoned: bool
    violation: str | None
    duration_ms: float
    first_chunk_ms: float | None
    failed: bool


@dataclass(frozen=True, kw_only=True)
class CopyScore:
    """What a scorer made of a copied request's answer, beside the answer that the caller got."""

    exchange: str
    scorer: str
    name: str
    incumbent_score: float | None
    candidate_score: float | None
    failed: bool
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Rating:
    """What a user said of one of the candidate's answers, without the comment."""

    exchange: str
    good: bool
    revision: int | None
    """Of the route by which the answer was given; None where the exchange is not kept any more."""
    first: bool
    """Whether it is this caller's first word on that answer: a guard counts no other."""
    at: datetime


TYPES: Mapping[str, Any] = {
    ROLLOUT: RolloutFile,
    BUNDLES: BundlesFile,
    COMPARISONS: list[Comparison],
    DATASETS: list[DatasetRecord],
    ROUTES: list[Route],
    APPROVALS: list[Approval],
    OVERRIDES: list[Override],
    TRIALS: list[TrialRecord],
    SAMPLES: SampleRecord,
    GUARD: Asked,
    SHADOW_SCORES: CopyScore,
    FEEDBACK: Rating,
}
"""What each JSON file holds; of a `.jsonl` file, each line."""
