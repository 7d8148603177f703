"""What one condition of a licence means for an organisation: one function for each kind. `judge` asks them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from changeover.library.licences.judgement import Outcome
from changeover.library.licences.policy import Policy, TaskPolicy
from changeover.library.licences.terms import (
    Acceptance,
    Condition,
    Duty,
    ExcludedTerritory,
    ForbiddenUses,
    HostingIsDistribution,
    NonCommercial,
    OutputsTrainNothing,
    Revocable,
    Size,
    Use,
)

SHOWN_COUNTRIES: Final = 3
"""How many of a list of countries a sentence names."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the organisation is, as one task sees it."""

    policy: Policy
    uses: frozenset[Use]
    customer_facing: bool
    outputs_train_models: bool

    @classmethod
    def of(cls, policy: Policy, task: str | None) -> Situation:
        """The organisation's own values, with what the policy says of the task."""
        own = policy.tasks.get(task, TaskPolicy()) if task is not None else TaskPolicy()
        return cls(
            policy=policy,
            uses=frozenset((*policy.uses, *own.uses)),
            customer_facing=policy.customer_facing if own.customer_facing is None else own.customer_facing,
            outputs_train_models=(
                policy.outputs_train_models if own.outputs_train_models is None else own.outputs_train_models
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What a condition comes to here."""

    outcome: Outcome
    about: str
    says: str
    warning: bool = False


def meaning(condition: Condition, situation: Situation | None) -> Meaning:
    """Say what a condition comes to; without a policy, when it would come to something."""
    return _KINDS[type(condition)](condition, situation)


def _territory(condition: ExcludedTerritory, situation: Situation | None) -> Meaning:
    where = condition.called or _listed(condition.countries)
    works = "neither it nor its outputs may be used" if condition.outputs_too else "it may not be used"
    about = condition.about or "outside its territory"
    if situation is None:
        return Meaning(outcome="allow", about=about, says=f"In {where} {works}.", warning=True)
    operates = situation.policy.operates_in
    if not operates:
        says = f"In {where} {works}; say where you operate: `operates_in` in the policy."
        return Meaning(outcome="person", about=about, says=says)
    excluded = sorted(set(operates) & set(condition.countries))
    if excluded:
        return Meaning(outcome="deny", about=about, says=f"You operate in {', '.join(excluded)}, where {works}.")
    return Meaning(outcome="allow", about=about, says=f"In {where} {works}; you do not operate there.")


def _forbidden_uses(condition: ForbiddenUses, situation: Situation | None) -> Meaning:
    about = condition.about or "forbidden uses"
    unless = f" unless {condition.unless}" if condition.unless else ""
    if situation is None:
        says = f"It may not be used for {', '.join(condition.uses)}{unless}."
        return Meaning(outcome="allow", about=about, says=says, warning=True)
    hit = sorted(situation.uses & set(condition.uses))
    if not hit:
        says = f"It may not be used for {', '.join(condition.uses)}{unless}; none of these is among your uses."
        return Meaning(outcome="allow", about=about, says=says)
    uses = ", ".join(hit)
    if condition.doubt:
        says = f"It may be that it may not be used for {uses}: {condition.doubt}."
        return Meaning(outcome="allow", about=about, says=says, warning=True)
    if condition.unless:
        says = f"It may not be used for {uses} unless {condition.unless}; if so, say it under `granted` in the policy."
        return Meaning(outcome="person", about=about, says=says)
    return Meaning(outcome="deny", about=about, says=f"It may not be used for {uses}.")


def _size(condition: Size, situation: Situation | None) -> Meaning:
    above, name = f"more than {_figure(condition)}", condition.display or "its name"
    needed = {
        "display-name": f"“{name}” must be displayed prominently",
        "licence": "a licence of its own is needed from the licensor",
        "authorisation": "a written authorisation is needed from the licensor",
    }[condition.then]
    about = condition.about or (f"display “{name}”" if condition.then == "display-name" else above)
    counts = f" The clause counts {condition.counted}." if condition.counted else ""
    if situation is None:
        return Meaning(outcome="allow", about=about, says=f"With {above} {needed}.{counts}", warning=True)
    key, reached = _KEYS[condition.measure], _reached(condition, situation.policy)
    severe: Outcome = "duties" if condition.then == "display-name" else "person"
    if reached is None:
        says = f"With {above} {needed}; say how many you have: `{key}` in the policy.{counts}"
        return Meaning(outcome=severe, about=about, says=says)
    if reached:
        return Meaning(outcome=severe, about=about, says=f"You have {above}: {needed}.{counts}")
    return Meaning(outcome="allow", about=about, says=f"With {above} {needed}; you have fewer.{counts}")


_KEYS: Final = {
    "monthly-users": "monthly_users",
    "monthly-revenue-usd": "monthly_revenue_usd",
    "yearly-revenue-usd": "yearly_revenue_usd",
}


def _reached(condition: Size, policy: Policy) -> bool | None:
    """Whether the organisation is above it; None: its figures do not say."""
    if condition.measure == "monthly-users":
        least = most = policy.monthly_users
    elif condition.measure == "monthly-revenue-usd":
        least, most = policy.monthly_revenue_usd, policy.monthly_revenue_usd
        if least is None and policy.yearly_revenue_usd is not None:
            # Some month has at least a twelfth of the year, and none has more than the year.
            least, most = policy.yearly_revenue_usd / 12, policy.yearly_revenue_usd
    else:
        least, most = policy.yearly_revenue_usd, policy.yearly_revenue_usd
        if least is None:
            least = policy.monthly_revenue_usd
    if least is not None and least > condition.over:
        return True
    return False if most is not None and most <= condition.over else None


def _non_commercial(condition: NonCommercial, situation: Situation | None) -> Meaning:
    about = condition.about or "commercial use"
    if situation is None:
        says = "Commercial use needs a licence or an authorisation of its own."
        return Meaning(outcome="allow", about=about, says=says, warning=True)
    if situation.policy.commercial:
        says = (
            "Commercial use needs a licence or an authorisation of its own; if you have one, name it under `granted`."
        )
        return Meaning(outcome="person", about=about, says=says)
    return Meaning(outcome="allow", about=about, says="Commercial use needs an authorisation; yours is not commercial.")


def _outputs_train(condition: OutputsTrainNothing, situation: Situation | None) -> Meaning:
    about = condition.about or "outputs that train models"
    if condition.effect == "forbidden":
        rule, severe = "Its outputs may not train or improve another model", "deny"
    elif condition.effect == "derivative":
        rule, severe = "A model that its outputs train to perform like it is under the same terms", "duties"
    else:
        rule, severe = f"A model that its outputs train must show “{condition.display or 'its name'}”", "duties"
    if situation is None:
        return Meaning(outcome="allow", about=about, says=f"{rule}.", warning=condition.effect == "forbidden")
    if situation.outputs_train_models:
        return Meaning(outcome=severe, about=about, says=f"{rule}; by your policy, outputs do.")
    return Meaning(outcome="allow", about=about, says=f"{rule}; by your policy, outputs train none.")


_DUTIES: Final = {
    "notice": "give its notice along with it",
    "flow-down": "bind whoever gets or uses it to the same restrictions, in writing, and tell them",
    "display-name": "display “{display}” prominently",
    "label-outputs": "say of what is published that a machine made it",
    "state-changes": "mark files that were changed",
    "comply-with-law": "keep to the law and to its policy of use",
    "terms-copy": "give a copy of its terms along with it",
}
_OCCASIONS: Final = {
    "always": "Whoever uses it must",
    "distribution": "Whoever passes it on or offers it to others must",
    "copies": "Whoever gives out its files must",
    "commercial": "Whoever uses it commercially must",
    "public-outputs": "Whoever publishes its outputs must",
}


def _duty(condition: Duty, situation: Situation | None) -> Meaning:
    act = _DUTIES[condition.duty].format(display=condition.display or "its name")
    about = condition.about or condition.duty.replace("-", " ")
    applies = condition.when == "always" or (situation is not None and _applies(condition.when, situation))
    return Meaning(outcome="duties" if applies else "allow", about=about, says=f"{_OCCASIONS[condition.when]} {act}.")


def _applies(when: str, situation: Situation) -> bool:
    return {
        "distribution": situation.policy.hosts_for_others,
        "copies": False,
        "commercial": situation.policy.commercial,
        "public-outputs": situation.customer_facing,
    }[when]


def _hosting(condition: HostingIsDistribution, situation: Situation | None) -> Meaning:
    about = condition.about or "hosting is distribution"
    hosts = situation is not None and situation.policy.hosts_for_others
    says = "To offer it to others as a service is to distribute it, with the duties of that"
    return Meaning(
        outcome="duties" if hosts else "allow",
        about=about,
        says=f"{says}; by your policy, you do." if hosts else f"{says}.",
    )


def _acceptance(condition: Acceptance, situation: Situation | None) -> Meaning:
    says = "Somebody of the organisation has to accept its terms where its weights are given out."
    return Meaning(outcome="duties", about=condition.about or "terms to accept", says=says)


def _revocable(condition: Revocable, situation: Situation | None) -> Meaning:
    says = "The licensor may restrict or end its use."
    return Meaning(outcome="allow", about=condition.about or "can be restricted", says=says, warning=True)


_KINDS: Final[Mapping[type, Callable[[Any, Situation | None], Meaning]]] = {
    ExcludedTerritory: _territory,
    ForbiddenUses: _forbidden_uses,
    Size: _size,
    NonCommercial: _non_commercial,
    OutputsTrainNothing: _outputs_train,
    Duty: _duty,
    HostingIsDistribution: _hosting,
    Acceptance: _acceptance,
    Revocable: _revocable,
}


def _figure(condition: Size) -> str:
    number = f"{condition.over:,.0f}"
    return {
        "monthly-users": f"{number} monthly users",
        "monthly-revenue-usd": f"{number} US dollars of revenue in a month",
        "yearly-revenue-usd": f"{number} US dollars of revenue in a year",
    }[condition.measure]


def _listed(countries: tuple[str, ...]) -> str:
    if len(countries) <= SHOWN_COUNTRIES + 1:
        return ", ".join(countries)
    return f"{', '.join(countries[:SHOWN_COUNTRIES])} and {len(countries) - SHOWN_COUNTRIES} more countries"
