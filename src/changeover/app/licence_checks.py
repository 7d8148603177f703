"""What the policy and a model's licence allow: asked before a model is fetched, started, or takes over a task."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from sqlalchemy import Connection

from changeover.app.at_work import AtWork, has_model, model_of
from changeover.app.installation import Installation, usable_catalogue
from changeover.app.library_files import LibraryFiles
from changeover.core.clock import Clock
from changeover.core.errors import ConfigError, LicenceError
from changeover.core.marks import Marks
from changeover.core.settings import Project
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.judgement import Judgement
from changeover.library.licences.licensing import Licensing
from changeover.library.licences.policy import Policy
from changeover.library.licences.queries import review_needed
from changeover.library.licences.words import refusal
from changeover.library.lineage import Model, find_card
from changeover.serving.parts import EnginePart
from changeover.serving.queries import all_deployments, load_variants
from changeover.serving.variants import Variant

log = logging.getLogger(__name__)


def licensing_of(installation: Installation) -> Licensing:
    """By the declarations of an installation as they were read."""
    return Licensing(installation.catalogue, installation.policy, installation.clock.now().date())


def judge_engine(licensing: Licensing, engine: EnginePart, task: str | None = None) -> Judgement | None:
    """What may be done with what an engine runs; None for the engine without a model."""
    return licensing.model(model_of(engine), task) if has_model(engine) else None


def judge_somewhere(licensing: Licensing, engine: EnginePart) -> Judgement | None:
    """What may be done with what an engine runs, for whichever task allows most.

    A closed model is allowed for single tasks only, and has to run for those.
    """
    anywhere = judge_engine(licensing, engine)
    if anywhere is None or anywhere.allowed:
        return anywhere
    judged = (judge_engine(licensing, engine, task) for task in sorted(licensing.closed_for()))
    return next((each for each in judged if each is not None and each.allowed), anywhere)


def judge_named(installation: Installation, name: str, task: str | None = None) -> Judgement | None:
    """What may be done with a deployment, or with a card that is not deployed; None where neither has the name."""
    licensing = licensing_of(installation)
    with installation.store.read() as connection:
        row = next((row for row in all_deployments(connection) if row.name == name), None)
    if row is not None:
        return judge_engine(licensing, EnginePart.from_document(row.engine), task)
    card = next((card for card in licensing.catalogue.cards() if card.id == name), None)
    return None if card is None else licensing.card(card, task)


def check(judgement: Judgement | None) -> None:
    """Go on only with what is allowed.

    Raises:
        LicenceError: It is not, or a person has to obtain or decide something first; names the clause.
    """
    if judgement is not None and not judgement.allowed:
        raise LicenceError(refusal(judgement))


def check_fetch(licensing: Licensing, cards: Iterable[Card]) -> None:
    """Refuse to fetch what may not be used here at all.

    Raises:
        LicenceError: See `check`.
    """
    for card in cards:
        check(licensing.card(card))


def check_switch(installation: Installation, task: str, candidate: str) -> None:
    """Refuse to give a task to a deployment or card that its licence or the policy keeps from it.

    Raises:
        LicenceError: See `check`; or the licence's text has changed at its source and nobody has accepted that.
    """
    check(judge_named(installation, candidate, task))
    with installation.store.read() as connection:
        row = next((row for row in all_deployments(connection) if row.name == candidate), None)
        model = Model(name=candidate) if row is None else model_of(EnginePart.from_document(row.engine))
        changed = _changed_text(connection, installation.catalogue, model)
    if changed is not None:
        raise LicenceError(changed)


def not_allowed_now(installation: Installation) -> list[Judgement]:
    """What answers a task now and may not, by the policy as it is now. It goes on answering: that is for a person."""
    licensing = licensing_of(installation)
    with installation.store.read() as connection:
        incumbents = AtWork.read(connection, installation.catalogue).incumbents
    judged = [judge_engine(licensing, variant.bundle.engine, task) for task, variant in incumbents.items()]
    return [each for each in judged if each is not None and not each.allowed]


class CurrentTerms:
    """Says of rollouts under way whether terms stand in their way, by the files as they are at that moment."""

    def __init__(self, project: Project, clock: Clock) -> None:
        self._project = project
        self._clock = clock
        self._marks: Marks | None = None
        self._known: tuple[Catalogue, Policy | None] | str = ""
        self._variants: dict[str, Variant] = {}

    def __call__(self, connection: Connection, task: str, variant: str) -> str | None:
        """Why a variant may not answer a task, one sentence; None where nothing speaks against it."""
        known = self._read()
        if isinstance(known, str):
            return known
        if variant not in self._variants:
            self._variants[variant] = load_variants(connection, [variant])[variant]
        engine = self._variants[variant].bundle.engine
        judgement = judge_engine(Licensing(*known, self._clock.now().date()), engine, task)
        if judgement is not None and not judgement.allowed:
            return refusal(judgement)
        return None if judgement is None else _changed_text(connection, known[0], model_of(engine))

    def _read(self) -> tuple[Catalogue, Policy | None] | str:
        """Cards and policy, read again where a file has changed; or why nobody can say what is allowed."""
        files = LibraryFiles(self._project)
        marks = files.marks()
        if marks != self._marks:
            try:
                self._known = (usable_catalogue(self._project), files.policy())
            except ConfigError as exc:
                log.error("licences: nothing takes over until this is mended: %s", exc)
                self._known = f"nobody can say what is allowed: {exc.message}"
            self._marks = marks
        return self._known


def _changed_text(connection: Connection, catalogue: Catalogue, model: Model) -> str | None:
    """Why a licence's text stands in the way: it is another one at its source, and nobody has accepted it."""
    card = find_card(catalogue, model)
    text = None if card is None else review_needed(connection, card)
    if card is None or text is None:
        return None
    return (
        f"The licence of `{card.id}` has another text at {text.source} since it was accepted (SHA-256 {text.sha256[:16]}…). "
        f"Read it, then `changeover licences accept {card.id} --reason …`."
    )
