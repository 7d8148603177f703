"""The work of `changeover tune`."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

from rich.table import Table

from changeover.app.installation import Installation
from changeover.app.planning.wish import engine_named
from changeover.app.tuning import Tuned
from changeover.app.tuning import tune as tune_model
from changeover.cli.frame import actor, err, note, out, print_json
from changeover.cli.running import opened
from changeover.core.errors import EngineError
from changeover.library.pull import artifact_path, present
from changeover.serving.backends import usable_cores
from changeover.serving.deployments import plan_for_card, plan_from_row
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import all_deployments
from changeover.serving.tuning import Candidate
from changeover.serving.weights import LOADS


def tune(model: str, engine: str, *, rounds: int, tokens: int, as_json: bool) -> None:
    """Measure, and say what was found."""
    installation = opened()
    plans = plans_for(installation, model, engine)

    busy, cores = os.getloadavg()[0], usable_cores()
    if busy > cores:
        note(f"this machine is busy (load {busy:.1f} on {cores} cores): measure again when it is not")

    def on_trial(candidate: Candidate, round_: int) -> None:
        what = f"{candidate.quantisation or 'as it is'}, {_threads(candidate.threads)}"
        err.print(f"round {round_ + 1} of {rounds}: {what}")

    tuned = asyncio.run(tune_model(installation, plans, actor(), rounds=rounds, tokens=tokens, on_trial=on_trial))
    if as_json:
        print_json({"model": plans[0].model, "engine": plans[0].backend, **_said(tuned)})
    else:
        _show(plans[0].deployment, tuned)


def plans_for(installation: Installation, model: str, engine: str) -> list[EnginePlan]:
    """The plan that a model runs by, and the same with each of its card's other weights that are here.

    Raises:
        UnknownModelError: Neither a deployment nor a card has that name.
        ConfigError: There is no such kind of engine.
        EngineError: Its weights are not here, or it loads none of ours.
    """
    project, catalogue = installation.project, installation.catalogue
    with installation.store.read() as connection:
        rows = {row.name: row for row in all_deployments(connection)}
    if model in rows:
        plan = plan_from_row(rows[model], catalogue, project.cache)
    else:
        plan = plan_for_card(
            catalogue.card(model), project.cache, project.settings.engines, backend=engine_named(engine)
        )
    form = LOADS.get(plan.backend)
    if form is None or plan.artifact is None:
        raise EngineError(f"`{plan.deployment}` loads no weights of ours, so there is nothing to tune.")
    if not plan.artifact.exists():
        raise EngineError(
            f"The weights of `{plan.model}` are not here: `changeover pull {plan.model}`, then ask again."
        )
    others = [
        replace(
            plan,
            artifact=artifact_path(each, project.cache),
            weights_digest=each.sha256,
            quantisation=each.quantisation,
        )
        for each in catalogue.card(plan.model).artifacts
        if each.format == form and each.sha256 != plan.weights_digest and present(each, project.cache)
    ]
    return [plan, *others]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _said(tuned: Tuned) -> dict[str, object]:
    return {**tuned.tuning.document(), "deployments": list(tuned.deployments)}


def _show(name: str, tuned: Tuned) -> None:
    tuning = tuned.tuning
    table = Table("quantisation", "threads", "tokens/s, 1", f"tokens/s, {tuning.slots}", "first token", box=None)
    for trial in tuning.trials:
        kept = (trial.quantisation, trial.threads) == (tuning.quantisation, tuning.threads)
        table.add_row(
            trial.quantisation or "–",
            str(trial.threads),
            f"{trial.alone_per_s:.1f}",
            f"{trial.together_per_s:.1f}",
            f"{1000 * trial.first_s:.0f} ms",
            style="bold" if kept else None,
        )
    out.print(f"{name} on {tuning.machine}")
    out.print(table)
    who = (
        f"{', '.join(tuned.deployments)} from the next start on" if tuned.deployments else "who deploys it from now on"
    )
    out.print(f"kept: {_threads(tuning.threads)}, for {who}")
    if tuning.fastest != tuning.quantisation:
        out.print(f"{tuning.fastest} is faster; it is another bundle, to be measured as any candidate")
