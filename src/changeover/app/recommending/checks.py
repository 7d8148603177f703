"""What a model must have for a task, each with pass, fail or unknown. Pure."""

from __future__ import annotations

from datetime import date

from changeover.app.recommending.choices import Check
from changeover.app.recommending.needs import Needs
from changeover.library.cards import Card
from changeover.library.licences.judgement import Judgement
from changeover.library.licences.words import refusal, short
from changeover.library.successors import unfit

MAIN = 0.5
"""Share of the cases from which on a language is the task's main one: without it a model is ruled out."""


def checks_of(card: Card, needs: Needs, judgement: Judgement, today: date) -> tuple[Check, ...]:
    """Hold a card against what a task needs."""
    return (
        _chat(card),
        _licence(card, judgement),
        _context(card, needs),
        _languages(card, needs),
        _kept_up(card, today),
        *([_tools(card)] if needs.tools else []),
    )


def _chat(card: Card) -> Check:
    name = "text and conversation"
    reason = unfit(card)
    if not card.modalities_in or not card.modalities_out:
        return Check(name=name, state="unknown", says=reason or "its card does not say what it reads and writes")
    if reason is not None:
        return Check(name=name, state="fail", says=reason)
    return Check(name=name, state="pass", says="it answers messages with text")


def _licence(card: Card, judgement: Judgement) -> Check:
    name, licence = "licence", card.licence_id or "no licence known"
    if judgement.outcome == "deny":
        return Check(name=name, state="fail", says=refusal(judgement))
    if judgement.outcome == "person":
        return Check(name=name, state="unknown", says=refusal(judgement))
    if card.licence_id is None and card.weights != "closed":
        return Check(name=name, state="unknown", says=licence)
    if not judgement.policy:
        return Check(name=name, state="pass", says=f"{licence}, with no policy to judge it by")
    return Check(name=name, state="pass", says=f"{licence}, {short(judgement)}")


def _context(card: Card, needs: Needs) -> Check:
    name, about = "context", "" if needs.counted else "about "
    wanted = f"{about}{needs.context_tokens:,} tokens"
    if card.context_tokens is None:
        return Check(name=name, state="unknown", says=f"the task takes {wanted}; what it takes is not known")
    state = "pass" if needs.context_tokens <= card.context_tokens else "fail" if needs.counted else "unknown"
    return Check(name=name, state=state, says=f"it takes {card.context_tokens:,}, the task {wanted}")


def _languages(card: Card, needs: Needs) -> Check:
    name = "languages"
    if not needs.languages:
        return Check(name=name, state="pass", says="the cases are in no language that could be told")
    if not card.languages:
        return Check(name=name, state="unknown", says=f"the card names none; the cases are {_shares(needs)}")
    named = {code.split("-")[0].casefold() for code in card.languages}
    missing = {code: share for code, share in needs.languages.items() if code not in named}
    if not missing:
        return Check(name=name, state="pass", says=f"its vendor names all of {', '.join(needs.languages)}")
    said = ", ".join(f"{code} ({100 * share:.0f} % of the cases)" for code, share in missing.items())
    state = "fail" if any(share >= MAIN for share in missing.values()) else "unknown"
    return Check(name=name, state=state, says=f"its vendor does not name {said}")


def _shares(needs: Needs) -> str:
    return ", ".join(f"{100 * share:.0f} % {code}" for code, share in needs.languages.items())


def _kept_up(card: Card, today: date) -> Check:
    name = "not retired"
    if card.retired is not None and card.retired <= today:
        after = f"; {card.lineage.successor} follows" if card.lineage.successor else ""
        return Check(name=name, state="fail", says=f"its vendor retired it on {card.retired}{after}")
    return Check(name=name, state="pass", says="no retirement is known")


def _tools(card: Card) -> Check:
    if card.tool_call_format is None:
        return Check(
            name="tool calls", state="unknown", says="no format of its own is known; tools go through the prompt"
        )
    return Check(name="tool calls", state="pass", says=f"its own format: {card.tool_call_format.split(':')[0][:60]}")
