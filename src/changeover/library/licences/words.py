"""A judgement in words: one sentence that refuses, and a few words for a table."""

from __future__ import annotations

from changeover.library.licences.judgement import Judgement, Reason
from changeover.library.licences.terms import NOT_NUMBERED


def short(judgement: Judgement) -> str:
    """Why, for a column of a table: `clause 5(c): outside the territory`; `ok` where it is allowed.

    >>> short(Judgement(model="m", task=None, reasons=(), policy=True))
    'ok'
    """
    reason = judgement.deciding
    if reason is None or judgement.outcome == "allow":
        return "ok"
    if judgement.outcome == "duties":
        return "ok, with duties"
    return f"{place(reason)}: {reason.about}" if reason.licence else f"policy: {reason.about}"


def refusal(judgement: Judgement) -> str:
    """Say in one sentence that a model is not allowed, or needs a person first, and by which clause."""
    reason, model = judgement.deciding, f"`{judgement.model}`"
    purpose = f" for `{judgement.task}`" if judgement.task else ""
    if reason is None or judgement.allowed:
        return f"{model} is allowed{purpose}."
    verdict = "is not allowed" if judgement.outcome == "deny" else "needs a person's decision"
    by = "" if reason.licence is None else f" by {place(reason)} of `{reason.licence}`"
    quote = f" («{reason.quote}»)" if reason.quote else ""
    return f"{model} {verdict}{purpose}{by}{quote}: {reason.says[:1].lower()}{reason.says[1:]}"


def place(reason: Reason) -> str:
    """Where in its licence a reason stands."""
    if reason.clause is None:
        return "licence"
    return "clause without a number" if reason.clause == NOT_NUMBERED else f"clause {reason.clause}"
