"""Running a comparison from the terminal, with live lines."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from rich.live import Live as LiveDisplay
from rich.text import Text

from changeover.app.installation import Installation
from changeover.app.local import operator_key
from changeover.app.matching import Prepared
from changeover.cli.frame import err, odds, points
from changeover.cli.running import gateway_address
from changeover.cli.verdict import live_lines
from changeover.evals.caller import LateCaller
from changeover.evals.comparison import SEED, Live, Match, compare
from changeover.evals.runner import Runner
from changeover.evals.sandbox import Sandbox

LINE_SAMPLES = 10
"""At least so many between two lines, where there is no terminal."""


@asynccontextmanager
async def runner_of(installation: Installation, prepared: Prepared) -> AsyncGenerator[Runner]:
    """A runner that asks the running gateway."""
    address, key = gateway_address(installation.project), operator_key(installation.project.state)
    settings = installation.project.settings
    sandbox = Sandbox(installation.project.cache / "sandbox")
    caller = LateCaller(address, key)
    try:
        yield Runner(
            store=installation.store,
            caller=caller,
            sandbox=sandbox,
            clock=installation.clock,
            at_once=settings.evals.at_once or settings.engines.slots,
            prices=settings.prices,
            judges=prepared.judges,
        )
    finally:
        await caller.close()
        await sandbox.close()


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
            samples = match.dataset.shuffled(SEED)[:again]
            repeats = match.task.declared.repeats
            async for _ in runner.scores(match.task, match.scoring, samples, match.incumbent, first_repeat=repeats):
                pass
    return ended


def _on_terminal(display: LiveDisplay) -> Callable[[Live], None]:
    return lambda live: display.update(Text.from_markup(live_lines(live)), refresh=True)


def _in_lines() -> Callable[[Live], None]:
    """A line for every tenth of the samples, but no more than one for ten samples."""
    due = 0

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
