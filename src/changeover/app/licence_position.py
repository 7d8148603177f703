"""The organisation's whole position on licences: every model, what may be done with it, and what answers now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from changeover.app.at_work import AtWork, card_behind, has_model
from changeover.app.installation import Installation
from changeover.app.licence_checks import licensing_of
from changeover.core.errors import nearest
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.judgement import OUTCOMES, Judgement, Reason
from changeover.library.licences.licensing import Licensing
from changeover.library.licences.policy import Policy
from changeover.library.licences.queries import LicenceText, open_reviews
from changeover.library.licences.words import short
from changeover.serving.parts import EnginePart


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

    licensing: Licensing
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
        card = next((card for card in self.licensing.catalogue.cards() if card.id == model), None)
        return self.licensing.stranger(model, task) if card is None else self.licensing.card(card, task)


@dataclass(frozen=True)
class InUse:
    """What answers and what is deployed, by card or, without one, by name."""

    answers: Mapping[str, tuple[str, ...]]
    deployed: frozenset[str]
    strangers: frozenset[str]


NOTHING_RUNS = InUse({}, frozenset(), frozenset())


def position(
    licensing: Licensing,
    *,
    tasks: Iterable[str],
    running: InUse = NOTHING_RUNS,
    reviews: Mapping[str, LicenceText] | None = None,
) -> Position:
    """Judge every model of a catalogue, and what runs without a card."""
    catalogue, policy = licensing.catalogue, licensing.policy
    found = [_standing(card, licensing, running, (reviews or {}).get(card.id)) for card in catalogue.cards()]
    found += [_stranger(name, licensing, running) for name in sorted(running.strangers)]
    found.sort(
        key=lambda each: (not each.answers, not each.deployed, -OUTCOMES.index(each.general.outcome), each.model)
    )
    mistakes = () if policy is None else tuple(_mistakes(policy, catalogue, tasks))
    return Position(licensing=licensing, models=tuple(found), mistakes=mistakes)


def position_of(installation: Installation) -> Position:
    """The position of a project, with what answers and runs in it now."""
    with installation.store.read() as connection:
        running = _in_use(AtWork.read(connection, installation.catalogue, installation.only))
        reviews = open_reviews(connection, installation.catalogue.cards())
    return position(licensing_of(installation), tasks=installation.tasks, running=running, reviews=reviews)


def standing_of(installation: Installation, card: Card) -> Standing:
    """One model's, in a project."""
    with installation.store.read() as connection:
        running = _in_use(AtWork.read(connection, installation.catalogue, installation.only))
        review = open_reviews(connection, [card]).get(card.id)
    return _standing(card, licensing_of(installation), running, review)


def policy_line(policy: Policy | None) -> str:
    """What the policy says of the organisation, in one line."""
    if policy is None:
        return (
            "no policy.toml: nothing is known of the organisation, so nothing is refused. "
            "policy.example.toml, which `changeover init` makes, has every key"
        )
    parts = [
        f"operates in {', '.join(policy.operates_in)}" if policy.operates_in else "`operates_in` is not said",
        "`monthly_users` is not said" if policy.monthly_users is None else f"{policy.monthly_users:,} monthly users",
        *([f"uses: {', '.join(policy.uses)}"] if policy.uses else []),
        *(f"{name}: {', '.join(each.uses)}" for name, each in policy.tasks.items() if each.uses),
        *(["not commercial"] if not policy.commercial else []),
        *(["outputs train models"] if policy.outputs_train_models else []),
        *(["hosts for others"] if policy.hosts_for_others else []),
    ]
    return f"policy: {' · '.join(parts)}"


def reasons_beside(judgement: Judgement, general: Judgement | None = None) -> list[Reason]:
    """Reasons, the severest first, then doubts; without those that were given in general already."""
    said = () if general is None or judgement is general else general.reasons
    return sorted((reason for reason in judgement.reasons if reason not in said), key=_weight)


def why(judgement: Judgement) -> str:
    """In a few words why; empty where there is nothing to say. Duties by what they are about."""
    if judgement.outcome == "allow":
        return ""
    if judgement.outcome == "duties":
        return ", ".join(dict.fromkeys(reason.about for reason in judgement.duties))
    return short(judgement)


def _weight(reason: Reason) -> tuple[int, bool]:
    """The severest first, then doubts, then what would count if something else were so."""
    return -OUTCOMES.index(reason.outcome), not reason.warning


def _standing(card: Card, licensing: Licensing, running: InUse, review: LicenceText | None) -> Standing:
    answers, policy = running.answers.get(card.id, ()), licensing.policy
    general = licensing.card(card)
    said = () if policy is None else sorted(policy.tasks)
    judged = {task: licensing.card(card, task) for task in (*answers, *said, *licensing.closed_for(card.id))}
    return Standing(
        model=card.id,
        licence=card.licence_id,
        general=general,
        tasks={task: each for task, each in judged.items() if each.outcome != general.outcome},
        answers=answers,
        refused=tuple(task for task in answers if not judged[task].allowed),
        deployed=card.id in running.deployed,
        review=review,
    )


def _stranger(name: str, licensing: Licensing, running: InUse) -> Standing:
    answers = running.answers.get(name, ())
    general = licensing.stranger(name)
    return Standing(
        model=name,
        licence=None,
        general=general,
        tasks={},
        answers=answers,
        refused=() if general.allowed else answers,
        deployed=name in running.deployed,
        review=None,
    )


def _in_use(at_work: AtWork) -> InUse:
    """What answers and what shall run; the engine without a model needs nobody's licence."""
    answers: dict[str, set[str]] = {}
    deployed: set[str] = set()
    strangers: set[str] = set()

    def known(engine: EnginePart) -> str:
        card = card_behind(at_work.catalogue, engine)
        if card is None:
            strangers.add(engine.model)
        return engine.model if card is None else card.id

    for task, variant in at_work.answering:
        if has_model(engine := variant.bundle.engine):
            answers.setdefault(known(engine), set()).add(task)
    for row in at_work.deployments.values():
        if row.desired == "running" and has_model(engine := EnginePart.from_document(row.engine)):
            deployed.add(known(engine))
    return InUse(
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
