"""What evaluations keep as it comes: answers, scores, compared samples. Many of them go into one transaction.

An answer is on disk before anything is concluded from it, so that a process that is killed pays for no answer twice.
A transaction for each would cost more than the rest of the run: those that come while one is being written share the
next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType

from changeover.core.clock import Clock
from changeover.evals.queries import (
    ComparedSample,
    StoredAnswer,
    StoredScore,
    add_answers,
    add_compared_samples,
    add_scores,
    find_answers,
    find_scores,
)
from changeover.store.engine import Store

Asked = tuple[str, str, int]
"""Bundle, digest of what is asked, repeat."""


@dataclass
class _Batch:
    """What the next transaction writes."""

    answers: list[tuple[StoredAnswer, asyncio.Future[StoredAnswer]]] = field(
        default_factory=list[tuple[StoredAnswer, asyncio.Future[StoredAnswer]]]
    )
    scores: dict[tuple[int, str], StoredScore] = field(default_factory=dict[tuple[int, str], StoredScore])
    compared: list[ComparedSample] = field(default_factory=list[ComparedSample])

    def __bool__(self) -> bool:
        return bool(self.answers or self.scores or self.compared)


class Journal:
    """Kept answers and scores: those of earlier runs, and those that come. `async with`: at its end all is written."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._answers: dict[Asked, StoredAnswer] = {}
        self._scores: dict[tuple[int, str], StoredScore] = {}
        self._batch = _Batch()
        self._writer: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def __aenter__(self) -> Journal:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._drain()
        if self._failure is not None and error is None:
            raise self._failure

    async def flush(self) -> None:
        """Wait until all is written.

        Raises:
            StoreError: Something could not be; whoever concludes from it must not.
        """
        await self._drain()
        if self._failure is not None:
            raise self._failure

    async def _drain(self) -> None:
        if self._batch:
            self._wake()
        while self._writer is not None:
            await self._writer

    async def recall(self, bundles: Iterable[str], asked: Iterable[str]) -> None:
        """Read what is kept of these, in few queries instead of one for each."""

        def read() -> tuple[list[StoredAnswer], dict[tuple[int, str], StoredScore]]:
            with self._store.read() as connection:
                found = find_answers(connection, bundles, asked)
                return found, find_scores(connection, (answer.id for answer in found))

        found, scores = await asyncio.to_thread(read)
        for answer in found:
            self._answers.setdefault(answer.identity, answer)
        self._scores.update(scores)

    def known_answer(self, asked: Asked) -> StoredAnswer | None:
        """An answer that was recalled or came in this run."""
        return self._answers.get(asked)

    def known_score(self, answer: int, scorer: str) -> StoredScore | None:
        return self._scores.get((answer, scorer))

    async def keep_answer(self, answer: StoredAnswer) -> StoredAnswer:
        """Write an answer and give it with its id, once it is on disk. The first answer to the same stands."""
        written: asyncio.Future[StoredAnswer] = asyncio.get_running_loop().create_future()
        self._batch.answers.append((answer, written))
        self._wake()
        kept = await written
        if kept.error is None:
            self._answers.setdefault(kept.identity, kept)
        return kept

    def keep_score(self, answer: int, scorer: str, score: StoredScore) -> None:
        """Write a score with the next answers, or at the end: one that is lost is made again for nothing."""
        self._scores[answer, scorer] = score
        self._batch.scores[answer, scorer] = score

    def keep_compared(self, sample: ComparedSample) -> None:
        """Write a compared sample with the next answers, or at the end."""
        self._batch.compared.append(sample)

    def _wake(self) -> None:
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            await asyncio.sleep(0)  # what came at the same time goes along
            while self._batch:
                batch, self._batch = self._batch, _Batch()
                try:
                    kept = await asyncio.to_thread(self._commit, batch)
                except Exception as exc:
                    # Told to whoever waits for an answer of this batch, and at the end to whoever does not.
                    self._failure = exc
                    for _, written in batch.answers:
                        if not written.done():
                            written.set_exception(exc)
                else:
                    for (_, written), answer in zip(batch.answers, kept, strict=True):
                        if not written.done():
                            written.set_result(answer)
        finally:
            self._writer = None

    def _commit(self, batch: _Batch) -> list[StoredAnswer]:
        with self._store.write() as connection:
            kept = add_answers(connection, [answer for answer, _ in batch.answers], self._clock.now())
            add_scores(connection, batch.scores)
            add_compared_samples(connection, batch.compared)
        return kept
