"""`changeover eval`: how good one model is at a task."""

from __future__ import annotations

import math
from contextlib import aclosing
from typing import Annotated, Any

import typer

from changeover.app.installation import Installation, scorer_of
from changeover.app.prepare import declared_variant
from changeover.cli.frame import Json, err, out, plain, print_json, run
from changeover.cli.measure import checked_dataset, runner_of
from changeover.cli.running import ensure_running, gateway_address, opened
from changeover.core.errors import GateError
from changeover.evals.comparison import SEED
from changeover.serving.queries import keep_variant, load_variants
from changeover.serving.variants import Variant
from changeover.tasks.declarations import Task, find_task
from changeover.tasks.queries import current_route

app = typer.Typer(add_completion=False)


@app.command("eval")
def evaluate(
    task: Annotated[str, typer.Argument(help="The task whose dataset is answered.")],
    deployment: Annotated[str | None, typer.Option(help="Who answers; by default the incumbent.")] = None,
    samples: Annotated[int | None, typer.Option(help="Only so many, drawn at random.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Score who answers a task, or another deployment, on the task's dataset.

    To decide between two models use `compare`: it needs fewer calls and knows how sure it is.

    Example: changeover eval summarise --samples 20
    """
    installation = opened()
    declared = find_task(installation.tasks, task)
    gateway_address(installation.project)
    if deployment is not None:
        ensure_running(installation, deployment)
    variant = _variant(installation, declared, deployment)
    result = run(_evaluate(installation, declared, variant, samples))
    if as_json:
        print_json(result)
        return
    low, high = result["low"], result["high"]
    out.print(
        f"[bold]{variant.deployment}[/] on {task}: {100 * result['score']:.1f} of 100, "
        f"95 % interval {100 * low:.1f} to {100 * high:.1f}, {result['samples']} samples"
    )
    if result["failed"]:
        out.print(f"{result['failed']} could not be answered or scored; the first: {plain(result['first_failure'])}")


def _variant(installation: Installation, task: Task, deployment: str | None) -> Variant:
    with installation.store.write() as connection:
        if deployment is None:
            route = current_route(connection, task.name)
            if route is None:
                raise GateError(f"`{task.name}` has no route yet. Start the project once with `changeover up`.")
            return load_variants(connection, [route.incumbent])[route.incumbent]
    variant = declared_variant(installation, task.name, deployment)
    with installation.store.write() as connection:
        return keep_variant(connection, variant, installation.clock.now())


async def _evaluate(installation: Installation, task: Task, variant: Variant, most: int | None) -> dict[str, Any]:
    dataset = checked_dataset(task)
    drawn = dataset.shuffled(SEED)[:most]
    values: list[float] = []
    failures: list[str] = []
    new = 0
    async with runner_of(installation) as runner:
        with err.status(f"{task.name}: 0 of {len(drawn)} samples") as status:
            async with aclosing(runner.scores(task, scorer_of(task), drawn, variant)) as results:
                async for _, scored in results:
                    new += not scored.cached
                    reason = scored.score.error or scored.answer.error
                    if reason is not None:
                        failures.append(reason)
                    if scored.score.error is None:
                        values.append(scored.score.value)
                    status.update(f"{task.name}: {len(values)} of {len(drawn)} samples")
    mean = sum(values) / len(values) if values else 0.0
    half = _half_width(values, mean)
    return {
        "task": task.name,
        "deployment": variant.deployment,
        "bundle": variant.bundle.digest,
        "dataset": dataset.digest,
        "samples": len(values),
        "score": mean,
        "low": max(0.0, mean - half),
        "high": min(1.0, mean + half),
        "failed": len(failures),
        "first_failure": failures[0] if failures else None,
        "calls_new": new,
        "calls_cached": len(drawn) - new,
    }


def _half_width(values: list[float], mean: float) -> float:
    """Of the normal 95 % interval: for a size that was fixed beforehand, as here."""
    if len(values) < 2:
        return 1.0
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return 1.96 * math.sqrt(variance / len(values))
