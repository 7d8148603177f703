"""Puts the shortlist together: reads what is known, holds it against the task, sorts by tier and by what is not beaten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from changeover.app.at_work import AtWork
from changeover.app.deploy import incumbent_of
from changeover.app.installation import ECHO, Installation
from changeover.app.matching import Prepared, prepared
from changeover.app.recommending.axes import (
    NAMES,
    QUALITY,
    Index,
    axes_of,
    common_index,
    index_name,
    other_figures,
    price_of,
)
from changeover.app.recommending.checks import checks_of
from changeover.app.recommending.choices import TIERS, Axis, Check, Choice, Own, Place, Shortlist, Tier
from changeover.app.recommending.needs import Needs, needs_of
from changeover.app.recommending.own_results import mean_of, own_results
from changeover.app.recommending.pareto import fronts, in_order
from changeover.app.recommending.places import place_of
from changeover.app.scoring import Scored, Scores
from changeover.app.trials import figures_on
from changeover.core.errors import GateError
from changeover.core.settings import Price
from changeover.evals.trial_queries import Figures
from changeover.library.cards import Card
from changeover.library.fit import Hardware
from changeover.library.scores.engines import Registry
from changeover.serving.queries import Deployment
from changeover.serving.variants import Variant

NOTHING = Figures(kept=frozenset(), duration_ms=None, prompt_tokens=None, completion_tokens=None, longest_prompt=None)
BY_PLACE: dict[str, Tier] = {
    "now": "could run now",
    "engine": "needs an engine",
    "more": "needs more",
    "unknown": "unknown",
}
OBVIOUS = ("text and conversation", "not retired")
"""Requirements that are no reason where they are met."""
NOBODY = "the project was not started yet: nothing was measured here"


@dataclass(frozen=True)
class _Model:
    """A card with its deployments, before it is judged."""

    scored: Scored
    rows: tuple[Deployment, ...]
    checks: tuple[Check, ...]
    place: Place
    own: Own
    tier: Tier
    price: Price | None


def recommend(
    installation: Installation, task: str, hardware: Hardware | None = None, registries: Sequence[Registry] = ()
) -> Shortlist:
    """What could answer a task instead of what answers it now, and why.

    Requirements come first: what fails one is ruled out. Then what was proven here, what could run now, what needs an
    engine, what needs more than is here, what is unknown. Within a tier a model stands in the first front unless
    another is at least as good on every axis that it is known on, and better on one; the axes are never added up. One
    of whose quality nothing is known is never beaten so: it has to be measured. The order within a front is that of
    the axes (`NAMES`), one after the other, then the name.

    Args:
        installation: The project, running or not.
        task: Its name.
        hardware: What it shall run on; None: this machine.
        registries: What engines that are installed here say.

    Raises:
        UnknownTaskError: There is no such task.
        DatasetError: Its dataset cannot be read.
    """
    ready = prepared(installation, task)
    incumbent = _incumbent(installation, task)
    figures = NOTHING
    if incumbent is not None:
        with installation.store.read() as connection:
            figures = figures_on(connection, incumbent, ready)
    needs = needs_of(ready.task, ready.dataset, figures)
    reading = _Reading(installation, ready, needs, incumbent, hardware, registries)
    models = reading.models()
    index = common_index(each.scored.card for each in models if each.tier != "ruled out")
    choices = [choice for tier in TIERS for choice in _ranked(tier, models, needs, index, figures)]
    return Shortlist(
        needs=needs,
        incumbent=ready.task.declared.first_incumbent if incumbent is None else incumbent.deployment,
        incumbent_score=mean_of(installation, ready, incumbent),
        hardware="this machine" if hardware is None else str(hardware),
        index=None if index is None else index_name(index),
        notes=(*(() if incumbent is not None else (NOBODY,)), *reading.without_card()),
        choices=tuple(choices),
    )


def _incumbent(installation: Installation, task: str) -> Variant | None:
    with installation.store.read() as connection:
        try:
            return incumbent_of(connection, task)
        except GateError:
            return None


class _Reading:
    """Reads what is known of every model that could answer the task."""

    def __init__(
        self,
        installation: Installation,
        ready: Prepared,
        needs: Needs,
        incumbent: Variant | None,
        hardware: Hardware | None,
        registries: Sequence[Registry],
    ) -> None:
        self._installation = installation
        self._needs = needs
        self._hardware = hardware
        self._incumbent = incumbent
        self._first = ready.task.declared.first_incumbent
        self._scores = Scores(installation, registries)
        with installation.store.read() as connection:
            at_work = AtWork.read(connection, installation.catalogue)
        self._rows = at_work.deployments_of
        self._bare = [
            name for name, row in at_work.deployments.items() if name not in at_work.cards and row.backend != ECHO
        ]
        deployments = {name: card.id for name, card in at_work.cards.items()} | {name: name for name in self._bare}
        self._own = own_results(installation, ready, incumbent, deployments)

    def models(self) -> list[_Model]:
        """All that have a card, but the one that answers already."""
        return [self._model(card) for card in self._installation.catalogue.cards() if not self._answers(card)]

    def without_card(self) -> Iterator[str]:
        """What runs and has no card, in words: nobody can judge it, and it can be measured."""
        for name in self._bare:
            if self._incumbent is not None and name == self._incumbent.deployment:
                continue
            said = {"pass": "passed here", "fail": "not as good here", "inconclusive": "undecided here"}
            found = said.get(self._own.get(name, Own()).verdict or "", "not measured here")
            yield f"{name} has no card, so it stands in no list; {found}: changeover trial {name} --task {self._needs.task}"

    def _answers(self, card: Card) -> bool:
        if self._incumbent is None:
            return card.id == self._first
        return any(row.name == self._incumbent.deployment for row in self._rows.get(card.id, ()))

    def _model(self, card: Card) -> _Model:
        scored = self._scores.of(card, task=self._needs.task)
        rows, own = self._rows.get(card.id, ()), self._own.get(card.id, Own())
        checks = checks_of(card, self._needs, scored.judgement, self._scores.today)
        place = place_of(self._installation, card, rows, self._needs, self._hardware)
        prices = self._installation.project.settings.prices
        declared = next((prices[row.name] for row in rows if row.name in prices), None)
        return _Model(scored, rows, checks, place, own, _tier(checks, place, own), price_of(card, declared))


def _tier(checks: Sequence[Check], place: Place, own: Own) -> Tier:
    if any(check.state == "fail" for check in checks):
        return "ruled out"
    if own.verdict == "fail":
        return "not as good here"
    if own.verdict == "pass":
        return "proven here"
    return BY_PLACE[place.state]


def _ranked(tier: Tier, models: Sequence[_Model], needs: Needs, index: Index | None, figures: Figures) -> list[Choice]:
    """The models of one tier, those that nothing beats first."""
    mine = {each.scored.card.id: each for each in models if each.tier == tier}
    priced = all(each.price is not None for each in mine.values())
    axes = {
        id: axes_of(each.scored, each.own, needs, index, each.price, figures, priced=priced)
        for id, each in mine.items()
    }
    values = {id: [axis.value for axis in each] for id, each in axes.items()}
    found = fronts(values, [NAMES.index(name) for name in QUALITY])
    order = sorted(mine, key=lambda id: (found[id][0], in_order(values[id]), id))
    return [_choice(mine[id], axes[id], found[id], needs, index) for id in order]


def _choice(
    model: _Model, axes: tuple[Axis, ...], front: tuple[int, str | None], needs: Needs, index: Index | None
) -> Choice:
    why, why_not = _reasons(model, axes)
    place, beaten_by = front
    if beaten_by is not None:
        why_not = (*why_not, f"{beaten_by} is at least as good wherever this one is known, and better somewhere")
    card = model.scored.card
    return Choice(
        name=card.id,
        scored=model.scored,
        tier=model.tier,
        front=place,
        beaten_by=beaten_by,
        checks=model.checks,
        place=model.place,
        own=model.own,
        axes=axes,
        why=why,
        why_not=(*why_not, *other_figures(card, index)),
        next=_next(model, needs.task),
    )


def _reasons(model: _Model, axes: Sequence[Axis]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What speaks for a model and what against it, or is not known; in the order in which it counts."""
    own, why, why_not = model.own, list[str](), list[str]()
    if own.verdict is not None:
        points = "" if own.difference is None else f" ({100 * own.difference:+.1f} points, {own.samples} samples)"
        said = {"pass": "passed", "fail": "not good enough", "inconclusive": "undecided"}[own.verdict]
        (why if own.verdict == "pass" else why_not).append(f"{said} here on {own.on}{points}: {own.comparison}")
    if own.earlier is not None:
        why_not.append(f"earlier, not today's evidence: {own.earlier}")
    why += [f"elsewhere here, {said}" for said in own.elsewhere]
    why_not += [f"{check.name}: {check.says}" for check in model.checks if check.state == "fail"]
    (why if model.place.state == "now" else why_not).append(model.place.says)
    why += [axis.says for axis in axes if axis.name in QUALITY and axis.value is not None]
    made = axes[NAMES.index("made for it")]
    if made.value is not None:
        (why if made.value else why_not).append(made.says)
    met = (check for check in model.checks if check.state == "pass" and check.name not in OBVIOUS)
    why += [f"{check.name}: {check.says}" for check in met]
    why_not += [f"{flag.name}: {flag.says}" for flag in model.scored.flags if not flag.name.startswith("licence")]
    why_not += [f"{check.name} unknown: {check.says}" for check in model.checks if check.state == "unknown"]
    return tuple(why), tuple(why_not)


def _next(model: _Model, task: str) -> str:
    """The command that goes on with it."""
    id, deployment = model.scored.card.id, model.place.deployment
    if model.scored.judgement.outcome == "person":
        return f"changeover licences {id} --task {task}"
    if model.tier == "proven here":
        return f"changeover switch {task} --to {deployment or id}"
    if model.tier == "could run now":
        return model.place.command or f"changeover trial {deployment or id} --task {task}"
    if model.tier in ("needs an engine", "needs more"):
        return model.place.command or f"changeover fit {id}"
    if model.tier == "unknown":
        return f"changeover fit {id}"
    if model.tier == "not as good here":
        return f"changeover evidence {model.own.comparison}"
    return f"changeover models show {id}"
