"""Following a rollout from the terminal until it is promoted, out, or waits for a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from rich.cells import cell_len
from rich.status import Status
from rich.text import Text

from changeover.app import steering
from changeover.app.installation import Installation
from changeover.app.licence_checks import CurrentTerms
from changeover.app.local import gateway_address
from changeover.app.lookout import ahead_of, waits_for
from changeover.cli.columns import apart, clipped, hanging
from changeover.cli.frame import actor, clock_time, err, note, out, plain, require
from changeover.cli.keys import Keys
from changeover.core.clock import span
from changeover.core.errors import GateError
from changeover.evals.queries import find_comparison
from changeover.evals.report.words import dollars, odds
from changeover.rollouts.actions import By
from changeover.rollouts.decide import BEFORE_PROMOTION, Rollout, alarm_at
from changeover.rollouts.duration import changeover_line, changeover_time
from changeover.rollouts.exchange import is_settled
from changeover.rollouts.observing import Observer
from changeover.rollouts.queries import Event, find_rollout, rollout_history
from changeover.serving.queries import find_deployment, load_variants
from changeover.tasks.queries import copies, traffic

POLL_S = 0.25
WIDEST = 100
"""Columns of a line, on however wide a terminal: times stay near what they are of."""
SPINNER = 2
"""Columns before what is waited for."""
MARKS = {
    "start": "▸",
    "advance": "▸",
    "evaluate": "▸",
    "resume": "▸",
    "approve": "✓",
    "promote": "✓",
    "finish": "✓",
    "rollback": "✗",
    "abort": "✗",
    "refuse": "✗",
    "hold": "‖",
    "pause": "‖",
}
BY_KEY = {"p": "promote", "a": "abort", "r": "rollback"}


def follow(installation: Installation, rollout: Rollout, *, quiet: bool = False) -> Rollout:
    """Show what happens until the candidate is promoted or out, or the rollout holds. Leaving changes nothing."""
    shown = 0
    observer = Observer(installation.store, lambda _: True, installation.clock)
    with Keys() as keys, _Waiting() as waiting:
        while True:
            now, events = _look(installation, rollout.id)
            if len(events) > shown:
                waiting.hide()
            for event in events[shown:]:
                if not quiet:
                    out.print(event_line(event, now, out.width))
            shown = len(events)
            if _is_over(now, events):
                break
            waiting.show(_waiting(installation, observer, now, err.width) + (_KEYS if keys.on else ""))
            # Without the running system nobody brings it on; the rows keep where it stands.
            gateway_address(installation.project)
            _steer(installation, now, keys.pressed(POLL_S))
    if not quiet:
        out.print(_traffic_line(installation, now))
        for line in _copies_line(installation, now):
            out.print(line)
        with installation.store.read() as connection:
            took = changeover_time(connection, now)
        if took is not None:
            out.print(f"  {changeover_line(took)}")
    return now


class _Waiting:
    """The lines about what is waited for, below all that was printed.

    They are on the other stream, which knows nothing of what is printed between: they are taken away before that, and new
    ones begin below it. Those that were stopped and begun again would be drawn over as many lines above.
    """

    def __init__(self) -> None:
        self._status: Status | None = None

    def __enter__(self) -> _Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    def show(self, text: str) -> None:
        if self._status is None:
            self._status = err.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def hide(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _is_over(rollout: Rollout, events: Sequence[Event]) -> bool:
    """Whether there is nothing more to be seen from here."""
    if rollout.hold is not None and rollout.hold.kind == "held":
        return True
    exchanging = rollout.plan.exchange and rollout.state == "baking" and not is_settled(events)
    return rollout.state not in BEFORE_PROMOTION and not exchanging


_KEYS = "\n  [dim]\\[p]romote \\[a]bort \\[r]ollback · Ctrl-C leaves, and stops nothing[/]"


def _steer(installation: Installation, rollout: Rollout, key: str) -> None:
    """Do what a key stands for."""
    name = BY_KEY.get(key)
    if name is None:
        return
    by = By(actor(), f"{name} by hand while it was followed", installation.clock.now())
    terms = CurrentTerms(installation.project, installation.clock)
    actions = {
        "promote": partial(steering.promote, terms=terms),
        "abort": steering.abort,
        "rollback": steering.rollback,
    }
    try:
        actions[name](installation.store, rollout.task, by)
    except GateError as exc:
        note(exc.message)


def event_line(event: Event, rollout: Rollout, width: int) -> Text:
    """One thing that happened, with its time to the right."""
    entered: Any = event.evidence.get("entered")
    name = event.action if entered is None else rollout.plan.steps[int(entered)].name
    reason = event.reason if event.revision is None else f"{event.reason} · revision {event.revision}"
    return _line(MARKS.get(event.action, "·"), name, reason, event.at, width)


def _line(mark: str, name: str, said: str, at: datetime, width: int) -> Text:
    """A line of a rollout; what is too long goes on below its beginning."""
    before, after = f"  {mark} {name:<13}  ", f"  {clock_time(at)[-8:]}"
    room = min(width, WIDEST) - cell_len(after)
    first, *rest = hanging(before, Text(said), room)
    gap = " " * max(room - first.cell_len, 0)
    return Text("\n").join((Text.assemble(first, gap, (after, "dim")), *rest))


def header_lines(installation: Installation, rollout: Rollout, width: int) -> list[Text]:
    """What is switched, by whom, at which stakes, and what was there before it began."""
    with installation.store.read() as connection:
        variants = load_variants(connection, [rollout.incumbent, rollout.candidate])
        comparison = None if rollout.comparison is None else find_comparison(connection, rollout.comparison)
        engine = find_deployment(connection, variants[rollout.candidate].deployment)
    old, new = (variants[id].deployment for id in (rollout.incumbent, rollout.candidate))
    whose = f"rollout {rollout.id} · started by {rollout.actor} · tier {rollout.plan.tier}"
    lines = apart(Text.assemble("switch ", (rollout.task, "bold"), f"  {old} → ", (new, "bold")), Text(whose), width)
    if comparison is not None and comparison.summary is not None:
        summary = comparison.summary
        said = f"{summary['verdict']} {odds(summary['no_worse'])}, {summary['samples']} samples"
        lines.append(_line("✓", "evaluation", said, comparison.ended_at or rollout.created_at, width))
    if engine.state == "ready" and engine.detail:
        lines.append(_line("✓", "loaded", engine.detail, engine.updated_at or rollout.created_at, width))
    return lines


def _look(installation: Installation, id: int) -> tuple[Rollout, list[Event]]:
    with installation.store.read() as connection:
        rollout = require(find_rollout(connection, id), f"Rollout {id} is gone.")
        return rollout, rollout_history(connection, id)


def _waiting(installation: Installation, observer: Observer, rollout: Rollout, width: int) -> str:
    """What the controller is waiting for, by the same decision that it makes; then what it watches."""
    observer.look([rollout])
    evidence = observer.evidence(rollout)
    reason = waits_for(rollout, evidence, installation.clock.now())
    failed = "" if rollout.state == "evaluation" else f"{evidence.whole.failed} of {evidence.whole.asked} failed · "
    watched = f"  {failed}guard {odds(evidence.guard)} (alarm at {alarm_at(rollout):g} : 1)"
    ahead = ahead_of(rollout)
    lines = (f"{rollout.stage:<13}  {reason}", watched, *([f"  then {', '.join(ahead)}"] if ahead else []))
    return "\n".join(plain(clipped(line, width - SPINNER)) for line in lines)


def _copies_line(installation: Installation, rollout: Rollout) -> Iterable[str]:
    """What the shadow took; nothing where nothing was copied."""
    with installation.store.read() as connection:
        took = copies(connection, rollout.task, rollout.candidate, rollout.created_at)
    if took.requests:
        cost = "" if took.cost_usd is None else f" · {dollars(took.cost_usd)}"
        yield (
            f"  shadow {took.requests} copies · {took.tokens:,} tokens · {span(took.seconds)} of the engine{cost} · "
            "charged to nobody"
        )


def _traffic_line(installation: Installation, rollout: Rollout) -> str:
    with installation.store.read() as connection:
        counts = traffic(connection, rollout.task, rollout.created_at)
    state = rollout.state if rollout.hold is None else rollout.hold.kind
    return (
        f"  {rollout.task} {state.replace('_', ' ')} · requests since the start {counts['requests']} · "
        f"failed {counts['failed_requests']} · truncated {counts['truncated_streams']}"
    )
