"""The work of the commands that steer a rollout by hand: one transaction, and one line about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from changeover.app import steering
from changeover.app.installation import Installation
from changeover.app.licence_checks import CurrentTerms
from changeover.app.local import running_address
from changeover.cli.frame import actor, clock_time, out, plain, print_json, require
from changeover.cli.running import check_task, ensure_running, opened
from changeover.core.errors import ConfigError
from changeover.rollouts.actions import By
from changeover.rollouts.decide import Rollout
from changeover.rollouts.queries import Gate, overrides_of
from changeover.serving.queries import load_variants
from changeover.store.engine import Store
from changeover.tasks.routes import Route

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def pause(task: str, reason: str, as_json: bool) -> None:
    """Have a rollout wait."""
    _steer(steering.pause, task, reason or "paused by hand", "waits for `changeover resume`", as_json)


def resume(task: str, reason: str, as_json: bool) -> None:
    """Let a rollout go on."""
    installation = _installation(task)
    terms = CurrentTerms(installation.project, installation.clock)
    _steer(partial(steering.resume, terms=terms), task, reason or "resumed by hand", "goes on", as_json)


def approve(task: str, reason: str, as_json: bool) -> None:
    """Agree to a rollout."""
    _steer(steering.approve, task, reason or "approved", "is approved", as_json)


def override(task: str, gate: Gate, approver: str, expires: str, reason: str, as_json: bool) -> None:
    """Let a rollout pass a gate."""
    installation = _installation(task)
    now = installation.clock.now()
    until = _moment(expires, now)
    rollout = steering.override(installation.store, task, gate, approver, until, By(actor(), reason, now))
    with installation.store.read() as connection:
        made = next(each for each in overrides_of(connection, rollout.id) if each.id == rollout.override)
    if as_json:
        print_json(made)
    else:
        out.print(
            f"{task}  rollout {rollout.id}  the {gate} is overridden until {clock_time(until)}  "
            f"(approved by {plain(approver)}: {plain(reason)})"
        )


def promote(task: str, reason: str, as_json: bool) -> None:
    """Make the candidate the incumbent now."""
    installation = _installation(task)
    terms = CurrentTerms(installation.project, installation.clock)
    promoting = partial(steering.promote, terms=terms)
    _route("promote", promoting, installation, task, reason or "promoted by hand", as_json)


def abort(task: str, reason: str, as_json: bool) -> None:
    """Stop before the promotion."""
    _route("abort", steering.abort, _installation(task), task, reason or "aborted by hand", as_json)


def rollback(task: str, reason: str, as_json: bool) -> None:
    """Bring back who answered before; an engine that was stopped is started first."""
    installation = _installation(task)
    with installation.store.read() as connection:
        former = steering.former_to_start(connection, task)
    if former is not None and running_address(installation.project.state) is not None:
        ensure_running(installation, former)
    _route("rollback", steering.rollback, installation, task, reason or "rolled back by hand", as_json)


def _installation(task: str) -> Installation:
    installation = opened()
    check_task(installation, task)
    return installation


def _steer(action: Callable[[Store, str, By], Rollout], task: str, reason: str, does: str, as_json: bool) -> None:
    installation = _installation(task)
    rollout = action(installation.store, task, By(actor(), reason, installation.clock.now()))
    if as_json:
        print_json(rollout)
    else:
        out.print(f"{task}  rollout {rollout.id}  {rollout.state}  {does}  ({plain(reason)})")


def _route(
    done: str,
    action: Callable[[Store, str, By], Route],
    installation: Installation,
    task: str,
    reason: str,
    as_json: bool,
) -> None:
    """Do what may change who answers, and say who answers now.

    `done` is not the route's own action: a rollout that touched no request leaves that as it was.
    """
    by = By(actor(), reason, installation.clock.now())
    route = action(installation.store, task, by)
    with installation.store.read() as connection:
        variants = load_variants(connection, route.variants())
    incumbent = require(variants.get(route.incumbent), "The incumbent's variant is gone.")
    if as_json:
        print_json({"task": route.task, "revision": route.revision, "incumbent": incumbent.deployment, "action": done})
    else:
        out.print(
            f"{route.task}  revision {route.revision}  {incumbent.deployment} answers  ({done}: {plain(by.reason)})"
        )


def _moment(text: str, now: datetime) -> datetime:
    """`7d` from now, or a date."""
    number, unit = text[:-1], UNITS.get(text[-1:])
    try:
        if unit is not None:
            return now + timedelta(**{unit: float(number)})
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"`--expires`: `{text}` is neither a time such as `12h`, `7d` or `2w`, nor a date such as `2026-12-24`."
        ) from None
    return at if at.tzinfo is not None else at.astimezone(UTC)
