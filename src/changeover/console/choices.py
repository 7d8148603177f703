"""Who could be measured or take over: deployments, and cards of the library with what deploying them would take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from changeover.app.at_work import card_of
from changeover.app.deploy import first_plan
from changeover.app.fetching import embedded_artifact, is_here
from changeover.app.installation import Installation
from changeover.app.licence_checks import judge_engine, licensing_of
from changeover.app.readiness import card_to_fetch
from changeover.app.room import running
from changeover.console.visit import Visit
from changeover.core.errors import ChangeoverError, UnknownModelError
from changeover.evals.queries import Verdict, verdicts_of
from changeover.library.cards import Card
from changeover.library.licences.licensing import Licensing
from changeover.library.licences.words import refusal
from changeover.serving.eviction import NoRoom, Tenant, make_room
from changeover.serving.memory import Held, budget_bytes, needed_bytes
from changeover.serving.parts import EnginePart
from changeover.serving.queries import Deployment, all_deployments
from changeover.serving.variants import Variant
from changeover.tasks.declarations import Task

MOST_VERDICTS = 100
"""Of a task, the newest, that are looked at."""


@dataclass(frozen=True, kw_only=True)
class Takes:
    """What deploying a card would take."""

    engine: str
    memory_bytes: int
    """0: unknown before its weights are here."""
    room: str
    """Why memory does not hold it beside what runs, in figures; empty: it does, or nobody knows yet."""
    fetch_bytes: int | None
    """Weights that have to be fetched first; None: they are here."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A deployment, or a card that would be deployed."""

    name: str
    deployment: Deployment | None
    card: str | None
    """Of the library."""
    takes: Takes | None = None
    """Of a card that is not deployed."""
    licence: str | None = None
    """Of such a card."""
    answers: bool = False
    """It answers the task already, with the prompt and the parameters that the files say."""
    verdict: Verdict | None = None
    """The newest on it against who answers the task now."""
    denied: str | None = None
    """Why it may not, or cannot."""

    @property
    def possible(self) -> bool:
        return not self.answers and self.denied is None


def choices_for(
    visit: Visit, *, task: Task | None = None, incumbent: str | None = None, named: str = ""
) -> list[Choice]:
    """Every deployment, and the cards whose weights are here; those first that passed, then those that may and do run.

    Args:
        visit: Who chooses. Whoever is limited to some tasks chooses among what is deployed: to deploy concerns all of them.
        task: For which it is; None: for whichever.
        incumbent: Id of the variant that answers it.
        named: A card that is asked for by name, wherever its weights are.
    """
    installation, whole = visit.installation, visit.person.tasks is None
    licensing = licensing_of(installation)
    with installation.store.read() as connection:
        rows = [row for row in all_deployments(connection) if visit.sees(row.name)]
        held = running(installation, connection, rows)
        verdicts = [] if task is None else verdicts_of(connection, task.name, None, MOST_VERDICTS)
    names = {row.name for row in rows}
    newest = {each.candidate: each for each in reversed(verdicts) if each.verdict and each.incumbent == incumbent}
    found = [_deployed(installation, licensing, row, task, incumbent, newest) for row in rows]
    cache = installation.project.cache
    found += [
        _card(installation, licensing, held, card, task)
        for card in installation.catalogue.cards()
        if whole and card.id not in names and (card.id == named or is_here(card, cache))
    ]
    return sorted(found, key=_place)


def _place(choice: Choice) -> tuple[bool, bool, bool, bool, str]:
    row, passed = choice.deployment, choice.verdict is not None and choice.verdict.verdict == "pass"
    return not choice.possible, not passed, row is None, row is not None and row.desired != "running", choice.name


def _deployed(
    installation: Installation,
    licensing: Licensing,
    row: Deployment,
    task: Task | None,
    incumbent: str | None,
    verdicts: Mapping[str, Verdict],
) -> Choice:
    engine = EnginePart.from_document(row.engine)
    judged = judge_engine(licensing, engine, None if task is None else task.name)
    card = card_of(installation.catalogue, row)
    variant = None if task is None else Variant.declared(task, row.name, engine).id
    return Choice(
        name=row.name,
        deployment=row,
        card=None if card is None else card.id,
        answers=variant is not None and variant == incumbent,
        verdict=None if variant is None else verdicts.get(variant),
        denied=None if judged is None or judged.allowed else refusal(judged),
    )


def _card(
    installation: Installation, licensing: Licensing, held: Sequence[Tenant], card: Card, task: Task | None
) -> Choice:
    judged = licensing.card(card, None if task is None else task.name)
    denied, takes = None if judged.allowed else refusal(judged), None
    try:
        plan, artifact = first_plan(installation, card.id), embedded_artifact(card)
        needs = needed_bytes(plan)
        takes = Takes(
            engine=plan.backend,
            memory_bytes=needs,
            room=_room(installation, held, Held(name=card.id, bytes=needs)),
            fetch_bytes=None if is_here(card, installation.project.cache) else artifact.size_bytes,
        )
    except ChangeoverError as exc:
        denied = denied or exc.message
    return Choice(name=card.id, deployment=None, card=card.id, takes=takes, licence=card.licence_id, denied=denied)


def _room(installation: Installation, held: Sequence[Tenant], wanted: Held) -> str:
    decision = make_room(budget_bytes(installation.project.settings.engines.memory_gib), held, wanted)
    return str(decision.fit) if isinstance(decision, NoRoom) else ""


def check_choice(visit: Visit, name: str) -> None:
    """Refuse a candidate that whoever chooses is not offered.

    Raises:
        UnknownModelError: Nothing of that name is shown to them.
        PermissionError_: It would have to be deployed, and they are limited to some tasks.
    """
    if not visit.sees(name):
        raise UnknownModelError(f"No deployment and no model named `{name[:80]}`.")
    if visit.person.tasks is not None and card_to_fetch(visit.installation, name) is not None:
        visit.require_whole()
