"""In which ways models are held against each other for a task. Each axis stands alone; none is added to another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from changeover.app.recommending.choices import Axis, Own
from changeover.app.recommending.needs import Needs
from changeover.app.scoring import Scored
from changeover.core.settings import Price
from changeover.evals.trial_queries import Figures
from changeover.library.cards import Card
from changeover.library.facts import Figure
from changeover.library.scores.parts import ENOUGH, Score

NAMES = ("own score", "made for it", "index", "support", "familiarity", "cost")
"""In the order in which they sort what no front tells apart."""

QUALITY = ("own score", "index")
"""Those that say how good answers are. What is known on neither of them has to be measured, and is never beaten."""

Index = tuple[str, str | None]
"""Name and version. Figures of different versions are of different indices."""


def common_index(cards: Iterable[Card]) -> Index | None:
    """The index and version that most of these cards have a figure of; of two the newer figures'."""
    found: Counter[Index] = Counter()
    newest: dict[Index, str] = {}
    for card in cards:
        for figure in {(each.index, each.version): each for each in card.figures if each.variant is None}.values():
            key = (figure.index, figure.version)
            found[key] += 1
            newest[key] = max(newest.get(key, ""), str(figure.as_of or ""))
    return max(found, key=lambda key: (found[key], newest[key], key[0]), default=None)


def index_name(index: Index) -> str:
    """As people read it."""
    name, version = index
    return f"{name} {version}" if version else name


def axes_of(
    scored: Scored, own: Own, needs: Needs, index: Index | None, price: Price | None, figures: Figures, *, priced: bool
) -> tuple[Axis, ...]:
    """How a model stands on each axis, in the order of `NAMES`.

    Args:
        scored: The card and its scores.
        own: Results of this installation.
        needs: The task.
        index: What figures are compared by.
        price: Of its tokens; None: not known.
        figures: How long the incumbent's answers are, by which a price becomes a cost.
        priced: Whether every model of the tier has a price; else size stands for cost, and is said to.
    """
    card = scored.card
    return (
        _own_score(own),
        _made_for(card, needs),
        _index(card, index),
        _score("support", scored.support),
        _score("familiarity", scored.familiarity),
        _cost(price, figures) if priced else _size(card),
    )


def price_of(card: Card, declared: Price | None) -> Price | None:
    """What its tokens cost: as the project declares it, else the cheapest host's newest price on the card."""
    if declared is not None:
        return declared
    asked = [hosted.prices[-1] for hosted in card.hosted if hosted.prices]
    if not asked:
        return None
    cheapest = min(
        asked, key=lambda each: (each.input_usd_per_million_tokens + each.output_usd_per_million_tokens, each.source)
    )
    return Price(
        usd_per_million_prompt_tokens=cheapest.input_usd_per_million_tokens,
        usd_per_million_completion_tokens=cheapest.output_usd_per_million_tokens,
    )


def other_figures(card: Card, index: Index | None) -> tuple[str, ...]:
    """Figures that are not compared, for they are of another version, another index or another variant."""
    return tuple(
        f"{_figure(each)}, not compared"
        for each in card.figures
        if index is None or (each.index, each.version) != index or each.variant is not None
    )


def _own_score(own: Own) -> Axis:
    if own.score is None:
        return Axis(name="own score", value=None, says="not measured here")
    return Axis(name="own score", value=own.score, says=f"{100 * own.score:.1f} of 100 on {own.scored} cases here")


def _made_for(card: Card, needs: Needs) -> Axis:
    name = "made for it"
    if not needs.scenarios or not card.scenarios:
        return Axis(name=name, value=None, says="what it is for is not known")
    shared = [each for each in needs.scenarios if each in card.scenarios]
    said = (
        f"for {', '.join(shared)}" if shared else f"for {', '.join(card.scenarios)}, not {', '.join(needs.scenarios)}"
    )
    return Axis(name=name, value=float(bool(shared)), says=said)


def _index(card: Card, index: Index | None) -> Axis:
    mine: Sequence[Figure] = [each for each in card.figures if (each.index, each.version) == index and not each.variant]
    if index is None or not mine:
        return Axis(name="index", value=None, says="no figure of it")
    newest = max(mine, key=lambda each: str(each.as_of or ""))
    return Axis(name="index", value=newest.value, says=_figure(newest))


def _figure(figure: Figure) -> str:
    of = f" ({figure.variant})" if figure.variant else ""
    when = f", {figure.as_of}" if figure.as_of else ""
    return f"{index_name((figure.index, figure.version))}: {figure.value:g}{of}{when}"


def _score(name: str, score: Score) -> Axis:
    if score.value is None:
        return Axis(name=name, value=None, says="nothing is known")
    value, confidence = round(score.value), f"confidence {100 * score.confidence:.0f} %"
    if score.confidence < ENOUGH:
        return Axis(name=name, value=None, says=f"{value} of 100, {confidence}: too little to be held against others")
    return Axis(name=name, value=value, says=f"{value} of 100, {confidence}")


def _cost(price: Price | None, figures: Figures) -> Axis:
    if price is None:
        return Axis(name="cost", value=None, says="no price is known")
    prompt, answer = figures.prompt_tokens, figures.completion_tokens
    if prompt is None or answer is None:
        usd = price.usd_per_million_prompt_tokens + price.usd_per_million_completion_tokens
        return Axis(name="cost", value=-usd, says=f"${usd:g} for a million tokens in and out")
    usd = 1000 * price.cost(round(prompt), round(answer))
    return Axis(name="cost", value=-usd, says=f"${usd:.2f} for 1,000 answers as long as today's")


def _size(card: Card) -> Axis:
    size = card.active_parameters_b or card.parameters_b
    if size is None:
        return Axis(name="cost", value=None, says="neither a price nor a size is known")
    active = " active for each token" if card.active_parameters_b else ""
    return Axis(name="cost", value=-size, says=f"{size:g} B parameters{active}, in place of a price")
