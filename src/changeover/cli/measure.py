"""Running a comparison from the terminal, with live lines."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

from rich.live import Live as LiveDisplay
from rich.text import Text

from changeover.app.installation import Installation
from changeover.app.matching import Prepared
from changeover.app.measuring import runner_of
from changeover.cli.frame import err, note
from changeover.cli.verdict import live_lines
from changeover.core.errors import ChangeoverError
from changeover.evals.budget import BudgetSpent
from changeover.evals.comparison import SEED, Live, Match, compare
from changeover.evals.report.words import odds, points
from changeover.evals.runner import Runner

LINE_SAMPLES = 10
"""At least so many between two lines, where there is no terminal."""


async def measure(installation: Installation, prepared: Prepared, match: Match, again: int = 0) -> tuple[str, Live]:
    """Compare with live lines on the terminal; plain lines now and then where there is none.

    Args:
        installation: Where.
        prepared: What the match was made from.
        match: What is compared.
        again: So many samples are put to the incumbent once more, to see how much it differs from itself.
    """
    async with runner_of(installation, prepared) as runner:
        with LiveDisplay(console=err, transient=True, auto_refresh=False) as display:
            show = _on_terminal(display) if err.is_terminal else _in_lines()
            ended = await compare(
                match, store=installation.store, runner=runner, clock=installation.clock, on_progress=show
            )
        if again:
            await _ask_again(runner, match, again)
    return ended


async def _ask_again(runner: Runner, match: Match, number: int) -> None:
    """Put samples to the incumbent once more. What goes wrong here takes nothing from the verdict."""
    samples, repeats = match.dataset.shuffled(SEED)[:number], match.task.declared.repeats
    scoring = replace(match.scoring, repeats=1)
    results = runner.scores(match.task, scoring, samples, match.incumbent, first_repeat=repeats)
    try:
        async with aclosing(results):
            async for _ in results:
                pass
    except (BudgetSpent, ChangeoverError) as exc:
        note(f"the incumbent was not asked again on all {number} samples: {exc}")


def _on_terminal(display: LiveDisplay) -> Callable[[Live], None]:
    return lambda live: display.update(Text.from_markup(live_lines(live)), refresh=True)


def _in_lines() -> Callable[[Live], None]:
    """A line for every tenth of the samples, but no more than one for ten samples."""
    due = LINE_SAMPLES

    def show(live: Live) -> None:
        nonlocal due
        if live.samples >= due:
            due = live.samples + max(LINE_SAMPLES, live.max_samples // 10)
            err.print(
                f"  {live.samples}/{live.max_samples} samples  {points(live.difference)} pts  "
                f"no worse {odds(live.no_worse)}  against {odds(live.futility)}",
                style="dim",
            )

    return show
