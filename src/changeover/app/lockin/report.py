"""Reads the lock-in report: for each task who else could answer, by evidence or after a trial, and what that would cost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast, get_args

from sqlalchemy import Connection

from changeover.app.at_work import AtWork
from changeover.app.candidates import Candidate, Candidates, Runs
from changeover.app.installation import ECHO, Installation
from changeover.app.lockin.answers import Exemption, Leaving, Proven, Report, TaskReport
from changeover.app.lockin.features import Feature, Found, in_parameters, in_request, in_text
from changeover.app.lockin.shares import UNKNOWN, Answering, shares
from changeover.core.settings import Price
from changeover.evals.queries import recent_comparisons
from changeover.gateway.usage_queries import usage_lines
from changeover.library.cards import Card
from changeover.library.running import Hosted
from changeover.serving.queries import Deployment, load_variants
from changeover.serving.variants import Variant
from changeover.tasks.declarations import Task
from changeover.tasks.queries import newest_requests

COMPARISONS = 200
"""Of each task, the newest."""
REQUESTS = 500
"""Recorded requests of each task that are looked into."""
WAYS: tuple[Runs, ...] = get_args(Runs)
"""The nearest first."""
CANNOT = ("no source", "by a server only")
"""Ways to run that need a server first."""

EXPORT = (
    "`changeover export` writes everything in open formats: tasks, prompts, datasets, runs, exchanges, routes. "
    "Applications name tasks, so that none of them changes when a model does."
)
UNANSWERED = Leaving(
    model=None, command="changeover up", cost=None, says="nobody answers it yet: the first start gives it an incumbent"
)


def lockin(installation: Installation, since: datetime) -> Report:
    """How tied an installation is to what answers now.

    Args:
        installation: The project.
        since: From when on traffic is counted.
    """
    return _Reading(installation, since).report()


class _Reading:
    """Reads once what every task needs."""

    def __init__(self, installation: Installation, since: datetime) -> None:
        self._installation = installation
        self._since = since
        self._candidates = Candidates(installation)
        with installation.store.read() as connection:
            at_work = AtWork.read(connection, installation.catalogue, installation.only)
            until = installation.clock.now() + timedelta(hours=1)
            lines = usage_lines(connection, ("task", "deployment"), since, until, internal=False)
        self._rows, self._cards, self._incumbents = at_work.deployments, at_work.cards, at_work.incumbents
        self._requests: dict[tuple[str, str], int] = {}
        for line in lines:
            task, deployment = line.of
            if deployment and task in self._incumbents:  # nobody answered, or a deployment was named instead of a task
                self._requests[task, deployment] = self._requests.get((task, deployment), 0) + line.requests

    def report(self) -> Report:
        declared = self._installation.tasks
        return Report(
            since=self._since,
            tasks=tuple(self._task(declared[name], self._incumbents.get(name)) for name in sorted(declared)),
            shares=shares(self._answering()),
            exemptions=tuple(self._exemptions()),
            export=EXPORT,
        )

    def _answering(self) -> Iterable[Answering]:
        pairs = {(task, variant.deployment) for task, variant in self._incumbents.items()} | self._requests.keys()
        for task, deployment in sorted(pairs):
            card = self._cards.get(deployment)
            row = self._rows.get(deployment)
            yield Answering(
                task=task,
                deployment=deployment,
                card=card,
                engine=None if row is None else str(row.engine.get("engine") or row.backend),
                hosted=_pin(row, card),
                now=self._incumbents[task].deployment == deployment,
                requests=self._requests.get((task, deployment), 0),
            )

    def _task(self, task: Task, incumbent: Variant | None) -> TaskReport:
        found = self._candidates.on(task.name).find() if incumbent is not None else []
        candidates = [each for each in found if self._is_model(each.name)]
        with self._installation.store.read() as connection:
            proven = () if incumbent is None else tuple(self._proven(connection, incumbent))
            features = (
                *_declared_features(task, self._installation.catalogue.cards()),
                *self._recorded_features(connection, task.name),
            )
        could_try = [each for each in candidates if each.tasks and _fits(each)]
        card = None if incumbent is None else self._cards.get(incumbent.deployment)
        return TaskReport(
            task=task.name,
            incumbent=None if incumbent is None else incumbent.deployment,
            card=None if card is None else card.id,
            proven=proven,
            could_try=tuple(each.name for each in could_try),
            denied=sum(bool(each.denied) for each in candidates),
            features=features,
            leaving=UNANSWERED if incumbent is None else self._leaving(task.name, proven, could_try),
        )

    def _proven(self, connection: Connection, incumbent: Variant) -> Iterable[Proven]:
        """Who passed against the one that answers now; the newest verdict on each counts."""
        rows = [
            each
            for each in recent_comparisons(connection, incumbent.task, COMPARISONS)
            if each.incumbent == incumbent.id and each.verdict in ("pass", "fail")
        ]
        variants = load_variants(connection, {each.candidate for each in rows})
        seen: set[str] = set()
        for each in rows:
            name = variants[each.candidate].deployment if each.candidate in variants else None
            if name is None or name in seen:
                continue
            seen.add(name)
            if each.verdict == "pass":
                yield Proven(
                    name=name,
                    difference=(each.summary or {}).get("difference"),
                    on=(each.ended_at or each.started_at).date(),
                    comparison=each.id,
                    deployed=name in self._rows,
                )

    def _is_model(self, name: str) -> bool:
        """Whether it is more than the engine without a model."""
        return name not in self._rows or self._rows[name].backend != ECHO or name in self._cards

    def _leaving(self, task: str, proven: Sequence[Proven], could_try: Sequence[Candidate]) -> Leaving:
        """The cheapest way out: who has passed already, else the trial that asks least."""
        there = [each for each in proven if each.deployed]
        if there:
            prices = self._installation.project.settings.prices
            best = min(there, key=lambda each: (_price(prices.get(each.name)), -(each.difference or 0.0), each.name))
            return Leaving(
                model=best.name,
                command=f"changeover switch {task} --to {best.name}",
                cost=None,
                says=f"{best.name} has passed, {best.comparison}",
            )
        tried = [each for each in could_try if each.cost is not None]
        if tried:
            least = min(tried, key=lambda each: (each.cost.calls if each.cost else 0, WAYS.index(each.runs), each.name))
            return Leaving(
                model=least.name,
                command=f"changeover trial {least.name} --task {task}",
                cost=least.cost,
                says=f"after a trial, such as of {least.name}",
            )
        if could_try:
            says = next(iter(could_try[0].uncosted.values()), "what a trial would cost is not known")
            return Leaving(
                model=could_try[0].name,
                command=f"changeover trial {could_try[0].name} --task {task}",
                cost=None,
                says=f"after a trial, such as of {could_try[0].name}; its cost is not known: {says}",
            )
        return Leaving(
            model=None,
            command=f"changeover recommend {task} --all",
            cost=None,
            says="nothing that is allowed fits here: it takes other hardware, or a server",
        )

    def _recorded_features(self, connection: Connection, task: str) -> Iterable[Found]:
        """What applications sent, where requests are recorded with their content."""
        found: Counter[str] = Counter()
        features: dict[str, Feature] = {}
        count = 0
        for request in newest_requests(connection, task, self._since, REQUESTS):
            body = _body(request)
            if body is None:
                continue
            count += 1
            for feature in in_request(body):
                features[feature.name] = feature
                found[feature.name] += 1
        return [
            Found(
                feature=name,
                where=f"{times} of {count} recorded requests",
                understood_by=features[name].understood_by(self._installation.catalogue.cards()),
            )
            for name, times in found.most_common()
        ]

    def _exemptions(self) -> Iterable[Exemption]:
        policy, today = self._installation.policy, self._installation.clock.now().date()
        for each in () if policy is None else policy.closed_models:
            yield Exemption(
                model=each.model,
                tasks=each.tasks,
                by=each.by,
                reason=each.reason,
                until=each.until,
                days_left=(each.until - today).days,
            )


def _declared_features(task: Task, cards: Sequence[Card]) -> list[Found]:
    places = {
        "the prompt": in_text(task.prompt),
        "the input template": in_text(task.input_template or ""),
        "the parameters": in_parameters(task.declared.parameters),
    }
    return [
        Found(feature=feature.name, where=where, understood_by=feature.understood_by(cards))
        for where, features in places.items()
        for feature in features
    ]


def _fits(candidate: Candidate) -> bool:
    """Whether it could run today: its weights fit, and nobody has to set up a server for it first."""
    memory = candidate.memory
    return candidate.runs not in CANNOT and (memory.needs is None or memory.needs <= memory.budget)


def _pin(row: Deployment | None, card: Card | None) -> str | None:
    """What a name stands for that others answer to; None: it runs here, from files with a digest."""
    if row is None or row.backend != "openai":
        return None
    asked = row.options.get("model")
    hosted: Hosted | None = next(
        (each for each in (card.hosted if card else ()) if asked in (each.id, *each.snapshots)), None
    )
    if hosted is None:
        return UNKNOWN
    return "snapshot" if asked in hosted.snapshots else hosted.pin


def _price(price: Price | None) -> float:
    """To sort by: what has no price runs here, and is not paid by the token."""
    return 0.0 if price is None else price.usd_per_million_prompt_tokens + price.usd_per_million_completion_tokens


def _body(text: str | None) -> Mapping[str, Any] | None:
    try:
        body: Any = json.loads(text or "")
    except ValueError:
        return None
    return cast("dict[str, Any]", body) if isinstance(body, dict) else None
