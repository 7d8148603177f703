"""What may be done with models by one catalogue and one policy, on one day: whoever asks more than once asks this."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.judge import judge, judge_stranger
from changeover.library.licences.judgement import Judgement
from changeover.library.licences.policy import Policy
from changeover.library.lineage import Model, find_card


@dataclass(frozen=True)
class Licensing:
    """Judges models, for a task or, without one, for whatever the policy names no task for."""

    catalogue: Catalogue
    policy: Policy | None
    """None: nothing is known of the organisation, so nothing that only it could tell blocks."""
    today: date
    """Decides which grants and closed models hold or have ended."""

    def card(self, card: Card, task: str | None = None) -> Judgement:
        """What may be done with a card's model."""
        return judge(card, self.catalogue, self.policy, today=self.today, task=task)

    def stranger(self, name: str, task: str | None = None) -> Judgement:
        """What may be done with a model that has no card."""
        return judge_stranger(name, self.policy, task=task)

    def model(self, model: Model, task: str | None = None) -> Judgement:
        """What may be done with a model as a deployment names it."""
        card = find_card(self.catalogue, model)
        return self.stranger(model.name, task) if card is None else self.card(card, task)

    def closed_for(self, model: str | None = None) -> tuple[str, ...]:
        """Tasks for which the policy lets closed models, or one of them, be used at all, held or ended."""
        entries = () if self.policy is None else self.policy.closed_models
        named = (task for entry in entries if model in (None, entry.model) for task in entry.tasks)
        return tuple(dict.fromkeys(named))
