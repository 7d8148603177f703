"""Why a verdict is what it is, in one sentence for somebody who reads their first report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from changeover.evals.report.words import odds, score, several, size


def reason_of(summary: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """Say what decided, and what the figures mean.

    Args:
        summary: How the comparison ended.
        plan: What it was to show.
    """
    margin, samples = size(plan["margin"]), several(summary["samples"], "sample")
    if summary.get("stopped"):
        return f"It ended before the evidence was enough: {summary['stopped']}."
    if summary["verdict"] == "pass":
        ending = (
            ", and the same holds for a candidate that gains nothing: it is better." if _is_better(summary) else "."
        )
        return (
            f"If the candidate really lost {margin} or more, evidence as strong as this ({odds(summary['no_worse'])}) would "
            f"turn up in at most 1 of {1 / plan['alpha']:.0f} such comparisons, whenever one looks; so it is taken to be no "
            f"worse after {samples}{ending}"
        )
    if summary.get("standing") == "below":
        return (
            f"The candidate's mean score is {score(summary['candidate_score'])} over {samples}, surely below the "
            f"{score(summary['floor'])} under which the task lets nobody answer (`gate.floor`), whoever answers now."
        )
    if summary["verdict"] == "fail":
        if summary["worse"] >= 1 / plan["alpha"]:
            return (
                f"Over {samples} the candidate lost so often that a true loss of less than {margin} is ruled out "
                f"({odds(summary['worse'])})."
            )
        return (
            f"Over {samples} the candidate did so much worse that a candidate which loses nothing would look like this in "
            f"at most 1 of {1 / plan['beta']:.0f} comparisons ({odds(summary['futility'])})."
        )
    if summary["samples"] < plan.get("min_samples", 1):
        return (
            f"{several(summary['samples'], 'sample')} could be scored, and the task's gate gives no verdict before "
            f"{plan['min_samples']} (`min_samples`), however clear it is: add samples to the dataset, or lower it."
        )
    if summary.get("doubt"):
        return (
            f"The scores would allow a pass, but {summary['doubt']}: a judge that sees no difference lets anybody pass."
        )
    if summary.get("standing") == "open" and summary["shown"] in ("better", "no worse"):
        return (
            f"It is no worse than the incumbent, but its mean score of {score(summary['candidate_score'])} over {samples} is "
            f"below the {score(summary['floor'])} under which the task lets nobody answer (`gate.floor`)."
        )
    if summary["shown"] in ("better", "no worse"):
        drawn = several(summary["samples"] + summary["unusable"], "sample")
        return (
            f"The scores would allow a pass, but {summary['failed']} of {drawn} could not be answered or scored, more than "
            f"the {100 * plan.get('max_failed_share', 0):g} % that the task accepts."
        )
    loss = summary["detectable_loss"]
    power = f" So few can only show a loss of {size(loss)} or more." if loss else ""
    return f"After {samples} it is open whether the candidate loses {margin} or more, and open whether it loses at all.{power}"


def _is_better(summary: Mapping[str, Any]) -> bool:
    return summary["shown"] == "better"
