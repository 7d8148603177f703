"""What licences and the policy keep a plan from."""

from __future__ import annotations

from collections.abc import Sequence

from changeover.app.licence_checks import judge_somewhere
from changeover.app.planning.answer import Lack
from changeover.app.planning.ground import Ground
from changeover.library.cards import Card
from changeover.library.licences.judgement import Judgement
from changeover.library.licences.words import refusal
from changeover.serving.parts import EnginePart


def licence_of(card: Card, ground: Ground) -> Sequence[Lack]:
    """What keeps a card's model from being used here."""
    return _lacks(ground.licensing.card(card))


def licence_of_engine(engine: EnginePart, ground: Ground) -> Sequence[Lack]:
    """What keeps whatever an engine runs from being used for any task."""
    return _lacks(judge_somewhere(ground.licensing, engine))


def _lacks(judgement: Judgement | None) -> Sequence[Lack]:
    if judgement is None or judgement.allowed:
        return ()
    return (
        Lack(kind="licence", what=refusal(judgement), remedy=f"`changeover licences {judgement.model}` says more."),
    )
