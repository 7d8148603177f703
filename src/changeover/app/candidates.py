"""What could replace an incumbent, what it would need, and what a trial of it would cost. Unknown stays unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from changeover.app.at_work import AtWork, card_behind, model_of
from changeover.app.installation import Installation
from changeover.app.licence_checks import judge_engine, licensing_of
from changeover.app.matching import Prepared, prepared
from changeover.app.trials import Engine, cannot_serve, engine_among, figures_on
from changeover.core.errors import ChangeoverError
from changeover.core.settings import Price
from changeover.evals.comparison import SEED
from changeover.evals.datasets import Sample
from changeover.evals.datasets.power import expected_samples
from changeover.evals.known import whole
from changeover.evals.sequential import TestPlan
from changeover.evals.trial_queries import Figures
from changeover.library.artifacts import FileSource, embeddable
from changeover.library.cards import Card
from changeover.library.fit import fits_here
from changeover.library.licences.judgement import Judgement
from changeover.library.licences.words import short
from changeover.library.pull import present
from changeover.library.successors import successors, unfit
from changeover.serving.bundles import EnginePart
from changeover.serving.memory import budget_bytes
from changeover.serving.queries import ANSWERING, bundle_digests
from changeover.serving.variants import Variant
from changeover.tasks.declarations import find_task

ELSEWHERE = "openai"
"""Backend of engines that others run: nobody knows what they take, and it is not of this machine."""

Relation = Literal["successor", "other"]
Runs = Literal[
    "running",
    "deployed",
    "on a server",
    "weights are here",
    "fetched first",
    "from a file",
    "no source",
    "by a server only",
]
_FARTHEST: tuple[Runs, ...] = ("no source", "by a server only")
"""What a person has to do something for before it can run, least first."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What running it takes, in bytes."""

    needs: int | None
    """None: unknown."""
    measured: bool
    """False: estimated from weights, context and engine, with the project's usual context and slots."""
    budget: int


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What comparing it would ask of models. A judge's calls are not among them: what it is asked is not known yet."""

    calls: int
    """New ones, where the two are equal: as the sequential test is designed, on average."""
    most_calls: int
    """If every sample were needed."""
    seconds: float | None
    """Rough: as long as the incumbent's answers took. None: it has not answered yet, so nobody knows."""
    usd: float | None
    """By declared prices, with answers as long as the incumbent's; None: a price is not declared."""
    judged: bool
    """Whether a judge is asked too."""

    def plus(self, other: Cost) -> Cost:
        """Both together; what is not known of one is not known of both."""
        return Cost(
            calls=self.calls + other.calls,
            most_calls=self.most_calls + other.most_calls,
            seconds=None if self.seconds is None or other.seconds is None else self.seconds + other.seconds,
            usd=None if self.usd is None or other.usd is None else self.usd + other.usd,
            judged=self.judged or other.judged,
        )


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that could be tried."""

    name: str
    """For `changeover trial`."""
    relation: Relation
    succeeds: Mapping[str, str]
    """Tasks whose incumbent it follows, each with the reason."""
    tasks: tuple[str, ...]
    """All that it could serve and does not answer yet; those whose incumbent it follows first."""
    cannot: Mapping[str, str]
    """Tasks that it cannot serve, each with the reason."""
    denied: Mapping[str, str]
    """Of those, the ones that the policy keeps it from now, each with the clause."""
    released: str | None
    """ISO date, or the month where only that is known."""
    licence: str | None
    memory: Memory
    runs: Runs
    cost: Cost | None
    """Of a trial on all of `tasks`; None: no dataset of theirs could be read."""
    uncosted: Mapping[str, str]
    """Tasks whose cost is not known, each with the reason."""


@dataclass(frozen=True)
class Asked:
    """What a comparison on a task would ask, whoever the candidate is."""

    ready: Prepared
    incumbent: Variant
    figures: Figures
    """Of the incumbent's kept answers."""

    @cached_property
    def samples(self) -> list[Sample]:
        """All that could be drawn, in order."""
        dataset = self.ready.dataset
        return [sample for group in whole(dataset.shuffled(SEED), self._most) for sample in group]

    @cached_property
    def expected(self) -> list[Sample]:
        """So many as a comparison with an equal candidate takes on average."""
        gate = self.ready.task.declared.gate
        plan = TestPlan(margin=gate.margin, alpha=gate.alpha, beta=gate.beta, max_samples=len(self.samples))
        return self.samples[: max(expected_samples(plan, len(self.samples)), gate.min_samples)]

    @cached_property
    def of_incumbent(self) -> tuple[int, int]:
        """Calls that are still to be made to the incumbent: of those that are expected, and of all."""
        return self.calls(self.figures.kept)

    @cached_property
    def of_stranger(self) -> tuple[int, int]:
        """The same of whoever was asked nothing yet."""
        return self.calls(frozenset())

    def calls(self, kept: frozenset[tuple[str, int]]) -> tuple[int, int]:
        """The same of who has answered to some."""
        repeats = self.ready.task.declared.repeats
        return _new(self.expected, repeats, kept), _new(self.samples, repeats, kept)

    @property
    def _most(self) -> int:
        count = len(self.ready.dataset.samples)
        return min(self.ready.task.declared.gate.max_samples or count, count)


class Candidates:
    """Looks for what could be tried. Reads each task's dataset once."""

    def __init__(self, installation: Installation, task: str | None = None) -> None:
        """Read what answers now.

        Raises:
            UnknownTaskError: There is no task of that name.
        """
        if task is not None:
            find_task(installation.tasks, task)
        self._installation = installation
        self._licensing = licensing_of(installation)
        self._budget = budget_bytes(installation.project.settings.engines.memory_gib)
        with installation.store.read() as connection:
            at_work = AtWork.read(connection, installation.catalogue, installation.only)
            self._known = bundle_digests(connection)
        self._deployments = at_work.deployments
        self._incumbents = {
            name: variant
            for name, variant in at_work.incumbents.items()
            if name in installation.tasks and task in (None, name)
        }
        self._asked: dict[str, Asked | str] = {}

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that are looked at."""
        return tuple(self._incumbents)

    def on(self, task: str) -> Candidates:
        """The same for one task, by what was read already."""
        only = copy(self)
        only._incumbents = {name: variant for name, variant in self._incumbents.items() if name == task}
        return only

    def find(self) -> list[Candidate]:
        """What could be tried on some task: successors first, then what else could run here, then what else there is."""
        successions: dict[str, dict[str, str]] = {}
        order: list[str] = []
        for name, incumbent in self._incumbents.items():
            for successor in successors(self._installation.catalogue, model_of(incumbent.bundle.engine)):
                successions.setdefault(successor.card.id, {})[name] = successor.reason
                order.append(successor.card.id)
        names = [*order, *(card.id for card in self._installation.catalogue.cards()), *self._deployments]
        found = [self._candidate(name, successions.get(name, {})) for name in dict.fromkeys(names)]
        known = [each for each in found if each is not None]
        return sorted(known, key=lambda each: (each.relation != "successor", _distance(each)))

    def of(self, card: Card) -> Candidate | None:
        """What one model could be tried on; None: it can take no part, or answers everything that is looked at."""
        follows = {
            task: successor.reason
            for task, incumbent in self._incumbents.items()
            for successor in successors(self._installation.catalogue, model_of(incumbent.bundle.engine))
            if successor.card.id == card.id
        }
        return self._candidate(card.id, follows)

    def incumbent(self, task: str) -> Variant:
        """Who answers a task now."""
        return self._incumbents[task]

    def _candidate(self, name: str, succeeds: Mapping[str, str]) -> Candidate | None:
        engine = engine_among(self._installation, name, self._deployments)
        if engine.card is not None and unfit(engine.card) is not None:
            return None
        cannot: dict[str, str] = {}
        denied: dict[str, str] = {}
        tasks: list[str] = []
        for task, incumbent in self._incumbents.items():
            if self._answers(engine, incumbent):
                continue
            asked = self._task(task)
            judgement = self._judgement(engine, task)
            if judgement is not None and not judgement.allowed:
                denied[task] = short(judgement)
            reason = None if isinstance(asked, str) else cannot_serve(engine, asked.figures)
            reason = denied.get(task, reason)
            if reason is None:
                tasks.append(task)
            else:
                cannot[task] = reason
        if not tasks and not cannot:
            return None
        ordered = sorted(tasks, key=lambda task: task not in succeeds)
        cost, uncosted = self._costs(name, ordered)
        card = engine.card
        return Candidate(
            name=name,
            relation="successor" if succeeds else "other",
            succeeds=succeeds,
            tasks=tuple(ordered),
            cannot=cannot,
            denied=denied,
            released=None if card is None else card.released_on,
            licence=None if card is None else card.licence_id,
            memory=self._memory(name, card),
            runs=self._runs(name, card),
            cost=cost,
            uncosted=uncosted,
        )

    def _answers(self, engine: Engine, incumbent: Variant) -> bool:
        """Whether it is the incumbent, under its own name or another one."""
        if incumbent.deployment == engine.name:
            return True
        if engine.name in self._deployments or engine.card is None:
            return False
        return card_behind(self._installation.catalogue, incumbent.bundle.engine) == engine.card

    def _judgement(self, engine: Engine, task: str) -> Judgement | None:
        row = self._deployments.get(engine.name)
        if row is not None:
            return judge_engine(self._licensing, EnginePart.from_document(row.engine), task)
        return None if engine.card is None else self._licensing.card(engine.card, task)

    def _memory(self, name: str, card: Card | None) -> Memory:
        row = self._deployments.get(name)
        if row is not None and row.memory_bytes is not None:
            return Memory(needs=row.memory_bytes, measured=True, budget=self._budget)
        elsewhere = row is not None and row.backend == ELSEWHERE
        if card is None or embeddable(card.artifacts) is None or elsewhere:
            return Memory(needs=None, measured=False, budget=self._budget)
        usual = self._installation.project.settings.engines
        judged = fits_here(card, self._budget, context=usual.context_tokens, concurrency=usual.slots)
        return Memory(needs=judged.needs_bytes, measured=False, budget=self._budget)

    def _runs(self, name: str, card: Card | None) -> Runs:
        row = self._deployments.get(name)
        if row is not None and row.backend == ELSEWHERE:
            return "on a server"
        if row is not None:
            return "running" if row.state in ANSWERING else "deployed"
        artifact = None if card is None else embeddable(card.artifacts)
        if artifact is None:
            return "by a server only"
        if present(artifact, self._installation.project.cache):
            return "weights are here"
        if not artifact.sources:
            return "no source"
        return "from a file" if isinstance(artifact.sources[0], FileSource) else "fetched first"

    def _costs(self, name: str, tasks: Iterable[str]) -> tuple[Cost | None, dict[str, str]]:
        whole_cost: Cost | None = None
        uncosted: dict[str, str] = {}
        for task in tasks:
            asked = self._task(task)
            if isinstance(asked, str):
                uncosted[task] = asked
                continue
            cost = self._cost(name, asked)
            whole_cost = cost if whole_cost is None else whole_cost.plus(cost)
        return whole_cost, uncosted

    def _cost(self, name: str, asked: Asked) -> Cost:
        task = asked.ready.task
        row = self._deployments.get(name)
        theirs = asked.of_stranger
        if row is not None:
            kept = self._kept(Variant.declared(task, name, EnginePart.from_document(row.engine)), asked)
            theirs = asked.calls(kept) if kept else theirs
        (mine, mine_most), (other, other_most) = asked.of_incumbent, theirs
        settings = self._installation.project.settings
        took = asked.figures.duration_ms
        # Both sides are asked at once, so that the longer one counts.
        at_once = settings.evals.at_once or settings.engines.slots
        usd = _usd(
            asked.figures, ((mine, settings.prices.get(asked.incumbent.deployment)), (other, settings.prices.get(name)))
        )
        return Cost(
            calls=mine + other,
            most_calls=mine_most + other_most,
            seconds=None if took is None else max(mine, other) * took / 1000 / at_once,
            usd=usd,
            judged=bool(asked.ready.judges),
        )

    def _task(self, task: str) -> Asked | str:
        """What a comparison would ask, or why nobody can say."""
        if task not in self._asked:
            try:
                self._asked[task] = self._read(task)
            except ChangeoverError as exc:
                self._asked[task] = exc.message
        return self._asked[task]

    def _read(self, task: str) -> Asked:
        ready, incumbent = prepared(self._installation, task), self._incumbents[task]
        with self._installation.store.read() as connection:
            return Asked(ready, incumbent, figures_on(connection, incumbent, ready))

    def _kept(self, variant: Variant, asked: Asked) -> frozenset[tuple[str, int]]:
        if variant.bundle.digest not in self._known:
            return frozenset()  # nobody was ever asked with it
        with self._installation.store.read() as connection:
            return figures_on(connection, variant, asked.ready).kept


def _distance(candidate: Candidate) -> int:
    """Order of what follows no incumbent. Newer versions stand in theirs, wherever they run."""
    if candidate.relation == "successor" or candidate.runs not in _FARTHEST:
        return 0
    return 1 + _FARTHEST.index(candidate.runs)


def _new(samples: Sequence[Sample], repeats: int, kept: frozenset[tuple[str, int]]) -> int:
    """Calls that are still to be made. Of a conversation only the first turn is known to be kept."""
    return sum(sample.turns - ((sample.asked, repeat) in kept) for sample in samples for repeat in range(repeats))


def _usd(figures: Figures, sides: Sequence[tuple[int, Price | None]]) -> float | None:
    """Cost of calls at their prices, with the incumbent's average numbers of tokens."""
    if figures.prompt_tokens is None or figures.completion_tokens is None:
        return None
    whole_cost = 0.0
    for calls, price in sides:
        if price is None and calls:
            return None
        if price is not None:
            whole_cost += calls * price.cost(round(figures.prompt_tokens), round(figures.completion_tokens))
    return whole_cost
