"""Every query on answers, scores and comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update

from changeover.core.errors import GateError
from changeover.store.schema import answers, comparison_samples, comparisons, scores


@dataclass(frozen=True, kw_only=True)
class StoredAnswer:
    """What a bundle answered to a sample. The first one stands; it is asked again only after a failure."""

    id: int
    bundle: str
    sample: str
    repeat: int
    text: str | None
    error: str | None
    """Why there is no text. A model's failure is data."""
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    duration_ms: float


@dataclass(frozen=True, kw_only=True)
class StoredScore:
    """One result of one scorer's version on one answer."""

    value: float
    detail: Mapping[str, Any]
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The paired difference of two variants on one dataset, as it was decided."""

    id: str
    task: str
    incumbent: str
    candidate: str
    dataset: str
    """Digest."""
    scorer: str
    """Digest of the scorer's name, version and options."""
    plan: Mapping[str, Any]
    """Margin, error rates, seed, largest number of samples."""
    actor: str
    verdict: str | None
    """`pass`, `fail`, `inconclusive`; None while it runs or where it was interrupted."""
    summary: Mapping[str, Any] | None
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class ComparedSample:
    """One sample of a comparison, in the order in which it was drawn."""

    comparison: str
    position: int
    sample: str
    sample_id: str
    incumbent_answer: int
    candidate_answer: int
    incumbent_score: float
    candidate_score: float
    evidence: Mapping[str, float]
    """E-values after this sample, and of how many observations: a cluster is one, counted after its last sample."""


_ANSWER_FIELDS = [field.name for field in fields(StoredAnswer)]
_COMPARISON_FIELDS = [field.name for field in fields(Comparison)]
_SAMPLE_FIELDS = [field.name for field in fields(ComparedSample)]


def find_answer(connection: Connection, bundle: str, sample: str, repeat: int) -> StoredAnswer | None:
    """The cached answer of a bundle to a sample. A failure is never reused: it may have been a passing one."""
    row = connection.execute(
        select(answers)
        .where(
            answers.c.bundle == bundle,
            answers.c.sample == sample,
            answers.c.repeat == repeat,
            answers.c.error.is_(None),
        )
        .order_by(answers.c.id)
        .limit(1)
    ).first()
    return None if row is None else StoredAnswer(**{name: getattr(row, name) for name in _ANSWER_FIELDS})


def add_answer(connection: Connection, answer: StoredAnswer, now: datetime) -> StoredAnswer:
    """Keep an answer; if somebody else kept one for the same sample meanwhile, that one stands."""
    known = find_answer(connection, answer.bundle, answer.sample, answer.repeat)
    if known is not None:
        return known
    values = asdict(answer)
    del values["id"]
    key = connection.execute(insert(answers).values(**values, created_at=now)).inserted_primary_key
    assert key is not None
    return replace(answer, id=int(key[0]))


def find_score(connection: Connection, answer: int, scorer: str) -> StoredScore | None:
    row = connection.execute(select(scores).where(scores.c.answer == answer, scores.c.scorer == scorer)).first()
    return None if row is None else StoredScore(value=row.value, detail=row.detail, error=row.error)


def add_score(connection: Connection, answer: int, scorer: str, score: StoredScore) -> None:
    if find_score(connection, answer, scorer) is None:
        connection.execute(insert(scores).values(answer=answer, scorer=scorer, **asdict(score)))


def add_comparison(connection: Connection, comparison: Comparison) -> None:
    connection.execute(insert(comparisons).values(**asdict(comparison)))


def end_comparison(connection: Connection, id: str, *, verdict: str, summary: Mapping[str, Any], now: datetime) -> None:
    connection.execute(
        update(comparisons).where(comparisons.c.id == id).values(verdict=verdict, summary=dict(summary), ended_at=now)
    )


def add_compared_sample(connection: Connection, sample: ComparedSample) -> None:
    connection.execute(insert(comparison_samples).values(**asdict(sample)))


def compared_samples(connection: Connection, comparison: str) -> list[ComparedSample]:
    """Samples of a comparison in drawn order."""
    rows = connection.execute(
        select(comparison_samples)
        .where(comparison_samples.c.comparison == comparison)
        .order_by(comparison_samples.c.position)
    )
    return [ComparedSample(**{name: getattr(row, name) for name in _SAMPLE_FIELDS}) for row in rows]


def find_comparison(connection: Connection, id: str) -> Comparison:
    found = _first(connection, select(comparisons).where(comparisons.c.id == id))
    if found is None:
        raise GateError(f"No comparison `{id}`. `changeover history TASK` lists those that decided something.")
    return found


def latest_verdict(
    connection: Connection, *, incumbent: str, candidate: str, dataset: str, scorer: str
) -> Comparison | None:
    """The newest finished comparison of exactly these two variants on exactly this dataset with this scorer."""
    return _first(
        connection,
        select(comparisons)
        .where(
            comparisons.c.incumbent == incumbent,
            comparisons.c.candidate == candidate,
            comparisons.c.dataset == dataset,
            comparisons.c.scorer == scorer,
            comparisons.c.verdict.is_not(None),
        )
        .order_by(comparisons.c.started_at.desc())
        .limit(1),
    )


def recent_comparisons(connection: Connection, task: str, limit: int = 20) -> list[Comparison]:
    """Comparisons of a task, newest first."""
    rows = connection.execute(
        select(comparisons).where(comparisons.c.task == task).order_by(comparisons.c.started_at.desc()).limit(limit)
    )
    return [_comparison(row) for row in rows]


def _first(connection: Connection, query: Select[Any]) -> Comparison | None:
    row = connection.execute(query).first()
    return None if row is None else _comparison(row)


def _comparison(row: Row[Any]) -> Comparison:
    return Comparison(**{name: getattr(row, name) for name in _COMPARISON_FIELDS})
