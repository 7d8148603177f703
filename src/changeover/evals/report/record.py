"""The record of a comparison as readers see it: everything that a report shows, in one value without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from changeover.evals.sequential import Shown, Verdict


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two variants."""

    deployment: str
    variant: str
    bundle: str
    """Digest."""
    model: str
    score: float
    """Mean over the usable samples, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """One side's answer to one sample."""

    text: str | None
    """None where it could not answer. Tool calls are written out as JSON below the text."""
    error: str | None
    score: float
    why: Mapping[str, Any]
    """The scorer's detail."""
    duration_ms: float | None
    completion_tokens: int | None


@dataclass(frozen=True, kw_only=True)
class ReportSample:
    """One sample, in drawn order."""

    position: int
    """From 1."""
    id: str
    tags: tuple[str, ...]
    cluster: str | None
    asked: str
    """The input as text."""
    target: Any
    """JSON."""
    incumbent: Told
    candidate: Told
    usable: bool
    """False: a scorer failed, and the sample says nothing."""
    observations: int
    """How many observations the test had seen after it; a cluster is one."""
    no_worse: float
    futility: float
    better: float
    worse: float
    """E-values after it."""
    low: float
    high: float
    """Interval of the mean difference after it."""

    @property
    def difference(self) -> float:
        """Candidate minus incumbent, -1 to 1."""
        return self.candidate.score - self.incumbent.score


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The samples with one tag."""

    tag: str
    samples: int
    incumbent_score: float
    candidate_score: float
    difference: float
    low: float
    high: float
    """95 % anytime-valid interval for this slice alone: of many slices, some miss by chance."""
    detectable_loss: float | None
    """Smallest loss that so many samples would show with the comparison's error rates; None where nothing differed."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One thing that answers take, candidate over incumbent."""

    name: Literal["latency", "length", "cost"]
    unit: Literal["ms", "tokens", "USD"]
    incumbent: float
    candidate: float
    """Medians over the samples that both answered; for cost, means."""
    ratio: float
    low: float
    high: float
    """95 % interval of the ratio, for a number of samples that was fixed beforehand."""


@dataclass(frozen=True, kw_only=True)
class Familiar:
    """The test that people know, beside the verdict. Right for one look at a fixed number of samples only."""

    name: str
    """Such as `McNemar mid-p` or `paired t, clustered`."""
    p_value: float
    """Two-sided, for no difference."""
    low: float | None
    high: float | None
    """Its 95 % interval of the difference, where it has one."""


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """How much the incumbent differs from itself when it is asked again."""

    samples: int
    changed: float
    """Share of samples whose score changed."""
    mean_absolute: float
    """Mean absolute difference of the two scores, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A scorer that was only reported."""

    name: str
    incumbent_score: float
    candidate_score: float
    difference: float
    low: float
    high: float
    """95 % anytime-valid interval."""
    samples: int
    """Those that it could score for both."""


@dataclass(frozen=True, kw_only=True)
class Judging:
    """What is known of the judge that scored: shown with every verdict it took part in."""

    judge: str
    """Task that judges, and its variant."""
    judged: int
    """Pairs or answers."""
    identical: int
    """Pairs of the same text, which were not judged."""
    position_bias: float | None
    """Share of judged pairs for which the first place won in both orders minus the share for which the second did,
    -1 to 1; None for a rubric."""
    flipped: float | None
    """Share of judged pairs whose two orders disagree."""
    length_bias: float | None
    """Rank correlation of preference (or score) with length, -1 to 1."""
    self_consistency: float | None
    """Share of repeated judgements that came out the same; None where none was repeated."""
    agreement: float | None
    """Share of human labels that it met; None without labels."""
    labels: int
    kinship: tuple[str, ...] = ()
    """What is not known of its kinship with the two, one sentence each."""
    corrected: tuple[float, float, float] | None
    """Difference, low, high by PPI++ from the labels; None without enough of them."""


@dataclass(frozen=True, kw_only=True)
class ComparisonReport:
    """A comparison, whole."""

    project: str
    comparison: str
    task: str
    started_at: datetime
    ended_at: datetime | None
    actor: str
    incumbent: Side
    candidate: Side
    margin: float
    alpha: float
    beta: float
    about: Literal["population", "dataset"]
    max_samples: int
    max_failed_share: float
    """Of samples that could not be answered or scored, 0 to 1: with more there is no pass."""
    seed: int
    """Of the order in which samples are drawn."""
    measured_by: str
    """Version of changeover."""
    verdict: Verdict
    shown: Shown | None
    reason: str
    """One sentence for a newcomer: why the verdict is what it is."""
    difference: float
    low: float
    high: float
    no_worse: float
    futility: float
    better: float
    worse: float
    """E-values at the end."""
    usable: int
    unusable: int
    failed: int
    """Samples that somebody could not answer or that could not be scored."""
    calls_new: int
    calls_cached: int
    calls_fixed_n: int | None
    cost_usd: float | None
    """Of the new calls."""
    detectable_loss: float | None
    seconds: float
    dataset: str
    """Path, for people."""
    dataset_digest: str
    dataset_samples: int
    scorer: str
    scorer_version: str
    scorer_digest: str
    covariates: tuple[str, ...]
    """Deployments whose earlier scores made the differences less noisy."""
    differs: tuple[str, ...]
    """What changes from the incumbent's bundle to the candidate's, in words."""
    familiar: Familiar | None
    noise_floor: NoiseFloor | None
    slices: tuple[Slice, ...]
    ratios: tuple[Ratio, ...]
    measures: tuple[Measured, ...]
    judging: Judging | None
    samples: tuple[ReportSample, ...]
