"""Following a rollout from the terminal until it is promoted or out."""

from __future__ import annotations

import time

from changeover.app.installation import Installation
from changeover.cli.frame import clock_time, err, out, plain, require
from changeover.cli.running import gateway_address
from changeover.rollouts.decide import BEFORE_PROMOTION, Rollout, decide
from changeover.rollouts.loop import Controller
from changeover.rollouts.queries import Event, find_rollout, rollout_history
from changeover.serving.queries import load_variants
from changeover.tasks.queries import traffic

POLL_S = 0.25
MARKS = {"start": "▸", "advance": "▸", "promote": "✓", "finish": "✓", "rollback": "✗", "abort": "✗"}


def follow(installation: Installation, rollout: Rollout, *, quiet: bool = False) -> Rollout:
    """Show what happens until the candidate is promoted, rolled back or aborted. Leaving changes nothing."""
    shown = 0
    with err.status("") as status:
        while True:
            now, events = _look(installation, rollout.id)
            for event in events[shown:]:
                if not quiet:
                    out.print(event_line(event, now))
            shown = len(events)
            if now.state not in BEFORE_PROMOTION:
                break
            status.update(_waiting(installation, now))
            # Without the running system nobody brings it on; the rows keep where it stands.
            gateway_address(installation.project)
            time.sleep(POLL_S)
    if not quiet:
        out.print(_traffic_line(installation, now))
    return now


def event_line(event: Event, rollout: Rollout) -> str:
    """One thing that happened, on one line."""
    revision = "" if event.revision is None else f"  revision {event.revision}"
    action = event.action
    if action == "start":
        action = _step_name(rollout, 0)
    return (
        f"  {MARKS.get(event.action, '·')} {action:<12} {plain(event.reason)}{revision}  [dim]{clock_time(event.at)}[/]"
    )


def _step_name(rollout: Rollout, step: int) -> str:
    if rollout.state == "evaluation" or step >= len(rollout.plan.steps):
        return "evaluation"
    entered = rollout.plan.steps[step]
    return f"{entered.kind} {100 * entered.share:g} %"


def _look(installation: Installation, id: int) -> tuple[Rollout, list[Event]]:
    with installation.store.read() as connection:
        rollout = require(find_rollout(connection, id), f"Rollout {id} is gone.")
        return rollout, rollout_history(connection, id)


def _waiting(installation: Installation, rollout: Rollout) -> str:
    """What the controller is waiting for, by the same decision that it makes."""
    controller = Controller(installation.store, lambda _: True, installation.clock)
    evidence = controller.evidence(rollout)
    decision = decide(rollout, evidence, installation.clock.now())
    return f"{_step_name(rollout, rollout.step)}  {decision.reason} · guard {evidence.guard:.1f} : 1"


def _traffic_line(installation: Installation, rollout: Rollout) -> str:
    with installation.store.read() as connection:
        counts = traffic(connection, rollout.task, rollout.created_at)
        variants = load_variants(connection, [rollout.incumbent, rollout.candidate])
    names = " → ".join(variants[id].deployment for id in (rollout.incumbent, rollout.candidate))
    return (
        f"  {rollout.task}: {names}  {rollout.state} · requests since the start {counts['requests']} · "
        f"failed {counts['failed_requests']} · truncated {counts['truncated_streams']}"
    )
