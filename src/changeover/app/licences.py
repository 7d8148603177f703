"""The organisation's whole position on licences: every model, what may be done with it, and what answers now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection

from changeover.app.installation import ECHO, Installation
from changeover.core.errors import nearest
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.judge import judge, judge_stranger
from changeover.library.licences.judgement import OUTCOMES, Judgement
from changeover.library.licences.policy import Policy
from changeover.library.licences.queries import LicenceText, open_reviews
from changeover.library.lineage import Model, find_card
from changeover.serving.parts import EnginePart
from changeover.serving.queries import all_deployments, load_variants
from changeover.tasks.queries import current_routes


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One model: what may be done with it, and what is."""

    model: str
    """Id of its card, or the name of what has none."""
    licence: str | None
    """None: unknown."""
    general: Judgement
    """For whatever the policy names no task for."""
    tasks: Mapping[str, Judgement]
    """Tasks that the policy says something of or that it answers now, where that is another outcome."""
    answers: tuple[str, ...]
    """Tasks that it answers now."""
    refused: tuple[str, ...]
    """Of these, the ones that it may not answer."""
    deployed: bool
    review: LicenceText | None
    """A changed text of its licence that somebody has to read."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """All models, by what is known of the organisation on a day."""

    catalogue: Catalogue
    policy: Policy | None
    today: date
    models: tuple[Standing, ...]
    """What answers now first, then the severest."""
    mistakes: tuple[str, ...]
    """Names in the policy that nothing has: they settle and forbid nothing."""

    @property
    def refused(self) -> tuple[Standing, ...]:
        """Models that answer what they may not."""
        return tuple(each for each in self.models if each.refused)

    def judge(self, model: str, task: str) -> Judgement:
        """What may be done with a model for a task; with one that has no card, what may be done with a stranger."""
        card = next((card for card in self.catalogue.cards() if card.id == model), None)
        if card is None:
            return judge_stranger(model, self.policy, task=task)
        return judge(card, self.catalogue, self.policy, today=self.today, task=task)


@dataclass(frozen=True)
class Use:
    """What is running, by card or, without one, by name."""

    answers: Mapping[str, tuple[str, ...]]
    deployed: frozenset[str]
    strangers: frozenset[str]


NOTHING_RUNS = Use({}, frozenset(), frozenset())


def position(
    catalogue: Catalogue,
    policy: Policy | None,
    *,
    today: date,
    tasks: Iterable[str],
    use: Use = NOTHING_RUNS,
    reviews: Mapping[str, LicenceText] | None = None,
) -> Position:
    """Judge every model of a catalogue, and what runs without a card."""
    found = [_standing(card, catalogue, policy, today, use, (reviews or {}).get(card.id)) for card in catalogue.cards()]
    found += [_stranger(name, policy, use) for name in sorted(use.strangers)]
    found.sort(
        key=lambda each: (not each.answers, not each.deployed, -OUTCOMES.index(each.general.outcome), each.model)
    )
    mistakes = () if policy is None else tuple(_mistakes(policy, catalogue, tasks))
    return Position(catalogue=catalogue, policy=policy, today=today, models=tuple(found), mistakes=mistakes)


def position_of(installation: Installation) -> Position:
    """The position of a project, with what answers and runs in it now."""
    with installation.store.read() as connection:
        use = _use(connection, installation.catalogue)
        reviews = open_reviews(connection, installation.catalogue.cards())
    return position(
        installation.catalogue,
        installation.policy,
        today=installation.clock.now().date(),
        tasks=installation.tasks,
        use=use,
        reviews=reviews,
    )


def _standing(
    card: Card, catalogue: Catalogue, policy: Policy | None, today: date, use: Use, review: LicenceText | None
) -> Standing:
    answers = use.answers.get(card.id, ())
    general = judge(card, catalogue, policy, today=today)
    named = dict.fromkeys((*answers, *(() if policy is None else sorted(policy.tasks)), *_closed_for(card, policy)))
    judged = {task: judge(card, catalogue, policy, today=today, task=task) for task in named}
    return Standing(
        model=card.id,
        licence=card.licence_id,
        general=general,
        tasks={task: each for task, each in judged.items() if each.outcome != general.outcome},
        answers=answers,
        refused=tuple(task for task in answers if not judged[task].allowed),
        deployed=card.id in use.deployed,
        review=review,
    )


def _closed_for(card: Card, policy: Policy | None) -> tuple[str, ...]:
    entries = () if policy is None else policy.closed_models
    return tuple(task for entry in entries if entry.model == card.id for task in entry.tasks)


def _stranger(name: str, policy: Policy | None, use: Use) -> Standing:
    answers = use.answers.get(name, ())
    general = judge_stranger(name, policy)
    return Standing(
        model=name,
        licence=None,
        general=general,
        tasks={},
        answers=answers,
        refused=() if general.allowed else answers,
        deployed=name in use.deployed,
        review=None,
    )


def _use(connection: Connection, catalogue: Catalogue) -> Use:
    """What answers and what is deployed; the engine without a model needs nobody's licence."""
    routes = current_routes(connection)
    sides = {
        (task, variant)
        for task, route in routes.items()
        for variant, share in ((route.incumbent, 1.0), (route.candidate, route.candidate_weight))
        if variant is not None and share > 0
    }
    variants = load_variants(connection, {variant for _, variant in sides})
    answers: dict[str, set[str]] = {}
    strangers: set[str] = set()

    def known(engine: EnginePart) -> str | None:
        if engine.backend == ECHO:
            return None
        card = find_card(catalogue, Model(name=engine.model, weights=engine.weights_digest))
        if card is None:
            strangers.add(engine.model)
        return engine.model if card is None else card.id

    for task, variant in sides:
        if (model := known(variants[variant].bundle.engine)) is not None:
            answers.setdefault(model, set()).add(task)
    rows = [row for row in all_deployments(connection) if row.desired == "running"]
    deployed = {model for row in rows if (model := known(EnginePart.from_document(row.engine))) is not None}
    return Use(
        {model: tuple(sorted(tasks)) for model, tasks in answers.items()}, frozenset(deployed), frozenset(strangers)
    )


def _mistakes(policy: Policy, catalogue: Catalogue, tasks: Iterable[str]) -> Iterable[str]:
    known_tasks, cards = set(tasks), {card.id for card in catalogue.cards()}
    named = {
        *((task, f"tasks.{task}") for task in policy.tasks),
        *((task, "closed_models") for entry in policy.closed_models for task in entry.tasks),
    }
    for task, where in sorted(named):
        if task not in known_tasks:
            yield f"`{where}`: no task `{task}`. {nearest(task, known_tasks)}"
    licences = {
        *((grant.licence, "granted") for grant in policy.granted),
        *((licence, "refused_licences") for licence in policy.refused_licences),
    }
    ids = [terms.id for terms in catalogue.licences()]
    used = {card.licence_id for card in catalogue.cards()}
    for licence, where in sorted(licences):
        if catalogue.licence(licence) is None and licence not in used:
            yield f"`{where}`: no licence `{licence}`. {nearest(licence, ids)}"
    models = {
        *((entry.model, "closed_models") for entry in policy.closed_models),
        *((entry.model, "approved_code") for entry in policy.approved_code),
    }
    for model, where in sorted(models):
        if model not in cards:
            yield f"`{where}`: no card `{model}`. {nearest(model, cards)}"
