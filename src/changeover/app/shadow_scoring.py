"""Scores both answers to copied requests, by scorers that need no target and by judges. There is one in an installation.

It reads what is recorded and writes what came of it; the controller decides by that. It works a little at a time: a judge
that is slow, fails or is gone delays nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from changeover.app.deploy import incumbent_of
from changeover.app.installation import Installation, spec_of
from changeover.app.local import operator_key
from changeover.core.errors import ChangeoverError, JudgeError, NotReadyError
from changeover.core.threads import in_thread
from changeover.evals.answers import Answer
from changeover.evals.caller import Caller, LateCaller
from changeover.evals.datasets import Message, Sample
from changeover.evals.judges.kinship import check_judge
from changeover.evals.live import NO_SANDBOX, answer_of, asked_of, at_once
from changeover.evals.scorers import Score, ScorerSpec, prefer, score
from changeover.evals.scorers.base import Means
from changeover.rollouts.decide import Rollout
from changeover.rollouts.queries import active_rollouts
from changeover.rollouts.shadow_queries import ShadowScore, add_shadow_scores, scorer_key, unscored_pairs
from changeover.serving.queries import load_variants
from changeover.serving.variants import Variant
from changeover.store.lead import Lead
from changeover.tasks.applied import latest_applied_revision, newest_applied, tasks_of
from changeover.tasks.declarations import Task
from changeover.tasks.exchanges import Exchange
from changeover.tasks.observed import OVERLAP, newest_seq

log = logging.getLogger(__name__)

Result = TypeVar("Result")

TICK_S = 1.0
MOST_IN_A_LOOK = 16
"""Pairs of one rollout that are read and scored together."""
MOST_AT_ONCE = 4
"""Judges that are asked at once, for all rollouts together."""
MOST_SAID = 200


@dataclass(frozen=True)
class _Asked:
    """A judge as it is now, for scorers that ask one. What it says is not kept: it may quote what it was shown."""

    caller: Caller
    judges: Mapping[str, tuple[Task, Variant]]
    turns: asyncio.Semaphore

    async def ask(self, task: str, messages: Sequence[Message], *, repeat: int = 0) -> Answer:
        """Ask the task that judges, through the gateway. See `Judge` in the scorers."""
        if task not in self.judges:
            raise JudgeError(f"No task `{task}` that could judge. Declare tasks/{task}.toml.")
        judge, variant = self.judges[task]
        async with self.turns:
            reply = await self.caller.ask(
                f"{task}@{variant.id}",
                [{"role": message.role, "content": message.content} for message in messages],
                timeout_s=judge.declared.timeout_s,
                seed=repeat,
            )
        if reply.text is None:
            raise JudgeError(f"The judge `{task}` could not answer: {reply.error}")
        return Answer(text=reply.text, finish_reason=reply.finish_reason)


@dataclass(frozen=True)
class _Prepared:
    """What a rollout's pairs are scored with."""

    specs: tuple[ScorerSpec, ...]
    means: Means
    unfit: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why a task may not judge this rollout, by its name."""


class ShadowScoring:
    """Looks at every rollout in its shadow step, again and again."""

    def __init__(self, installation: Installation, address: str, lead: Lead | None = None) -> None:
        """Set up; nothing is asked yet.

        Args:
            installation: Its store is the running one.
            address: Where judges are asked: this installation's gateway.
            lead: Whether this process does it; None: nobody else does.
        """
        self._lead = lead
        self._installation = installation
        self._store = installation.store
        self._address = address
        self._caller: Caller | None = None
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        # Its own: scorers take their time, and in the process's others routes and keys are followed.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shadow-scores")
        self._revision = -1
        self._tasks: Mapping[str, Task] = {}
        self._done: dict[int, int] = {}
        """By rollout: the number in the order of arrival up to which every copy is scored."""
        self._looks: dict[int, asyncio.Task[None]] = {}
        """By rollout: one that waits for its judge keeps no other waiting."""
        self._said: set[str] = set()

    async def run(self) -> None:
        """Tick for ever. What cannot be done now is done later, and said once."""
        try:
            while True:
                try:
                    await self.tick()
                except ChangeoverError as exc:  # the store is gone, or a declaration is of another version
                    self._say(f"shadow scores: {exc}")
                await asyncio.sleep(TICK_S)
        finally:
            for look in self._looks.values():
                look.cancel()
            await asyncio.gather(*self._looks.values(), return_exceptions=True)
            await in_thread(partial(self._thread.shutdown, wait=True, cancel_futures=True))
            if self._caller is not None:
                await self._caller.close()

    async def tick(self) -> None:
        """Begin to look at each rollout that nobody is looking at."""
        rollouts = {rollout.id: rollout for rollout in await self._threaded(self._rollouts)}
        self._done = {id: seq for id, seq in self._done.items() if id in rollouts}
        self._looks = {id: look for id, look in self._looks.items() if not look.done()}
        for id, rollout in rollouts.items():
            if id not in self._looks:
                self._looks[id] = asyncio.create_task(self._look(rollout))

    async def _threaded(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _rollouts(self) -> list[Rollout]:
        """Those whose copies are scored, after a look at what was applied last."""
        if self._lead is not None and not self._lead.held():
            return []
        with self._store.read() as connection:
            active = [each for each in active_rollouts(connection) if each.state == "shadow"]
            if active and (revision := latest_applied_revision(connection)) != self._revision:
                applied = newest_applied(connection)
                root = self._installation.project.root
                self._tasks = {} if applied is None else tasks_of(applied.document, root)
                self._revision = revision
        return [each for each in active if each.task in self._tasks and self._declared(each.task)]

    def _declared(self, task: str) -> bool:
        return bool(self._tasks[task].declared.shadow.scorers)

    async def _look(self, rollout: Rollout) -> None:
        try:
            await self._score_some(rollout)
        except ChangeoverError as exc:
            self._say(f"shadow scores: `{rollout.task}`: {exc}")
        except Exception:  # the edge of a loop: whoever only scores must not stop the system
            log.exception("shadow scores: `%s`", rollout.task)

    async def _score_some(self, rollout: Rollout) -> None:
        after = self._done.get(rollout.id, 0)
        pairs, newest = await self._threaded(lambda: self._pairs(rollout, after))
        if pairs:
            prepared = await self._threaded(lambda: self._prepared(rollout))
            results = await asyncio.gather(*(self._score(rollout, prepared, *pair) for pair in pairs))
            scores = [score for result in results if result is not None for score in result]
            await self._threaded(lambda: self._write(scores))
            if None in results:
                return
        if len(pairs) < MOST_IN_A_LOOK:
            self._done[rollout.id] = max(newest - OVERLAP, 0)

    def _pairs(self, rollout: Rollout, after: int) -> tuple[list[tuple[Exchange, Exchange]], int]:
        with self._store.read() as connection:
            return unscored_pairs(connection, rollout, after, MOST_IN_A_LOOK), newest_seq(connection)

    def _write(self, scores: Sequence[ShadowScore]) -> None:
        if scores:
            with self._store.write() as connection:
                add_shadow_scores(connection, scores)

    def _prepared(self, rollout: Rollout) -> _Prepared:
        """The task's scorers, and who judges now. Judges may be switched while a rollout is under way."""
        task = self._tasks[rollout.task]
        plain = [spec_of(task, declared) for declared in task.declared.shadow.scorers]
        judges: dict[str, tuple[Task, Variant]] = {}
        unfit: dict[str, str] = {}
        with self._store.read() as connection:
            arms = load_variants(connection, [rollout.incumbent, rollout.candidate])
            for name in sorted({judge for spec in plain for judge in spec.judges}):
                try:
                    if name not in self._tasks:
                        raise JudgeError(f"No task `{name}` that could judge. Declare tasks/{name}.toml.")
                    judge = incumbent_of(connection, name)
                    for arm in arms.values():
                        check_judge(self._installation.catalogue, name, judge, arm)
                    judges[name] = self._tasks[name], judge
                except ChangeoverError as exc:
                    unfit[name] = exc.message
        if judges and self._caller is None:
            self._caller = LateCaller(self._address, operator_key(self._installation.project.state))
        bundles = {name: variant.bundle.digest for name, (_, variant) in judges.items()} | dict.fromkeys(unfit, "")
        specs = tuple(spec.model_copy(update={"judge_bundles": bundles}) for spec in plain)
        judge = None if self._caller is None else _Asked(self._caller, judges, self._turns)
        return _Prepared(specs, Means(sandbox=NO_SANDBOX, judge=judge), unfit)

    async def _score(
        self, rollout: Rollout, prepared: _Prepared, original: Exchange, copy: Exchange
    ) -> list[ShadowScore] | None:
        """Both answers by every scorer; None: a judge cannot be reached now, and the pair is to be looked at again."""
        made: list[ShadowScore] = []
        for place, spec in enumerate(prepared.specs):
            try:
                one, other = await self._both(spec, prepared, original, copy)
                error = one.error or other.error
            except NotReadyError as exc:
                self._say(f"shadow scores: `{rollout.task}`: {exc}")
                return None
            except (ChangeoverError, ValueError) as exc:
                one = other = Score(value=0.0)
                error = str(exc)
            except Exception as exc:  # a scorer's bug is the pair's error, and nobody else's
                log.exception("shadow scores: `%s` on %s", spec.name, copy.id)
                one = other = Score(value=0.0)
                error = f"the scorer failed: {type(exc).__name__}"
            made.append(
                ShadowScore(
                    exchange=copy.id,
                    scorer=scorer_key(place, spec.digest),
                    rollout=rollout.id,
                    name=spec.name,
                    incumbent_score=None if error else one.value,
                    candidate_score=None if error else other.value,
                    error=error,
                    at=self._installation.clock.now(),
                )
            )
        return made

    async def _both(
        self, spec: ScorerSpec, prepared: _Prepared, original: Exchange, copy: Exchange
    ) -> tuple[Score, Score]:
        """The score of the answer that the caller got, and of the candidate's.

        Raises:
            JudgeError: It may not be judged by whom it names.
            NotReadyError: A judge cannot be reached.
            ValueError: What is recorded cannot be read.
        """
        for judge in spec.judges:
            if judge in prepared.unfit:
                raise JudgeError(prepared.unfit[judge])
        means = prepared.means
        sample = asked_of(copy.id, original.request or "")
        one, other = _answer(original), _answer(copy)
        if spec.kind == "pair":
            found = await prefer(spec, sample, one, other, means)
            return Score(value=1.0 - found.value, error=found.error), found
        if spec.cost == "pure":
            return await self._threaded(lambda: _computed(spec, sample, one, other, means))
        return await score(spec, sample, one, means), await score(spec, sample, other, means)

    def _say(self, words: str) -> None:
        """Warn, once for each thing."""
        if len(self._said) >= MOST_SAID:
            self._said.clear()
        if words not in self._said:
            self._said.add(words)
            log.warning("%s", words)


def _computed(spec: ScorerSpec, sample: Sample, one: Answer, other: Answer, means: Means) -> tuple[Score, Score]:
    """Off the event loop: a scorer may take its time, and callers may be answered in this process."""
    return at_once(score(spec, sample, one, means)), at_once(score(spec, sample, other, means))


def _answer(exchange: Exchange) -> Answer:
    return answer_of(
        exchange.response or "",
        prompt_tokens=exchange.prompt_tokens,
        completion_tokens=exchange.completion_tokens,
        duration_ms=exchange.duration_ms,
    )
