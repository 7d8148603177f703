"""Judging a licence under the organisation's policy: every clause that means something here, and what it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date

from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.ancestry import Ancestor, ancestors
from changeover.library.licences.conditions import Situation, meaning
from changeover.library.licences.judgement import OUTCOMES, Judgement, Outcome, Reason
from changeover.library.licences.policy import Granted, Policy
from changeover.library.licences.terms import Condition, LicenceTerms


def judge(
    card: Card, catalogue: Catalogue, policy: Policy | None, *, today: date, task: str | None = None
) -> Judgement:
    """Say what may be done with a model on a day, for one task, or for anything that the policy names no task for.

    Without a policy nothing is known of the organisation: then no figure that is missing blocks anything, and what a
    licence asks stands among the warnings. The day decides which grants and closed models hold or have ended.
    """
    situation = None if policy is None else Situation.of(policy, task)
    judged = _Judged(card=card, catalogue=catalogue, situation=situation, task=task, today=today)
    reasons = (*judged.by_policy(), *judged.by_own_terms(), *judged.by_lineage())
    return Judgement(model=card.id, task=task, reasons=reasons, policy=policy is not None)


def judge_stranger(name: str, policy: Policy | None, *, task: str | None = None) -> Judgement:
    """Say what may be done with a model that has no card: nobody knows its licence."""
    outcome = "allow" if policy is None else policy.on_unknown_licence
    says = f"The library has no card of `{name}`, so nobody knows its licence. Write one, see `changeover models`."
    reason = Reason(
        outcome=outcome,
        about="no card",
        says=says,
        model=name,
        licence=None,
        clause=None,
        quote=None,
        source=None,
        warning=outcome == "allow",
    )
    return Judgement(model=name, task=task, reasons=(reason,), policy=policy is not None)


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """One model, for one task."""

    card: Card
    catalogue: Catalogue
    situation: Situation | None
    task: str | None
    today: date

    def by_policy(self) -> Iterator[Reason]:
        """What the policy says by itself: vendors, countries, refused licences, closed models."""
        if self.situation is None:
            if self.card.weights == "closed":
                yield self._rule("allow", "closed", "Its weights are closed: it can only be rented.", warning=True)
            return
        policy = self.situation.policy
        if self._vendor_is_refused(policy):
            says = f"The policy refuses the vendor {self.card.vendor} (`refused_vendors`)."
            yield self._rule("deny", "vendor refused", says)
        if policy.vendor_countries and self.card.country not in policy.vendor_countries:
            known = self.card.country is not None
            seat = f"in {self.card.country}" if known else "in a country that its card does not say"
            says = f"Its vendor has its seat {seat}, and `vendor_countries` is {', '.join(policy.vendor_countries)}."
            yield self._rule("deny" if known else "person", "vendor's country", says)
        refused = {self._named(licence) for licence in policy.refused_licences}
        for licence in self._own_licences():
            if licence in refused:
                says = f"The policy refuses the licence `{licence}` (`refused_licences`)."
                yield self._rule("deny", "licence refused", says)
        if self.card.weights == "closed":
            yield self._closed(policy)

    def by_own_terms(self) -> Iterator[Reason]:
        """What the model's own licence says, and the terms that stand beside it."""
        licences = self._own_licences()
        if not licences:
            yield self._unknown(None)
        for licence in licences:
            terms = self.catalogue.licence(licence)
            if terms is None:
                yield self._unknown(licence)
                continue
            for condition in terms.conditions:
                yield self._settled(self._reason(condition, terms, self.card.id))
        if self.card.gated and not self._has_acceptance():
            says = "Somebody of the organisation has to agree on the hub before it gives out the weights."
            yield Reason(
                outcome="duties",
                about="gated",
                says=says,
                model=self.card.id,
                licence=self.card.licence_id,
                clause=None,
                quote=None,
                source=None,
            )
        yield from self._history()

    def by_lineage(self) -> Iterator[Reason]:
        """What the licences of the models say that it was made from, where its own is freer."""
        own = {terms.id for terms in self._own_terms()}
        for ancestor in ancestors(self.card, self.catalogue):
            if ancestor.terms is None:
                if ancestor.vendor is not None and ancestor.vendor == self.card.vendor:
                    continue
                says = f"It was made from `{ancestor.name}`, whose terms are not known here."
                yield self._rule("allow", "unknown lineage", says, warning=True)
                continue
            terms = ancestor.terms
            if not terms.restricts or terms.id in own:
                continue
            if terms.licensor is not None and _is_of(self.card.vendor, terms.licensor):
                says = f"It was made from `{ancestor.name}`, under `{terms.id}`; both are {terms.licensor}'s own to licence."
                yield self._from_ancestor(ancestor, terms, "allow", "lineage", says, warning=False)
                continue
            yield from self._freer_than(ancestor, terms)

    def _freer_than(self, ancestor: Ancestor, terms: LicenceTerms) -> Iterator[Reason]:
        """The doubt that a freer licence than the ancestor's leaves, then each of its conditions that means something."""
        blocks = self.situation is not None and self.situation.policy.on_lineage == "person"
        mine = " and ".join(f"`{licence}`" for licence in self._own_licences()) or "no known licence"
        says = f"It is under {mine}, but was made from `{ancestor.name}`, which is under `{terms.id}`: that may bind it too."
        found = [self._from_ancestor(ancestor, terms, "allow", f"lineage: {terms.id}", says)]
        for condition in terms.conditions:
            reason = self._reason(condition, terms, ancestor.name)
            if reason.outcome == "allow" and not reason.warning:
                continue
            found.append(replace(reason, outcome="allow", warning=True, about=f"lineage: {reason.about}"))
            if blocks and OUTCOMES.index(reason.outcome) >= OUTCOMES.index("person"):
                found[-1] = replace(found[-1], outcome="person", warning=False)
        if blocks:
            found[0] = replace(found[0], outcome="person", warning=False)
        yield from map(self._settled, found)

    def _from_ancestor(
        self, ancestor: Ancestor, terms: LicenceTerms, outcome: Outcome, about: str, says: str, *, warning: bool = True
    ) -> Reason:
        return Reason(
            outcome=outcome,
            about=about,
            says=says,
            model=ancestor.name,
            licence=terms.id,
            clause=None,
            quote=None,
            source=ancestor.source,
            warning=warning,
        )

    def _reason(self, condition: Condition, terms: LicenceTerms, model: str) -> Reason:
        here = meaning(condition, self.situation)
        return Reason(
            outcome=here.outcome,
            about=here.about,
            says=here.says,
            model=model,
            licence=terms.id,
            clause=condition.clause,
            quote=condition.quote,
            source=condition.source or terms.source,
            grade=condition.grade or terms.grade,
            warning=here.warning,
        )

    def _rule(self, outcome: Outcome, about: str, says: str, *, warning: bool = False) -> Reason:
        return Reason(
            outcome=outcome,
            about=about,
            says=says,
            model=self.card.id,
            licence=None,
            clause=None,
            quote=None,
            source=None,
            warning=warning,
        )

    def _closed(self, policy: Policy) -> Reason:
        ended: date | None = None
        for entry in policy.closed_models:
            if entry.model != self.card.id or self.task is None or self.task not in entry.tasks:
                continue
            if entry.until >= self.today:
                says = f"Its weights are closed; it may answer `{self.task}` until {entry.until}: {entry.reason}"
                reason = self._rule("allow", "closed", says)
                return replace(reason, settled=f"{entry.by}, until {entry.until}")
            ended = entry.until
        past = f" One that was ended on {ended}." if ended else ""
        what = f"`{self.task}`" if self.task else "tasks that an entry names"
        says = f"Its weights are closed: only an entry under `closed_models` lets it answer {what}.{past}"
        return self._rule("person", "closed", says)

    def _unknown(self, licence: str | None) -> Reason:
        what = "Its licence is not known" if licence is None else f"Nothing is known here of the licence `{licence}`"
        if self.situation is None:
            return self._rule("allow", "unknown licence", f"{what}.", warning=True)
        outcome = self.situation.policy.on_unknown_licence
        says = f"{what} (`on_unknown_licence` is `{outcome}`)."
        reason = self._rule(outcome, "unknown licence", says, warning=outcome == "allow")
        return reason if licence is None else self._settled(replace(reason, licence=licence))

    def _history(self) -> Iterator[Reason]:
        """When it came under its present terms."""
        licence = self.card.licence
        if licence is None or not (licence.former or licence.since):
            return
        before = "; ".join(f"under `{former.id}` until {former.until}" for former in licence.former)
        since = f"under `{licence.id}` since {licence.since}" if licence.since else f"now under `{licence.id}`"
        says = f"It was {before}, and is {since}." if before else f"It is {since}."
        yield self._rule("allow", "terms changed", f"{says} What was taken before may be under the former terms.")

    def _settled(self, reason: Reason) -> Reason:
        """The reason as a grant leaves it: `person` that somebody has settled blocks no more."""
        if self.situation is None or reason.outcome != "person":
            return reason
        ended: Granted | None = None
        for grant in self.situation.policy.granted:
            if self._named(grant.licence) != reason.licence or grant.clause not in (None, reason.clause):
                continue
            if grant.on <= self.today and (grant.until is None or self.today <= grant.until):
                until = f", until {grant.until}" if grant.until else ""
                return replace(reason, outcome="allow", settled=f"{grant.by} on {grant.on}{until}: {grant.reason}")
            ended = grant
        if ended is None:
            return reason
        when = f"holds from {ended.on} on" if ended.on > self.today else f"ended on {ended.until}"
        return replace(reason, says=f"{reason.says} What {ended.by} was granted {when}.")

    def _vendor_is_refused(self, policy: Policy) -> bool:
        return any(_is_of(self.card.vendor, name) for name in policy.refused_vendors)

    def _own_licences(self) -> tuple[str, ...]:
        licence = self.card.licence
        if licence is None:
            return ()
        return tuple(dict.fromkeys(map(self._named, (licence.id, *licence.also))))

    def _named(self, licence: str) -> str:
        """The id of a licence that may be called by another name."""
        terms = self.catalogue.licence(licence)
        return licence if terms is None else terms.id

    def _own_terms(self) -> tuple[LicenceTerms, ...]:
        found = (self.catalogue.licence(licence) for licence in self._own_licences())
        return tuple(terms for terms in found if terms is not None)

    def _has_acceptance(self) -> bool:
        return any(condition.kind == "acceptance" for terms in self._own_terms() for condition in terms.conditions)


def _is_of(vendor: str, name: str) -> bool:
    """Whether a card's vendor is the one of that name; the card may name the part that made it: `Tencent (Hunyuan)`."""
    return vendor.casefold() == name.casefold() or vendor.casefold().startswith(f"{name.casefold()} (")
