"""A trial: one candidate against the incumbent of every task that it could serve, and the rollouts that follow from it.

Rows are written as it goes. One that was interrupted, or whose budget was spent, goes on for a day: verdicts and answers
that are there are used again, and what failed is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

from sqlalchemy import Connection

from changeover.app.at_work import card_of
from changeover.app.deploy import declared_variant, incumbent_of
from changeover.app.installation import Installation
from changeover.app.licence_checks import check_switch, judge_named
from changeover.app.local import running_address
from changeover.app.matching import Prepared, known_verdict, match_of, prepared, with_budget
from changeover.core.errors import ChangeoverError, ConfigError
from changeover.evals.comparison import Live, Match, compare
from changeover.evals.multiplicity import RATE
from changeover.evals.queries import Comparison, answers_by_id, compared_samples, find_comparison, verdicts_by_id
from changeover.evals.runner import Runner
from changeover.evals.stopping import Stop
from changeover.evals.trial_queries import (
    Figures,
    Trial,
    TrialTask,
    add_trial,
    end_trial,
    figures_of,
    find_trial,
    put_trial_task,
    tasks_of_trial,
    unfinished_trial,
)
from changeover.evals.trials import Outcome, Row, Table, judged, measured_row, ratios_of, row_of, samples_left
from changeover.library.cards import Card
from changeover.library.licences.words import short
from changeover.library.successors import unfit
from changeover.rollouts.actions import By, plan_of, start
from changeover.rollouts.decide import Rollout
from changeover.rollouts.gate import check_gate
from changeover.serving.bundles import EnginePart
from changeover.serving.queries import Deployment, all_deployments, load_variants
from changeover.serving.variants import Variant
from changeover.tasks.declarations import find_task
from changeover.tasks.queries import current_routes

RESUMED_WITHIN = timedelta(days=1)

Runners = Callable[[Prepared], AbstractAsyncContextManager[Runner]]
"""What gives a runner that asks the running gateway."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What is known of a model that may be tried, deployed or not."""

    name: str
    card: Card | None
    context_tokens: int | None
    """Of one request with its answer; None: unknown."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What became of one task that a trial recommends to switch."""

    task: str
    rollout: Rollout | None
    skipped: str | None
    """Why there is no rollout."""


def engine_of(installation: Installation, name: str) -> Engine:
    """What is known of a deployment, or of a card that is not deployed."""
    with installation.store.read() as connection:
        return engine_among(installation, name, {row.name: row for row in all_deployments(connection)})


def engine_among(installation: Installation, name: str, deployed: Mapping[str, Deployment]) -> Engine:
    """The same, for who has read the deployments."""
    row = deployed.get(name)
    if row is not None:
        part = EnginePart.from_document(row.engine)
        card = card_of(installation.catalogue, row)
        context = part.flags.get("context_tokens", row.options.get("context_tokens"))
        return Engine(name=name, card=card, context_tokens=context if isinstance(context, int) else None)
    card = next((card for card in installation.catalogue.cards() if card.id == name), None)
    return Engine(name=name, card=card, context_tokens=None if card is None else card_context(installation, card))


def card_context(installation: Installation, card: Card) -> int | None:
    """How long a request a card would take, deployed with the project's defaults; None where the card does not say."""
    if card.context_tokens is None:
        return None
    return min(card.context_tokens, installation.project.settings.engines.context_tokens)


def cannot_serve(engine: Engine, figures: Figures) -> str | None:
    """Why a model cannot serve a task, as a sentence's middle; None where nothing that is known speaks against it.

    Args:
        engine: The model.
        figures: Of the incumbent's kept answers to the task's samples.
    """
    longest = figures.longest_prompt
    if longest is not None and engine.context_tokens is not None and longest > engine.context_tokens:
        return f"it takes {engine.context_tokens:,} tokens, and samples of this task have {longest:,}"
    return None


def figures_on(connection: Connection, variant: Variant, ready: Prepared) -> Figures:
    """What a variant's kept answers to a task's samples took."""
    return figures_of(connection, variant.bundle.digest, (sample.asked for sample in ready.dataset.samples))


def check_trial(installation: Installation, candidate: str, only: Sequence[str]) -> None:
    """Refuse a trial of which no task could come, before anything is fetched for it.

    Raises:
        UnknownTaskError: There is no task of that name.
        ConfigError: The candidate is a model that serves no task.
    """
    for name in only:
        find_task(installation.tasks, name)
    card = engine_of(installation, candidate).card
    if card is not None and (reason := unfit(card)) is not None:
        raise ConfigError(
            f"`{candidate}` can serve no task: {reason}. `changeover candidates` lists what could be tried."
        )


def begin_trial(installation: Installation, candidate: str, only: Sequence[str], actor: str) -> tuple[Trial, bool]:
    """Begin a trial, or take up the one that was not finished; says which. The candidate must be deployed."""
    names = list(dict.fromkeys(only)) or sorted(installation.tasks)
    now = installation.clock.now()
    card = engine_of(installation, candidate).card
    with installation.store.write() as connection:
        unfinished = unfinished_trial(connection, candidate, now - RESUMED_WITHIN)
        if unfinished is not None and unfinished.plan["tasks"] == names:
            return unfinished, True
        plan = {"tasks": names, "rate": RATE, "licence": None if card is None else card.licence_id}
        begun = Trial(id=0, candidate=candidate, plan=plan, actor=actor, started_at=now, ended_at=None)
        return add_trial(connection, begun), False


class Trying:
    """A trial that runs."""

    def __init__(
        self,
        installation: Installation,
        trial: Trial,
        runners: Runners,
        *,
        max_calls: int | None,
        actor: str,
        on_change: Callable[[Table], None] = lambda _: None,
        stop: Stop | None = None,
    ) -> None:
        """Prepare to run.

        Args:
            installation: Where.
            trial: Begun, or begun and interrupted.
            runners: Who asks.
            max_calls: New calls over all tasks together; None: no limit beside the tasks' own.
            actor: Who runs it.
            on_change: Told how the table stands, also within a task.
            stop: By which somebody can interrupt it; the task that is measured then waits for another time.
        """
        self._installation = installation
        self._trial = trial
        self._runners = runners
        self._left = max_calls
        self._max_calls = max_calls
        self._actor = actor
        self._on_change = on_change
        self._stop = stop or Stop()
        with installation.store.read() as connection:
            self._table = table_of(connection, trial)
            self._known = {row.task: row for row in tasks_of_trial(connection, trial.id)}
        self._engine = engine_of(installation, trial.candidate)

    async def run(self) -> Table:
        """Try every task in turn; what goes wrong with one stops no other.

        Raises:
            ChangeoverError: The system has gone. What was found so far is kept.
        """
        finished = True
        for position, name in enumerate(self._trial.plan["tasks"]):
            if running_address(self._installation.project.state) is None:
                raise ChangeoverError(
                    f"The system has gone. Start it with `changeover up`, then go on: "
                    f"`changeover trial {self._trial.candidate}`."
                )
            kept = await self._try(name)
            finished = finished and not self._stopped_short(kept)
            row = TrialTask(
                trial=self._trial.id,
                task=name,
                position=position,
                comparison=kept.comparison,
                outcome=kept.outcome,
                at=self._installation.clock.now(),
            )
            with self._installation.store.write() as connection:
                put_trial_task(connection, row)
            self._show(kept)
            if self._stop.said is not None:
                break
        if finished:
            with self._installation.store.write() as connection:
                end_trial(connection, self._trial.id, self._installation.clock.now())
        with self._installation.store.read() as connection:
            return table_of(connection, find_trial(connection, self._trial.id))

    def _stopped_short(self, row: Row) -> bool:
        """Whether the trial's own budget, and not the task's, ended it."""
        return row.outcome.kind == "waiting" or (
            self._left == 0 and row.verdict == "inconclusive" and row.outcome.reason is not None
        )

    async def _try(self, name: str) -> Row:
        clock = self._installation.clock
        started, incumbent = clock.monotonic(), None
        try:
            if self._stop.said is not None:
                return row_of(name, Outcome(kind="waiting", reason=self._stop.said), None)
            with self._installation.store.read() as connection:
                variant = incumbent_of(connection, name)
            incumbent = variant.deployment
            ready = prepared(self._installation, name)
            if variant == declared_variant(self._installation, name, self._trial.candidate):
                return row_of(name, Outcome(kind="incumbent", reason="it answers already", incumbent=incumbent), None)
            with self._installation.store.read() as connection:
                reason = cannot_serve(self._engine, figures_on(connection, variant, ready))
            if reason is not None:
                return row_of(name, Outcome(kind="unfit", reason=reason, incumbent=incumbent), None)
            judgement = judge_named(self._installation, self._trial.candidate, name)
            if judgement is not None and not judgement.allowed:
                return row_of(name, Outcome(kind="denied", reason=short(judgement), incumbent=incumbent), None)
            match = match_of(self._installation, ready, self._trial.candidate, self._actor)
            return await self._measured(ready, match, started)
        except ChangeoverError as exc:
            failed = Outcome(
                kind="failed", reason=exc.message, incumbent=incumbent, seconds=clock.monotonic() - started
            )
            return row_of(name, failed, None)

    async def _measured(self, ready: Prepared, match: Match, started: float) -> Row:
        name, incumbent = match.task.name, match.incumbent.deployment
        known = known_verdict(self._installation, match)
        before = self._known.get(name)
        if known is not None and before is not None and before.comparison == known.id:
            return row_of(name, before.outcome, known)
        if known is not None:
            said = known.summary or {}
            calls = {"calls_kept": said.get("calls_new", 0) + said.get("calls_cached", 0), "reused": True}
        elif self._left == 0:
            spent = f"the budget of {self._max_calls:,} new calls is spent"
            return row_of(name, Outcome(kind="waiting", reason=spent, incumbent=incumbent), None)
        else:
            known, live = await self._compare(ready, match)
            if live.stopped is not None and live.stopped == self._stop.said:
                return row_of(name, Outcome(kind="waiting", reason=live.stopped, incumbent=incumbent), None)
            calls = {"calls_kept": live.calls_cached, "calls_new": live.calls_new}
            if self._left is not None:
                self._left = max(0, self._left - live.calls_new)
        with self._installation.store.read() as connection:
            rows = compared_samples(connection, known.id)
            answers = answers_by_id(
                connection, (id for row in rows for id in (row.incumbent_answer, row.candidate_answer))
            )
        outcome = Outcome(
            kind="measured",
            reason=(known.summary or {}).get("stopped"),
            incumbent=incumbent,
            samples_left=samples_left(known, rows) if known.verdict == "inconclusive" else None,
            seconds=self._installation.clock.monotonic() - started,
            **calls,
            **ratios_of(rows, answers),
        )
        return row_of(name, outcome, known)

    async def _compare(self, ready: Prepared, match: Match) -> tuple[Comparison, Live]:
        own = match.task.declared.gate.max_calls
        caps = [cap for cap in (own, self._left) if cap is not None]
        running = Outcome(kind="running", incumbent=match.incumbent.deployment)
        self._show(Row(task=match.task.name, outcome=running, verdict="waiting"))
        async with self._runners(ready) as runner:
            id, live = await compare(
                with_budget(match, min(caps, default=None), None),
                store=self._installation.store,
                runner=runner,
                clock=self._installation.clock,
                on_progress=lambda live: self._show(_under_way(live)),
                stop=self._stop,
            )
        with self._installation.store.read() as connection:
            return find_comparison(connection, id), live

    def _show(self, row: Row) -> None:
        """Put a line into the table, and tell how it stands."""
        rows = [row if each.task == row.task else each for each in self._table.rows]
        self._table = replace(self._table, rows=judged(rows, self._table.rate))
        self._on_change(self._table)


def table_of(connection: Connection, trial: Trial) -> Table:
    """A trial as it is kept, judged."""
    kept = {row.task: row for row in tasks_of_trial(connection, trial.id)}
    waiting = [name for name in trial.plan["tasks"] if name not in kept]
    routes = {name: route for name, route in current_routes(connection).items() if name in waiting}
    variants = load_variants(connection, (route.incumbent for route in routes.values()))
    ids = [row.comparison for row in kept.values() if row.comparison is not None]
    verdicts = verdicts_by_id(connection, ids)
    rows: list[Row] = []
    for name in trial.plan["tasks"]:
        if name not in kept:
            incumbent = variants[routes[name].incumbent].deployment if name in routes else None
            rows.append(row_of(name, Outcome(kind="waiting", incumbent=incumbent), None))
            continue
        comparison = kept[name].comparison
        rows.append(row_of(name, kept[name].outcome, None if comparison is None else verdicts[comparison]))
    return Table(
        trial=trial.id,
        candidate=trial.candidate,
        licence=trial.plan["licence"],
        started_at=trial.started_at,
        ended_at=trial.ended_at,
        rate=trial.plan["rate"],
        rows=judged(rows, trial.plan["rate"]),
    )


def start_rollouts(installation: Installation, table: Table, only: str | None, by: By) -> list[Begun]:
    """Begin a rollout for every task that a trial recommends to switch, or for one of them.

    What is in the way of one (another rollout, a changed prompt, a new incumbent, an edited dataset) stops no other.
    """
    begun: list[Begun] = []
    for row in table.rows:
        if not row.holds or only not in (None, row.task):
            continue
        try:
            rollout, skipped = _start(installation, table, row.task, by), None
        except ChangeoverError as exc:
            rollout, skipped = None, exc.message
        begun.append(Begun(task=row.task, rollout=rollout, skipped=skipped))
    return begun


def _start(installation: Installation, table: Table, task: str, by: By) -> Rollout:
    check_switch(installation, task, table.candidate)
    match = match_of(installation, prepared(installation, task), table.candidate, by.actor)
    # Not the trial's own comparison by its number, but the verdict on what would be switched now.
    gate = match.task.declared.gate
    comparison = check_gate(known_verdict(installation, match), task=task, candidate=table.candidate, gate=gate)
    with installation.store.write() as connection:
        return start(
            connection,
            match.candidate,
            plan_of(match.task.declared),
            comparison.id,
            replace(by, reason=by.reason or f"{table.candidate} passed {comparison.id}, trial {table.trial}"),
            measured_against=match.incumbent.id,
            trial=table.trial,
        )


def _under_way(live: Live) -> Row:
    outcome = Outcome(kind="running", incumbent=live.incumbent, calls_new=live.calls_new, calls_kept=live.calls_cached)
    return measured_row(live.task, replace(outcome, seconds=live.seconds), asdict(live))
