"""Rows become the documents of an evidence pack: one read of the store, nothing worked out that the rows do not say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from changeover.core.digest import sha256_text
from changeover.core.errors import UnknownModelError
from changeover.evals.datasets.queries import find_version
from changeover.evals.judges.bias import records_in
from changeover.evals.queries import (
    ComparedSample,
    Comparison,
    StoredAnswer,
    answers_by_id,
    compared_samples,
    find_comparison,
)
from changeover.evals.trial_queries import find_trial, tasks_of_trial
from changeover.evals.trials import row_of
from changeover.library.catalogue import Catalogue
from changeover.rollouts.decide import Rollout
from changeover.rollouts.pack import records
from changeover.rollouts.pack.guards import Tally, failed
from changeover.rollouts.pack.queries import asked_of_candidate, ratings_of_candidate
from changeover.rollouts.pack.records import (
    AnswerRecord,
    Asked,
    BundleRecord,
    BundlesFile,
    CopyScore,
    DatasetRecord,
    GuardTotals,
    Member,
    RolloutFile,
    SampleRecord,
    Terms,
    TrialRecord,
    TrialRow,
)
from changeover.rollouts.queries import Event, approvals_of, overrides_of, rollout_history
from changeover.rollouts.shadow_queries import ShadowScore, shadow_scores_of
from changeover.serving.bundles import Bundle, differences
from changeover.serving.queries import load_variants
from changeover.serving.variants import Variant
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import revisions_of, route_history
from changeover.tasks.routes import Route

MOST_ROUTES = 100_000
JUDGED = ("judge", "digests", "lengths", "identical", "places", "level", "levels", "repeated")
"""Of a judge's record: what its doubtfulness follows from, and no text."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What kind of pack is wanted."""

    project: str
    catalogue: Catalogue
    content: bool
    """With the texts of samples and answers."""
    now: datetime


@dataclass(frozen=True)
class Collector:
    """Documents of one rollout. The connection stays busy while lines are read."""

    connection: Connection
    rollout: Rollout
    asking: Asking
    tally: Tally

    @classmethod
    def of(cls, connection: Connection, rollout: Rollout, asking: Asking) -> Collector:
        return cls(connection, rollout, asking, Tally(candidate=rollout.candidate))

    def lines(self) -> Iterator[tuple[str, Iterable[Any]]]:
        """Each `.jsonl` file with its values, to be read to the end before `documents`."""
        yield records.SAMPLES, self._samples()
        yield records.GUARD, self._asked()
        yield records.SHADOW_SCORES, map(_copy_score, shadow_scores_of(self.connection, self.rollout.id))
        yield records.FEEDBACK, ratings_of_candidate(self.connection, self.rollout)

    def documents(self) -> Iterator[tuple[str, Any]]:
        """Each JSON file with its value, once all lines were read."""
        events = rollout_history(self.connection, self.rollout.id)
        comparisons = self._comparisons(events)
        routes = self._routes()
        yield (
            records.ROLLOUT,
            RolloutFile(
                project=self.asking.project,
                written_at=self.asking.now,
                content=self.asking.content,
                rollout=self.rollout,
                events=events,
                guard=self._guard(events),
            ),
        )
        yield records.BUNDLES, self._bundles(routes)
        yield records.COMPARISONS, [self._without_text(comparison) for comparison in comparisons]
        yield (
            records.DATASETS,
            [self._dataset(digest) for digest in dict.fromkeys(each.dataset for each in comparisons)],
        )
        yield records.ROUTES, routes
        yield records.APPROVALS, approvals_of(self.connection, self.rollout.id)
        yield records.OVERRIDES, overrides_of(self.connection, self.rollout.id)
        yield records.TRIALS, [] if self.rollout.trial is None else [self._trial(self.rollout.trial)]

    def _comparisons(self, events: Sequence[Event]) -> list[Comparison]:
        """All that the rollout's evaluation made, and the one that allowed it."""
        ids = [event.evidence["comparison"] for event in events if event.action == "evaluate"]
        if self.rollout.comparison is not None:
            ids.append(self.rollout.comparison)
        return [find_comparison(self.connection, id) for id in dict.fromkeys(ids)]

    def _without_text(self, comparison: Comparison) -> Comparison:
        summary = comparison.summary
        if self.asking.content or summary is None or summary.get("stopped") is None:
            return comparison
        # After the colon it repeats what a scorer said, who may have repeated an answer.
        return replace(comparison, summary={**summary, "stopped": str(summary["stopped"]).partition(":")[0]})

    def _trial(self, id: int) -> TrialRecord:
        trial = find_trial(self.connection, id)
        rows: list[TrialRow] = []
        for each in tasks_of_trial(self.connection, id):
            compared = None if each.comparison is None else find_comparison(self.connection, each.comparison)
            row = row_of(each.task, each.outcome, compared)
            told = TrialRow(
                task=each.task,
                kind=each.outcome.kind,
                comparison=each.comparison,
                verdict=row.verdict,
                no_worse=row.no_worse,
            )
            rows.append(told)
        return TrialRecord(
            id=trial.id,
            candidate=trial.candidate,
            actor=trial.actor,
            started_at=trial.started_at,
            ended_at=trial.ended_at,
            rate=trial.plan["rate"],
            rows=rows,
        )

    def _routes(self) -> list[Route]:
        """From the revision that the rollout found to the last that it wrote, oldest first."""
        history = route_history(self.connection, self.rollout.task, MOST_ROUTES)[::-1]
        own = [place for place, route in enumerate(history) if route.rollout == self.rollout.id]
        before = sum(route.created_at <= self.rollout.created_at for route in history)
        first = own[0] - 1 if own else before - 1
        last = own[-1] if own else first
        return history[max(first, 0) : last + 1]

    def _bundles(self, routes: Sequence[Route]) -> BundlesFile:
        ids = [self.rollout.incumbent, self.rollout.candidate, *(id for route in routes for id in route.variants())]
        found = load_variants(self.connection, dict.fromkeys(ids))
        old, new = found[self.rollout.incumbent], found[self.rollout.candidate]
        return BundlesFile(
            incumbent=old.id,
            candidate=new.id,
            differs=differences(old.bundle, new.bundle),
            bundles=[self._bundle(found[id]) for id in dict.fromkeys(ids) if id in found],
        )

    def _bundle(self, variant: Variant) -> BundleRecord:
        return BundleRecord(
            variant=variant.id,
            task=variant.task,
            deployment=variant.deployment,
            digest=variant.bundle.digest,
            document=variant.bundle.document(),
            terms=self._terms(variant.bundle),
        )

    def _terms(self, bundle: Bundle) -> Terms | None:
        try:
            card = self.asking.catalogue.card(bundle.engine.model)
        except UnknownModelError:
            return None
        weights, terms = bundle.engine.weights_digest, card.licence
        return Terms(
            card=card.id,
            licence=None if terms is None else terms.id,
            url=None if terms is None else terms.url,
            in_package=None if terms is None else terms.in_package,
            note=None if terms is None else terms.note,
            vendor=card.vendor,
            sources=[f"{', '.join(source.facts)}: {source.at}" for source in card.sources],
            checked=card.checked,
            weights_on_card=None if weights is None else weights in {each.sha256 for each in card.artifacts},
        )

    def _dataset(self, digest: str) -> DatasetRecord:
        kept = find_version(self.connection, digest)
        if kept is None:
            return DatasetRecord(digest=digest, path=None, members=None)
        members = [
            Member(
                id=sample.id,
                digest=sample.digest,
                cluster=sample.cluster,
                document=sample.document if self.asking.content else None,
            )
            for sample in kept.samples
        ]
        return DatasetRecord(digest=digest, path=str(kept.path), members=members)

    def _samples(self) -> Iterator[SampleRecord]:
        for comparison in self._comparisons(rollout_history(self.connection, self.rollout.id)):
            for chunk in _in_parts(compared_samples(self.connection, comparison.id)):
                answers = answers_by_id(
                    self.connection, (id for row in chunk for side in (0, 1) for id in _ids(row, side))
                )
                for row in chunk:
                    yield self._sample(row, answers)

    def _sample(self, row: ComparedSample, answers: Mapping[int, StoredAnswer]) -> SampleRecord:
        sides = [[self._answer(answers[id]) for id in _ids(row, side) if id in answers] for side in (0, 1)]
        kept = row if self.asking.content else replace(row, detail=without_words(row.detail))
        return SampleRecord(compared=kept, incumbent=sides[0], candidate=sides[1])

    def _answer(self, answer: StoredAnswer) -> AnswerRecord:
        told = AnswerRecord(
            id=answer.id,
            bundle=answer.bundle,
            asked=answer.sample,
            repeat=answer.repeat,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            duration_ms=answer.duration_ms,
            failed=answer.error is not None,
            text_sha256=None if answer.text is None else sha256_text(answer.text),
        )
        if not self.asking.content:
            return told
        calls = None if answer.tool_calls is None else list(answer.tool_calls)
        return replace(told, text=answer.text, tool_calls=calls, error=answer.error)

    def _asked(self) -> Iterator[Asked]:
        for exchange in asked_of_candidate(self.connection, self.rollout, self._first_revision()):
            asked = _asked(exchange, self.rollout.candidate)
            self.tally.add(asked)
            yield asked

    def _first_revision(self) -> int | None:
        own = revisions_of(self.connection, self.rollout.task, self.rollout.id)
        return None if own is None else own[0]

    def _guard(self, events: Sequence[Event]) -> GuardTotals:
        counted = max((each.evidence.get("whole", {}).get("asked", 0) for each in events), default=0)
        gone = counted - self.tally.asked
        missing = f"{gone} exchanges that a decision counted are kept no longer" if gone > 0 else None
        several = self.connection.dialect.name == "postgresql"
        return self.tally.totals("numbered" if several else "written", missing)


def _in_parts(rows: Sequence[ComparedSample], size: int = 200) -> Iterator[Sequence[ComparedSample]]:
    """Samples in parts whose answers are read at once."""
    for place in range(0, len(rows), size):
        yield rows[place : place + size]


def _ids(row: ComparedSample, side: int) -> list[int]:
    """All answers of one side."""
    several = row.detail.get(("incumbent", "candidate")[side], {}).get("answers")
    return several or [(row.incumbent_answer, row.candidate_answer)[side]]


def without_words(detail: Mapping[str, Any]) -> dict[str, Any]:
    """A sample's detail with everything that decides, and without what scorers say of answers in words."""
    kept: dict[str, Any] = {"failed": detail["failed"]} if "failed" in detail else {}
    for side in ("incumbent", "candidate"):
        told: Mapping[str, Any] = detail.get(side, {})
        judged = [{name: each[name] for name in JUDGED if name in each} for each in records_in(told.get("why") or {})]
        measures: Mapping[str, Any] = told.get("measures") or {}
        kept[side] = {
            **{name: told[name] for name in ("answers", "each", "cost_usd") if name in told},
            **({"why": {"judged": judged}} if judged else {}),
            **({"measures": {name: {"score": each["score"]} for name, each in measures.items()}} if measures else {}),
        }
    return kept


def _copy_score(score: ShadowScore) -> CopyScore:
    return CopyScore(
        exchange=score.exchange,
        scorer=score.scorer,
        name=score.name,
        incumbent_score=score.incumbent_score,
        candidate_score=score.candidate_score,
        failed=score.error is not None,
        at=score.at,
    )


def _asked(exchange: Exchange, candidate: str) -> Asked:
    asked = Asked(
        id=exchange.id,
        at=exchange.started_at,
        copy_of=exchange.shadow_of,
        revision=exchange.revision,
        variant=exchange.variant,
        failed_variants=list(exchange.failed_variants),
        status=exchange.status,
        error=exchange.error,
        truncated=exchange.truncated,
        abandoned=exchange.abandoned,
        violation=exchange.violation,
        duration_ms=exchange.duration_ms,
        first_chunk_ms=exchange.first_chunk_ms,
        failed=False,
    )
    return replace(asked, failed=failed(asked, candidate))
