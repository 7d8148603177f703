"""Following a rollout from the terminal until it is promoted, out, or waits for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from changeover.app import steering
from changeover.app.installation import Installation
from changeover.cli.frame import actor, clock_time, err, note, odds, out, plain, require
from changeover.cli.keys import Keys
from changeover.cli.running import gateway_address
from changeover.core.errors import GateError
from changeover.rollouts.actions import By
from changeover.rollouts.decide import BEFORE_PROMOTION, Rollout, alarm_at, decide
from changeover.rollouts.duration import changeover_line, changeover_time
from changeover.rollouts.exchange import is_settled
from changeover.rollouts.observing import Observer
from changeover.rollouts.queries import Event, find_rollout, rollout_history
from changeover.serving.queries import load_variants
from changeover.tasks.queries import traffic

POLL_S = 0.25
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
    with Keys() as keys, err.status("") as status:
        while True:
            now, events = _look(installation, rollout.id)
            if len(events) > shown:
                status.stop()  # what waits is on the other stream: its line would stay between those that are printed
            for event in events[shown:]:
                if not quiet:
                    out.print(event_line(event, now))
            shown = len(events)
            if _is_over(now, events):
                break
            status.update(_waiting(installation, observer, now) + (_KEYS if keys.on else ""))
            # Without the running system nobody brings it on; the rows keep where it stands.
            gateway_address(installation.project)
            status.start()
            _steer(installation, now, keys.pressed(POLL_S))
    if not quiet:
        out.print(_traffic_line(installation, now))
        with installation.store.read() as connection:
            took = changeover_time(connection, now)
        if took is not None:
            out.print(f"  {changeover_line(took)}")
    return now


def _is_over(rollout: Rollout, events: Sequence[Event]) -> bool:
    """Whether there is nothing more to be seen from here."""
    if rollout.hold is not None and rollout.hold.kind == "held":
        return True
    exchanging = rollout.plan.exchange and rollout.state == "baking" and not is_settled(events)
    return rollout.state not in BEFORE_PROMOTION and not exchanging


_KEYS = "   [dim]\\[p]romote \\[a]bort \\[r]ollback[/]"


def _steer(installation: Installation, rollout: Rollout, key: str) -> None:
    """Do what a key stands for."""
    name = BY_KEY.get(key)
    if name is None:
        return
    by = By(actor(), f"{name} by hand while it was followed", installation.clock.now())
    actions = {"promote": steering.promote, "abort": steering.abort, "rollback": steering.rollback}
    try:
        actions[name](installation.store, rollout.task, by)
    except GateError as exc:
        note(exc.message)


def event_line(event: Event, rollout: Rollout) -> str:
    """One thing that happened, on one line."""
    revision = "" if event.revision is None else f"  revision {event.revision}"
    entered: Any = event.evidence.get("entered")
    name = event.action if entered is None else rollout.plan.steps[int(entered)].name
    return (
        f"  {MARKS.get(event.action, '·')} {name:<12} {plain(event.reason)}{revision}  [dim]{clock_time(event.at)}[/]"
    )


def header_line(installation: Installation, rollout: Rollout) -> str:
    """What is switched, by whom, and at which stakes."""
    with installation.store.read() as connection:
        variants = load_variants(connection, [rollout.incumbent, rollout.candidate])
    old, new = (variants[id].deployment for id in (rollout.incumbent, rollout.candidate))
    return (
        f"switch [bold]{rollout.task}[/]  {old} → [bold]{new}[/]   rollout {rollout.id} · "
        f"started by {plain(rollout.actor)} · tier {rollout.plan.tier}"
    )


def _look(installation: Installation, id: int) -> tuple[Rollout, list[Event]]:
    with installation.store.read() as connection:
        rollout = require(find_rollout(connection, id), f"Rollout {id} is gone.")
        return rollout, rollout_history(connection, id)


def _waiting(installation: Installation, observer: Observer, rollout: Rollout) -> str:
    """What the controller is waiting for, by the same decision that it makes."""
    observer.look([rollout])
    evidence = observer.evidence(rollout)
    decision = decide(rollout, evidence, installation.clock.now())
    guard = f"guard {odds(evidence.guard)} (alarm at {alarm_at(rollout):g} : 1)"
    return f"{rollout.stage}  {decision.reason} · {evidence.whole.failed} failed · {guard}"


def _traffic_line(installation: Installation, rollout: Rollout) -> str:
    with installation.store.read() as connection:
        counts = traffic(connection, rollout.task, rollout.created_at)
        variants = load_variants(connection, [rollout.incumbent, rollout.candidate])
    names = " → ".join(variants[id].deployment for id in (rollout.incumbent, rollout.candidate))
    state = rollout.state if rollout.hold is None else rollout.hold.kind
    return (
        f"  {rollout.task}: {names}  {state} · requests since the start {counts['requests']} · "
        f"failed {counts['failed_requests']} · truncated {counts['truncated_streams']}"
    )
