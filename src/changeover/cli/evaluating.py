"""The work of `changeover eval`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from changeover.app.deploy import declared_variant, incumbent_of
from changeover.app.installation import Installation
from changeover.app.local import gateway_address
from changeover.app.matching import Prepared, prepared
from changeover.app.measuring import runner_of
from changeover.cli.frame import err, out, plain, print_json, run
from changeover.cli.running import ensure_running, opened
from changeover.core.errors import ConfigError
from changeover.evals.budget import BudgetSpent
from changeover.evals.comparison import SEED
from changeover.evals.repeats import pass_all, pass_at
from changeover.evals.runner import Scored, Scoring
from changeover.serving.queries import keep_variant
from changeover.serving.variants import Variant


def evaluate(
    task: str, deployment: str | None, samples: int | None, repeats: int | None, max_calls: int | None, as_json: bool
) -> None:
    """Score a deployment, or the incumbent, on the task's dataset, and print the result."""
    installation = opened()
    ready = prepared(installation, task)
    if ready.scoring.decisive.kind == "pair":
        raise ConfigError(
            f"`{task}` is scored by `{ready.scoring.decisive.name}`, which compares two answers. Use `changeover compare`."
        )
    gateway_address(installation.project)
    if deployment is not None:
        ensure_running(installation, deployment)
    variant = _variant(installation, task, deployment)
    scoring = Scoring(
        decisive=ready.scoring.decisive, measures=ready.scoring.measures, repeats=repeats or ready.scoring.repeats
    )
    result = run(_evaluate(installation, ready, scoring, variant, samples, max_calls))
    if as_json:
        print_json(result)
    else:
        _print(result)


def _variant(installation: Installation, task: str, deployment: str | None) -> Variant:
    with installation.store.write() as connection:
        if deployment is None:
            return incumbent_of(connection, task)
    variant = declared_variant(installation, task, deployment)
    with installation.store.write() as connection:
        return keep_variant(connection, variant, installation.clock.now())


async def _evaluate(
    installation: Installation,
    ready: Prepared,
    scoring: Scoring,
    variant: Variant,
    most: int | None,
    max_calls: int | None,
) -> dict[str, Any]:
    task, drawn = ready.task, ready.dataset.shuffled(SEED)[:most]
    kept: list[Scored] = []
    by_tag: defaultdict[str, list[float]] = defaultdict(list)
    failures: list[str] = []
    stopped = None
    async with runner_of(installation, ready) as runner:
        runner.limit(max_calls, None, [variant])
        with err.status(f"{task.name}: 0 of {len(drawn)} samples") as status:
            try:
                async with aclosing(runner.scores(task, scoring, drawn, variant)) as results:
                    async for sample, scored in results:
                        reason = scored.score.error or scored.answer.error
                        if reason is not None:
                            failures.append(reason)
                        if scored.score.error is None:
                            kept.append(scored)
                            for tag in sample.tags:
                                by_tag[tag].append(scored.score.value)
                        status.update(f"{task.name}: {len(kept)} of {len(drawn)} samples")
            except BudgetSpent as spent:
                stopped = str(spent)
        cost = runner.cost_of([variant])
    values = [scored.score.value for scored in kept]
    mean = sum(values) / len(values) if values else 0.0
    low, high = _interval(values)
    return {
        "task": task.name,
        "deployment": variant.deployment,
        "bundle": variant.bundle.digest,
        "dataset": ready.dataset.digest,
        "scorer": scoring.decisive.name,
        "samples": len(values),
        "score": mean,
        "low": low,
        "high": high,
        "repeats": scoring.repeats,
        "pass": _passes(kept, scoring.repeats),
        "slices": {tag: {"samples": len(each), "score": sum(each) / len(each)} for tag, each in sorted(by_tag.items())},
        "measures": {name: _measured(kept, name) for name in scoring.measures},
        "failed": len(failures),
        "first_failure": failures[0] if failures else None,
        "stopped": stopped,
        "calls_new": sum(scored.calls_new for scored in kept),
        "calls_cached": sum(scored.calls_cached for scored in kept),
        "cost_usd": cost,
    }


def _passes(kept: Sequence[Scored], repeats: int) -> dict[str, float] | None:
    """Chance that one of k answers, or all of k, are right; for repeated answers only."""
    each = [scored.each for scored in kept if len(scored.each) == repeats]
    if repeats == 1 or not each:
        return None
    return {
        "pass@1": pass_at(each, 1),
        f"pass@{repeats}": pass_at(each, repeats),
        f"pass^{repeats}": pass_all(each, repeats),
    }


def _measured(kept: Sequence[Scored], name: str) -> dict[str, Any]:
    known = [scored.measures[name].value for scored in kept if scored.measures[name].error is None]
    return {"samples": len(known), "score": sum(known) / len(known) if known else None}


def _interval(values: list[float]) -> tuple[float, float]:
    """Normal 95 % interval of the mean, for a size that was fixed beforehand, as here.

    Two samples that are wrong and two that are right are added, so that it means something for few samples too (Agresti
    & Coull 1998, doi:10.1080/00031305.1998.10480550).
    """
    padded = [*values, 0.0, 0.0, 1.0, 1.0]
    mean = sum(padded) / len(padded)
    half = 1.96 * math.sqrt(sum((value - mean) ** 2 for value in padded)) / len(padded)
    return max(0.0, mean - half), min(1.0, mean + half)


def _print(result: dict[str, Any]) -> None:
    out.print(
        f"[bold]{result['deployment']}[/] on {result['task']}: {100 * result['score']:.1f} of 100, "
        f"95 % interval {100 * result['low']:.1f} to {100 * result['high']:.1f}, {result['samples']} samples"
    )
    if result["pass"]:
        out.print("  " + " · ".join(f"{name} {100 * value:.1f}" for name, value in result["pass"].items()))
    for tag, row in result["slices"].items():
        out.print(f"  {plain(tag):<16} {100 * row['score']:5.1f}  {row['samples']} samples")
    for name, row in result["measures"].items():
        out.print(f"  {name:<16} " + ("–" if row["score"] is None else f"{100 * row['score']:5.1f}") + "  not decisive")
    if result["stopped"]:
        out.print(f"stopped: {result['stopped']}")
    if result["failed"]:
        out.print(f"{result['failed']} could not be answered or scored; the first: {plain(result['first_failure'])}")
