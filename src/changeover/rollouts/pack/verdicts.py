"""Every verdict of a pack once more, from the raw scores, by the tests that gave it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from changeover.evals.multiplicity import e_bh
from changeover.evals.queries import Comparison
from changeover.evals.replay import TOLERANCE, Replay, replay
from changeover.evals.sequential import PROCESSES
from changeover.rollouts.pack.checks import Check, found, unknown
from changeover.rollouts.pack.files import Files
from changeover.rollouts.pack.records import SampleRecord


def check_comparison(comparison: Comparison, samples: Sequence[SampleRecord]) -> list[Check]:
    """Replay one comparison: every e-value in order, then the verdict."""
    rows = [sample.compared for sample in samples]
    odd = [row for row in rows if not (0 <= row.incumbent_score <= 1 and 0 <= row.candidate_score <= 1)]
    if odd:
        return [found("e-values", [f"sample `{row.sample_id}` has a score outside 0 to 1" for row in odd], "")]
    replayed = replay(comparison, rows)
    differs = [] if replayed.disagreement is None else [replayed.disagreement]
    bare = [row.sample_id for row in rows if not set(PROCESSES) <= row.evidence.keys()]
    differs += [f"sample `{id}` has not all e-values" for id in bare]
    if comparison.verdict is None:
        ended = unknown("verdict", f"{comparison.id} was interrupted and has none")
    else:
        wrong = [] if replayed.verdict == comparison.verdict else [_said(comparison, replayed)]
        wrong += _summary(comparison, samples, replayed)
        ended = found("verdict", wrong, f"{replayed.verdict} from {len(rows)} samples, as recorded")
    numbers = sum(len(row.evidence) for row in rows)
    return [found("e-values", differs, f"{numbers} numbers after {len(rows)} samples, each as recorded"), ended]


def check_trial(files: Files) -> Check | None:
    """Whether the switch is among those of its trial that hold together; None where it came from no trial."""
    rollout = files.rollout.rollout
    if rollout.trial is None and not files.trials:
        return None
    trial = next((each for each in files.trials if each.id == rollout.trial), None)
    row = None if trial is None else next((each for each in trial.rows if each.task == rollout.task), None)
    if trial is None or row is None:
        return found("trial", [f"trial {rollout.trial} is not there, or has nothing of `{rollout.task}`"], "")
    differs: list[str] = []
    for comparison in files.comparisons:
        kept = (comparison.summary or {}).get("no_worse")
        if comparison.id == row.comparison and kept != row.no_worse:
            differs.append(f"the trial says {row.no_worse} for `{rollout.task}`, its comparison {kept}")
    # Whatever was to be measured takes part, also where it was not: with the capital that every test begins with.
    parts = [each for each in trial.rows if each.kind not in ("unfit", "incumbent")]
    together = e_bh({each.task: 1.0 if each.no_worse is None else each.no_worse for each in parts}, trial.rate)
    says = f"{len(together)} of {len(parts)} tasks hold together at {100 * trial.rate:g} %"
    if rollout.task not in together and not differs:
        return unknown("trial", f"{says}; `{rollout.task}` is not among them, and was switched on its own verdict")
    return found("trial", differs, f"{says}, `{rollout.task}` among them")


def _said(comparison: Comparison, replayed: Replay) -> str:
    return f"the record says `{comparison.verdict}`, its scores say `{replayed.verdict}`"


def _summary(comparison: Comparison, samples: Sequence[SampleRecord], replayed: Replay) -> list[str]:
    """What the summary says otherwise than the scores."""
    usable = [sample.compared for sample in samples if sample.compared.usable]
    now: dict[str, float] = {**replayed.ended, "samples": len(usable)}
    if usable:
        now["incumbent_score"] = fmean(row.incumbent_score for row in usable)
        now["candidate_score"] = fmean(row.candidate_score for row in usable)
    kept: Mapping[str, float] = comparison.summary or {}
    differs = [
        f"the summary's `{name}` is {kept[name]:g}, its scores say {value:g}"
        for name, value in now.items()
        if name in kept and not math.isclose(kept[name], value, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    ]
    said = (comparison.summary or {}).get("verdict", comparison.verdict)
    return differs if said == comparison.verdict else [*differs, f"the summary says `{said}`"]
