"""`changeover tune`: which thread count and quantisation answers fastest on this machine."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer
from rich.table import Table

from changeover.app.tuning import Tuned
from changeover.app.tuning import tune as tune_model
from changeover.cli.frame import Json, actor, err, note, out, print_json
from changeover.cli.running import opened
from changeover.cli.tuning import plans_for
from changeover.serving.backends import usable_cores
from changeover.serving.tuning import Candidate

app = typer.Typer(add_completion=False)


@app.command()
def tune(
    model: Annotated[str, typer.Argument(help="A deployment, or a card whose weights are here.")],
    engine: Annotated[str, typer.Option(help="Kind of engine, for a card; a deployment has its own.")] = "local",
    rounds: Annotated[int, typer.Option(help="How often each way is started.", min=1, max=20)] = 2,
    tokens: Annotated[int, typer.Option(help="Most tokens of each answer.", min=8, max=1024)] = 48,
    as_json: Json = False,
) -> None:
    """Run a model with each thread count, and in each quantisation that is here, and keep what answers fastest.

    Its deployments have these threads from their next start on, and a deployment made later has them at once. Threads
    are no part of a bundle: evidence stays. Another quantisation is another bundle, so it is only named.

    Example: changeover tune smollm2-135m-instruct
    """
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
