"""Judging a licence under the organisation's policy: every clause that means something here, and what it means."""

from __future__ import annotations

from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.judgement import Judgement
from changeover.library.licences.policy import Policy


def judge(card: Card, catalogue: Catalogue, policy: Policy | None, *, task: str | None = None) -> Judgement:
    """Say what may be done with a model for one task, or for anything that the policy names no task for."""
    return Judgement(model=card.id, task=task, reasons=(), policy=policy is not None)
