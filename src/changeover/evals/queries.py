"""Every query on answers, scores and comparisons."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, func, insert, select, tuple_, update

from changeover.core.errors import GateError
from changeover.store.newest import BEGINNING, newest_asked, newest_of_each
from changeover.store.schema import answers, comparison_samples, comparisons, scores, variants


@dataclass(frozen=True, kw_only=True)
class StoredAnswer:
    """What a bundle answered to a sample. The first one stands; it is asked again only after a failure."""

    id: int
    bundle: str
    sample: str
    repeat: int
    text: str | None
    tool_calls: tuple[Mapping[str, str], ...] | None = None
    """Each with `name` and `arguments`, which are JSON text."""
    error: str | None
    """Why there is no text. A model's failure is data."""
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    duration_ms: float

    @property
    def identity(self) -> tuple[str, str, int]:
        """Who was asked what, the how manieth time."""
        return self.bundle, self.sample, self.repeat


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
    """Margin, error rates, what they are about, seed, largest number of samples, scorers."""
    pool: Mapping[str, Any] | None = None
    """Covariates of the whole dataset, where they were used."""
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
    """E-values and interval after this sample, and of how many observations: a cluster is one, counted after its last
    sample."""
    cluster: str | None = None
    usable: bool = True
    """False: a scorer failed, so that the sample says nothing."""
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of either side: ids of all its answers (`answers`), scores by repeat (`each`), the scorer's detail (`why`), its
    cost, and the measures."""


Chunk = TypeVar("Chunk", str, int)
MOST_IN = 500
"""Values in one `IN`: databases limit their number."""
FINISH_REASON = 20
"""Characters that are kept of one."""

_ANSWER_FIELDS = [each.name for each in fields(StoredAnswer)]
_COMPARISON_FIELDS = [each.name for each in fields(Comparison)]
_SAMPLE_FIELDS = [each.name for each in fields(ComparedSample)]
_VERDICT_FIELDS = (
    *("id", "task", "incumbent", "candidate", "dataset"),
    *("verdict", "summary", "actor", "started_at", "ended_at"),
)
_VERDICT = select(*(comparisons.c[name] for name in _VERDICT_FIELDS))


def find_answers(connection: Connection, bundles: Iterable[str], asked: Iterable[str]) -> list[StoredAnswer]:
    """Kept answers of bundles to what is asked, oldest first. Failures are left out: they may have been passing ones."""
    named = list(bundles)
    found: list[StoredAnswer] = []
    for keys in batched(dict.fromkeys(asked)):
        rows = connection.execute(
            select(answers)
            .where(answers.c.bundle.in_(named), answers.c.sample.in_(keys), answers.c.error.is_(None))
            .order_by(answers.c.id)
        )
        found += map(_answer, rows)
    return found


def answers_by_id(connection: Connection, ids: Iterable[int]) -> dict[int, StoredAnswer]:
    """Answers, failures included."""
    found: dict[int, StoredAnswer] = {}
    for keys in batched(dict.fromkeys(ids)):
        rows = connection.execute(select(answers).where(answers.c.id.in_(keys)))
        found.update((row.id, _answer(row)) for row in rows)
    return found


def add_answers(connection: Connection, new: Sequence[StoredAnswer], now: datetime) -> list[StoredAnswer]:
    """Keep answers and give them with their ids; where somebody else kept one meanwhile, that one stands."""
    known = {
        answer.identity: answer
        for answer in reversed(find_answers(connection, {a.bundle for a in new}, (a.sample for a in new)))
    }
    missing = [answer for answer in new if answer.identity not in known]
    if missing:
        rows = [{**_values(answer), "created_at": now} for answer in missing]
        ids = connection.execute(insert(answers).returning(answers.c.id, sort_by_parameter_order=True), rows).scalars()
        stored = {id(answer): replace(answer, id=key) for answer, key in zip(missing, ids, strict=True)}
    else:
        stored = {}
    return [stored[id(answer)] if id(answer) in stored else known[answer.identity] for answer in new]


def find_scores(connection: Connection, ids: Iterable[int]) -> dict[tuple[int, str], StoredScore]:
    """Kept scores of answers, by answer and scorer."""
    found: dict[tuple[int, str], StoredScore] = {}
    for keys in batched(dict.fromkeys(ids)):
        rows = connection.execute(select(scores).where(scores.c.answer.in_(keys)))
        found.update(
            ((row.answer, row.scorer), StoredScore(value=row.value, detail=row.detail, error=row.error)) for row in rows
        )
    return found


def find_known_scores(connection: Connection, asked: Iterable[str]) -> list[tuple[str, str, str, float]]:
    """Every bundle's scores of what is asked, first answers only, oldest first: bundle, what is asked, scorer, value."""
    joined = scores.join(answers, scores.c.answer == answers.c.id)
    found: list[tuple[str, str, str, float]] = []
    for keys in batched(dict.fromkeys(asked)):
        rows = connection.execute(
            select(answers.c.bundle, answers.c.sample, scores.c.scorer, scores.c.value)
            .select_from(joined)
            .where(answers.c.sample.in_(keys), answers.c.repeat == 0, scores.c.error.is_(None))
            .order_by(answers.c.id)
        )
        found += [(row.bundle, row.sample, row.scorer, row.value) for row in rows]
    return found


def add_scores(connection: Connection, new: Mapping[tuple[int, str], StoredScore]) -> None:
    """Keep scores, except those that are there."""
    known = find_scores(connection, (answer for answer, _ in new))
    rows = [
        {"answer": answer, "scorer": scorer, "value": score.value, "detail": dict(score.detail), "error": score.error}
        for (answer, scorer), score in new.items()
        if (answer, scorer) not in known
    ]
    if rows:
        connection.execute(insert(scores), rows)


def add_comparison(connection: Connection, comparison: Comparison) -> None:
    connection.execute(insert(comparisons).values(**asdict(comparison)))


def end_comparison(connection: Connection, id: str, *, verdict: str, summary: Mapping[str, Any], now: datetime) -> None:
    connection.execute(
        update(comparisons).where(comparisons.c.id == id).values(verdict=verdict, summary=dict(summary), ended_at=now)
    )


def add_compared_samples(connection: Connection, new: Sequence[ComparedSample]) -> None:
    if new:
        connection.execute(insert(comparison_samples), [_values(sample) for sample in new])


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


def newest_verdict_on(connection: Connection, tasks: Iterable[str], variants: Sequence[str]) -> Comparison | None:
    """The newest comparison that came to a verdict on any of some tasks' variants, as candidate or else as incumbent."""
    about = comparisons.c.task.in_(list(tasks))
    for side in (comparisons.c.candidate, comparisons.c.incumbent):
        for ids in batched(variants):
            found = _first(
                connection,
                select(comparisons)
                .where(about, side.in_(ids), comparisons.c.verdict.is_not(None), comparisons.c.ended_at.is_not(None))
                .order_by(comparisons.c.ended_at.desc())
                .limit(1),
            )
            if found is not None:
                return found
    return None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a comparison ended, without what it was made by."""

    id: str
    task: str
    incumbent: str
    candidate: str
    dataset: str
    verdict: str | None
    """None while it runs or where it was interrupted."""
    summary: Mapping[str, Any] | None
    actor: str
    started_at: datetime
    ended_at: datetime | None


_NEWEST_VERDICTS = newest_of_each(
    comparisons,
    "started_at",
    1,
    [comparisons.c[name] for name in _VERDICT_FIELDS],
    lambda each: (each.c.verdict.is_not(None),),
)


def newest_verdicts(connection: Connection, tasks: Collection[str]) -> dict[str, Verdict]:
    """How the newest finished comparison of each task ended."""
    return {row.task: _verdict(row) for row in connection.execute(_NEWEST_VERDICTS, newest_asked(tasks, BEGINNING))}


def summaries_of(connection: Connection, ids: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """How finished comparisons ended, by id. At most some hundreds."""
    query = select(comparisons.c.id, comparisons.c.summary).where(comparisons.c.id.in_(list(ids)))
    return {row.id: row.summary for row in connection.execute(query) if row.summary is not None}


def verdicts_of(connection: Connection, task: str, before: datetime | None, limit: int) -> list[Verdict]:
    """How comparisons of a task ended or stand, newest first: those that were started before a moment."""
    query = _VERDICT.where(comparisons.c.task == task)
    if before is not None:
        query = query.where(comparisons.c.started_at < before)
    return [_verdict(row) for row in connection.execute(query.order_by(comparisons.c.started_at.desc()).limit(limit))]


def newest_comparisons(
    connection: Connection,
    *,
    tasks: Sequence[str] | None = None,
    candidate: str | None = None,
    verdict: str | None = None,
    before: str | None = None,
    limit: int,
) -> list[Verdict]:
    """Comparisons with a verdict or without one, newest first.

    Args:
        connection: For reading.
        tasks: Only of these; None: of all.
        candidate: Only of this deployment.
        verdict: Only those that ended so; `open`: those without a verdict.
        before: Only those that come after this one in the list, by its id; those from the start where there is none such.
        limit: Most of them.
    """
    query = _VERDICT
    if tasks is not None:
        query = query.where(comparisons.c.task.in_(list(tasks)))
    if candidate is not None:
        query = query.where(
            comparisons.c.candidate.in_(select(variants.c.id).where(variants.c.deployment == candidate))
        )
    if verdict is not None:
        query = query.where(comparisons.c.verdict.is_(None) if verdict == "open" else comparisons.c.verdict == verdict)
    if before is not None:
        last = connection.execute(select(comparisons.c.started_at).where(comparisons.c.id == before)).scalar()
        if last is not None:
            query = query.where(tuple_(comparisons.c.started_at, comparisons.c.id) < tuple_(last, before))
    ordered = query.order_by(comparisons.c.started_at.desc(), comparisons.c.id.desc()).limit(limit)
    return [_verdict(row) for row in connection.execute(ordered)]


def open_comparisons(connection: Connection, since: datetime, limit: int) -> list[Verdict]:
    """Comparisons without a verdict that were begun since a moment, newest first: under way, or interrupted."""
    query = _VERDICT.where(comparisons.c.started_at >= since, comparisons.c.verdict.is_(None))
    return [_verdict(row) for row in connection.execute(query.order_by(comparisons.c.started_at.desc()).limit(limit))]


def find_verdict(connection: Connection, id: str) -> Verdict | None:
    """How a comparison ended or stands."""
    row = connection.execute(_VERDICT.where(comparisons.c.id == id)).first()
    return None if row is None else _verdict(row)


def verdicts_by_id(connection: Connection, ids: Iterable[str]) -> dict[str, Verdict]:
    """How some comparisons ended or stand, by their ids."""
    found: dict[str, Verdict] = {}
    for keys in batched(dict.fromkeys(ids)):
        found.update((row.id, _verdict(row)) for row in connection.execute(_VERDICT.where(comparisons.c.id.in_(keys))))
    return found


@dataclass(frozen=True, kw_only=True)
class LastSample:
    """The sample that was counted last."""

    position: int
    evidence: Mapping[str, float]
    at: datetime
    """When its answer came, perhaps long before the comparison."""


def last_sample(connection: Connection, comparison: str) -> LastSample | None:
    """How far a comparison has come; None before its first sample."""
    query = (
        select(comparison_samples.c.position, comparison_samples.c.evidence, answers.c.created_at)
        .select_from(comparison_samples.join(answers, comparison_samples.c.candidate_answer == answers.c.id))
        .where(comparison_samples.c.comparison == comparison)
        .order_by(comparison_samples.c.position.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else LastSample(position=row.position, evidence=row.evidence, at=row.created_at)


def mean_difference(connection: Connection, comparison: str) -> tuple[int, float]:
    """Samples of a comparison that could be used so far, and their mean difference."""
    difference = comparison_samples.c.candidate_score - comparison_samples.c.incumbent_score
    query = select(func.count(), func.avg(difference)).where(
        comparison_samples.c.comparison == comparison, comparison_samples.c.usable
    )
    count, mean = connection.execute(query).one()
    return int(count), float(mean or 0.0)


def answers_since(connection: Connection, ids: Iterable[int], since: datetime) -> int:
    """How many of these answers came since a moment."""
    return sum(
        connection.execute(
            select(func.count()).where(answers.c.id.in_(keys), answers.c.created_at >= since)
        ).scalar_one()
        for keys in batched(dict.fromkeys(ids))
    )


def passed_comparisons(connection: Connection, *, incumbent: str, candidate: str, dataset: str) -> list[Comparison]:
    """Comparisons of exactly these two variants on exactly this dataset that passed, newest first."""
    rows = connection.execute(
        select(comparisons)
        .where(
            comparisons.c.incumbent == incumbent,
            comparisons.c.candidate == candidate,
            comparisons.c.dataset == dataset,
            comparisons.c.verdict == "pass",
        )
        .order_by(comparisons.c.started_at.desc())
    )
    return [_comparison(row) for row in rows]


def passed_since(connection: Connection, *, incumbent: str, candidate: str, since: datetime) -> bool:
    """Whether a comparison of exactly these two variants has passed since a moment."""
    query = select(comparisons.c.id).where(
        comparisons.c.incumbent == incumbent,
        comparisons.c.candidate == candidate,
        comparisons.c.verdict == "pass",
        comparisons.c.ended_at >= since,
    )
    return connection.execute(query.limit(1)).first() is not None


def running_comparison(connection: Connection, task: str, candidate: str, since: datetime) -> Comparison | None:
    """The newest comparison of a candidate on a task that began after a moment, ended or not."""
    query = (
        select(comparisons)
        .where(comparisons.c.task == task, comparisons.c.candidate == candidate, comparisons.c.started_at >= since)
        .order_by(comparisons.c.started_at.desc())
        .limit(1)
    )
    return _first(connection, query)


def recent_comparisons(connection: Connection, task: str, limit: int = 20) -> list[Comparison]:
    """Comparisons of a task, newest first."""
    rows = connection.execute(
        select(comparisons).where(comparisons.c.task == task).order_by(comparisons.c.started_at.desc()).limit(limit)
    )
    return [_comparison(row) for row in rows]


def batched(values: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    """Values in lists that fit into one `IN`."""
    waiting = iter(values)
    while chunk := list(islice(waiting, MOST_IN)):
        yield chunk


def _verdict(row: Row[Any]) -> Verdict:
    return Verdict(**{name: getattr(row, name) for name in _VERDICT_FIELDS})


def _values(row: StoredAnswer | ComparedSample) -> dict[str, Any]:
    """A row's columns; a new answer has no id yet."""
    names = _ANSWER_FIELDS[1:] if isinstance(row, StoredAnswer) else _SAMPLE_FIELDS
    values = {name: getattr(row, name) for name in names}
    if isinstance(row, StoredAnswer) and row.finish_reason is not None:
        values["finish_reason"] = row.finish_reason[:FINISH_REASON]  # an engine may say anything there
    return values


def _answer(row: Row[Any]) -> StoredAnswer:
    return StoredAnswer(**{name: getattr(row, name) for name in _ANSWER_FIELDS})


def _first(connection: Connection, query: Select[Any]) -> Comparison | None:
    row = connection.execute(query).first()
    return None if row is None else _comparison(row)


def _comparison(row: Row[Any]) -> Comparison:
    return Comparison(**{name: getattr(row, name) for name in _COMPARISON_FIELDS})
