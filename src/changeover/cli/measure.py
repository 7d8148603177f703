"""Running a comparison from the terminal: the match, the live lines, the verdict."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import aiohttp
from rich.live import Live as LiveDisplay
from rich.text import Text

from changeover.app.installation import Installation, scorer_of
from changeover.app.local import operator_key
from changeover.app.prepare import declared_variant
from changeover.cli.frame import actor, err, odds, points
from changeover.cli.running import gateway_address
from changeover.core.errors import DatasetError, GateError
from changeover.evals.caller import Caller
from changeover.evals.comparison import Live, Match, compare, comparison_keys
from changeover.evals.datasets import Dataset
from changeover.evals.queries import Comparison, latest_verdict
from changeover.evals.runner import Runner
from changeover.evals.sandbox import Sandbox
from changeover.evals.scorers import check_targets
from changeover.serving.queries import keep_variant, load_variants
from changeover.tasks.declarations import Task, find_task
from changeover.tasks.queries import current_route

WIDTH = 24
"""Characters of a bar."""


def match_of(installation: Installation, task_name: str, candidate: str) -> Match:
    """What a comparison of a deployment with the incumbent is about. The candidate must be deployed."""
    task = find_task(installation.tasks, task_name)
    variant = declared_variant(installation, task.name, candidate)
    with installation.store.write() as connection:
        route = current_route(connection, task.name)
        if route is None:
            raise GateError(f"`{task.name}` has no route yet. Start the project once with `changeover up`.")
        if route.incumbent == variant.id:
            raise GateError(f"`{candidate}` already answers `{task.name}` with this prompt and these parameters.")
        keep_variant(connection, variant, installation.clock.now())
        incumbent = load_variants(connection, [route.incumbent])[route.incumbent]
    dataset, scorer = checked_dataset(task), scorer_of(task)
    return Match(
        task=task,
        dataset=dataset,
        scorer=scorer,
        incumbent=incumbent,
        candidate=variant,
        actor=actor(),
    )


def checked_dataset(task: Task) -> Dataset:
    """A task's dataset, every target of which its scorer can read.

    Raises:
        DatasetError: The first sample that cannot be used, with file and line.
    """
    dataset = Dataset.load(task.dataset)
    scorer = scorer_of(task)
    for sample in dataset.samples:
        try:
            check_targets(scorer, [sample])
        except DatasetError as exc:
            raise DatasetError(f"{dataset.where(sample)}: {exc.message}") from exc
    return dataset


def known_verdict(installation: Installation, match: Match) -> Comparison | None:
    """The finished comparison of exactly this match, if there is one."""
    with installation.store.read() as connection:
        return latest_verdict(connection, **comparison_keys(match))


@asynccontextmanager
async def runner_of(installation: Installation) -> AsyncGenerator[Runner]:
    """A runner that asks the running gateway."""
    address, key = gateway_address(installation.project), operator_key(installation.project.state)
    sandbox = Sandbox(installation.project.cache / "sandbox")
    async with aiohttp.ClientSession() as session:
        try:
            yield Runner(
                store=installation.store,
                caller=Caller(session, address, key),
                sandbox=sandbox,
                clock=installation.clock,
                at_once=installation.project.settings.engines.slots,
            )
        finally:
            await sandbox.close()


async def measure(installation: Installation, match: Match) -> tuple[str, Live]:
    """Compare with live lines on the terminal; plain lines now and then where there is none."""
    async with runner_of(installation) as runner:
        with LiveDisplay(console=err, transient=True, auto_refresh=False) as display:
            show = _on_terminal(display) if err.is_terminal else _in_lines()
            return await compare(
                match, store=installation.store, runner=runner, clock=installation.clock, on_progress=show
            )


def live_lines(live: Live) -> str:
    """A comparison under way, on four lines."""
    filled = round(WIDTH * live.samples / max(live.max_samples, 1))
    bar = "█" * filled + "░" * (WIDTH - filled)
    left = "" if live.seconds_left is None else f" · about {_span(live.seconds_left)} left"
    return (
        f"[bold]{live.task}[/] · {live.incumbent} → {live.candidate}   margin {100 * live.margin:g} pts\n"
        f"  {bar}  {live.samples} of at most {live.max_samples} samples   "
        f"{points(live.difference)} pts  \\[{points(live.low)}, {points(live.high)}]\n"
        f"  no worse {_dots(live.no_worse, 20)} {odds(live.no_worse)}   "
        f"better {_dots(live.better, 20)} {odds(live.better)}   against {_dots(live.futility, 10)} {odds(live.futility)}\n"
        f"  calls {live.calls_new} new, {live.calls_cached} cached · fixed N would need {_or_dash(live.calls_fixed_n)} · "
        f"{_span(live.seconds)} so far{left}"
    )


def verdict_lines(comparison: str, live: Live) -> str:
    """The end of a comparison: the verdict in one sentence, then what stands behind it."""
    colour = {"pass": "green", "fail": "red", "inconclusive": "yellow"}[live.verdict]
    lines = [
        f"[bold {colour}]{live.verdict.upper()}[/]  {_sentence(live)}",
        f"      {points(live.difference)} points, 95 % anytime-valid interval {points(live.low)} to {points(live.high)}, "
        f"{live.samples} samples, evidence {_decisive(live)}",
        f"      scores {100 * live.incumbent_score:.1f} → {100 * live.candidate_score:.1f} of 100{_ratios(live)}",
        f"      calls {live.calls_new} new, {live.calls_cached} cached; a fixed number of samples would need {_or_dash(live.calls_fixed_n)}",
    ]
    if live.detectable_loss is not None and live.verdict == "inconclusive":
        lines.append(
            f"      {live.samples} samples can only show a loss of {100 * live.detectable_loss:.1f} points or more"
        )
    if live.failed:
        lines.append(f"      {live.failed} samples could not be answered or scored by both")
    lines.append(f"      comparison {comparison}")
    return "\n".join(lines)


def _or_dash(value: int | None) -> str:
    return "–" if value is None else str(value)


def _sentence(live: Live) -> str:
    if live.verdict == "inconclusive" and live.failed and live.shown in ("better", "no worse"):
        return f"{live.failed} of {live.samples + live.unusable} samples failed: too many to trust the rest"
    claims = {
        "better": f"{live.candidate} is better than {live.incumbent} on {live.task}",
        "no worse": f"{live.candidate} is no worse than {live.incumbent} on {live.task}, by {100 * live.margin:g} points",
        "worse": f"{live.candidate} is worse than {live.incumbent} on {live.task}",
        "not as good": f"{live.candidate} is not as good as {live.incumbent} on {live.task}",
    }
    undecided = f"{live.samples} samples do not decide between {live.candidate} and {live.incumbent} on {live.task}"
    return undecided if live.verdict == "inconclusive" else claims.get(live.shown or "", undecided)


def _decisive(live: Live) -> str:
    if live.verdict == "pass":
        return f"{odds(live.no_worse)} for no worse, {odds(live.better)} for better"
    if live.verdict == "fail":
        return f"{odds(live.futility)} against as good, {odds(live.worse)} for worse"
    return f"{odds(live.no_worse)} for no worse, {odds(live.futility)} against as good"


def _ratios(live: Live) -> str:
    text = "" if live.latency_ratio is None else f" · {live.latency_ratio:.1f}× the time per answer"
    return text + ("" if live.length_ratio is None else f", {live.length_ratio:.1f}× the length")


def _dots(e_value: float, needed: float) -> str:
    """Ten dots on the way to the evidence that is needed, on the scale on which evidence adds up."""
    from_log = 0.0 if e_value <= 1 else min(1.0, math.log(e_value) / math.log(needed))
    full = int(10 * from_log)
    return "●" * full + "○" * (10 - full)


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest:02d} s" if minutes else f"{rest} s"


def _on_terminal(display: LiveDisplay) -> Callable[[Live], None]:
    return lambda live: display.update(Text.from_markup(live_lines(live)), refresh=True)


def _in_lines() -> Callable[[Live], None]:
    def show(live: Live) -> None:
        if live.samples % 10 == 0:
            err.print(
                f"  {live.samples}/{live.max_samples} samples  {points(live.difference)} pts  "
                f"no worse {odds(live.no_worse)}  against {odds(live.futility)}",
                style="dim",
            )

    return show
