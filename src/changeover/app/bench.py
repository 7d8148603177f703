"""What a page has measured: one comparison or trial at a time, in a thread of this process, until it ends or is stopped.

It is made as by the command: the candidate's weights are fetched and its engine is started where needed, then answers are
asked of the gateway, and rows tell how far it is. Kept here is only what no row says. Of all consoles of a project one
measures: it shares the machine with whoever answers. With the process it ends, and what was found so far is kept.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from threading import Lock, Thread
from typing import Literal

from changeover.app.fetching import Terms, embedded_artifact, fetch_artifact
from changeover.app.installation import Installation
from changeover.app.licence_checks import check_switch
from changeover.app.local import gateway_address
from changeover.app.matching import match_of, prepared, with_budget
from changeover.app.measuring import runner_of
from changeover.app.readiness import READY_WAIT_S, ask_for, card_to_fetch, fetched, states
from changeover.app.switching import begin_switch
from changeover.app.trials import Trying, begin_trial, check_trial
from changeover.core.clock import Clock
from changeover.core.errors import ChangeoverError, ConfigError, GateError
from changeover.core.ids import new_id
from changeover.core.sizes import in_gib
from changeover.evals.comparison import compare
from changeover.evals.stopping import Stop, Stopped
from changeover.library.cards import Card
from changeover.rollouts.actions import By
from changeover.serving.progress import Progress as Start
from changeover.serving.queries import Deployment
from changeover.store.audit import note
from changeover.store.lead import Lead

log = logging.getLogger(__name__)

Kind = Literal["comparison", "trial", "switch"]
State = Literal["getting ready", "measuring", "done", "stopped", "failed"]
OVER: frozenset[State] = frozenset({"done", "stopped", "failed"})
CLOSED = "the console was stopped"
STOP_S = 3.0
"""Who stops something waits no longer to see that it has ended."""
CLOSE_S = 15.0
"""What was told to end has so long to write down how far it came."""
BROKEN = "Something is broken here. What it was stands in the log."


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What shall be measured."""

    kind: Kind
    """`switch`: only what has to be there before a rollout can begin; the running system measures."""
    candidate: str
    """A deployment, or a card of the library, which is deployed first."""
    tasks: tuple[str, ...]
    """All of a trial; else the one."""
    max_calls: int | None = None


@dataclass(kw_only=True)
class Measurement:
    """Something that is measured here, or was."""

    wanted: Wanted
    by: By
    id: str = field(default_factory=partial(new_id, "run"))
    state: State = "getting ready"
    says: str = ""
    """What it does while it gets ready; how it ended, where it did not end by itself."""
    trial: int | None = None
    comparison: str | None = None
    rollout: int | None = None
    ended_at: datetime | None = None
    stop: Stop = field(default_factory=Stop)

    @property
    def over(self) -> bool:
        return self.state in OVER

    @property
    def subject(self) -> str:
        """What it is, for histories."""
        number = self.trial or self.comparison
        return f"{self.wanted.kind} {f'of {self.wanted.candidate}' if number is None else number}"

    @property
    def mark(self) -> tuple[object, ...]:
        """What changes whenever something is to be shown anew."""
        return self.id, self.state, self.says, self.trial, self.comparison, self.rollout


class Bench:
    """The place where one thing at a time is measured. One for the process."""

    def __init__(self) -> None:
        self._mutex = Lock()
        self._newest: Measurement | None = None
        self._thread: Thread | None = None
        self._closed = False

    @property
    def newest(self) -> Measurement | None:
        """What is measured, or what was last."""
        return self._newest

    @property
    def running(self) -> Measurement | None:
        """What is measured now."""
        return None if self._newest is None or self._newest.over else self._newest

    def begin(self, installation: Installation, wanted: Wanted, by: By) -> Measurement:
        """Begin to measure; what can be refused at once is. Takes its time: call it in a thread.

        Raises:
            GateError: Something is measured already, here or by another console of the project.
            UnknownModelError, UnknownTaskError: There is no such candidate, or no such task.
            LicenceError: The policy or its licence does not allow the candidate.
            ChangeoverError: The gateway does not run.
        """
        gateway_address(installation.project)
        _check(installation, wanted)
        with self._mutex:
            if self._closed:
                raise GateError("The console stops.")
            running = self.running
            if running is not None:
                raise GateError(
                    f"The {running.wanted.kind} of `{running.wanted.candidate}` that {running.by.actor} began at "
                    f"{running.by.now:%H:%M} UTC is under way, and one thing is measured at a time. Wait for it, or stop it."
                )
            lead = Lead(installation.store, "measuring")
            if not lead.held():
                raise GateError(
                    "Another console of this project measures something, and one thing is measured at a time. Wait for it."
                )
            made = Measurement(wanted=wanted, by=by)
            thread = Thread(
                target=partial(_work, installation, made, lead), name=f"measures {wanted.candidate}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as exc:
                lead.release()
                raise GateError(f"Nothing can be measured now: {exc}. Try again later.") from exc
            self._newest, self._thread = made, thread
            return made

    def stop(self, installation: Installation, by: By, seen: str | None = None) -> Measurement:
        """End what is measured now; what was found so far is kept, and it can be begun again. Takes its time.

        Args:
            installation: Where.
            by: Who ends it.
            seen: Id of what they looked at: nothing else is ended; None: whatever it is.

        Raises:
            GateError: Nothing is, or something else.
        """
        running = self.running
        if running is None:
            raise GateError("Nothing is measured now: it has ended meanwhile.")
        if seen not in (None, running.id):
            raise GateError(
                "What was to be stopped has ended, and something else is measured by now. Nothing was done."
            )
        running.stop.say(f"{by.actor} stopped it: {by.reason}")
        _note(installation, running, "stop", by)
        if self._thread is not None:
            self._thread.join(STOP_S)
        return running

    def close(self) -> None:
        """End what is measured, and begin nothing any more."""
        with self._mutex:
            self._closed = True
            running, thread = self.running, self._thread
        if running is not None:
            running.stop.say(CLOSED)
        if thread is not None:
            thread.join(CLOSE_S)


def _check(installation: Installation, wanted: Wanted) -> None:
    """Refuse what would come to nothing, before anything is fetched or started for it."""
    if not wanted.tasks:
        raise ConfigError("There is no task to measure on.")
    card_to_fetch(installation, wanted.candidate)
    if wanted.kind == "trial":
        check_trial(installation, wanted.candidate, wanted.tasks)
    else:
        prepared(installation, wanted.tasks[0])
    if wanted.kind == "switch":
        check_switch(installation, wanted.tasks[0], wanted.candidate)


def _work(installation: Installation, made: Measurement, lead: Lead) -> None:
    """All of it, in its thread."""
    state, says = "done", ""
    try:
        if made.wanted.kind == "switch":
            _switch(installation, made)
        else:
            _get_ready(installation, made)
            asyncio.run(_try(installation, made) if made.wanted.kind == "trial" else _compare(installation, made))
        if made.stop.said is not None:
            state, says = "stopped", made.stop.said
    except Stopped as exc:
        state, says = "stopped", str(exc)
    except ChangeoverError as exc:
        state, says = "failed", exc.message
    except Exception:
        log.exception("measuring `%s`", made.wanted.candidate)
        state, says = "failed", BROKEN
    finally:
        lead.release()
        made.ended_at, made.says, made.state = installation.clock.now(), says, state


def _get_ready(installation: Installation, made: Measurement) -> None:
    """Have the candidate up."""
    ask_for(installation, made.wanted.candidate, made.by.actor, partial(_fetch, installation, made))
    for row in states(installation, made.wanted.candidate, READY_WAIT_S):
        made.stop.check()
        made.says = _said(row)
    made.stop.check()


def _said(row: Deployment) -> str:
    """What an engine does, in words."""
    start = Start.read(row.detail)
    return f"{row.name}: {start or row.detail or row.state}"


def _switch(installation: Installation, made: Measurement) -> None:
    """Have the weights here, and begin the rollout."""
    fetched(installation, made.wanted.candidate, partial(_fetch, installation, made))
    made.stop.check()
    by = By(actor=made.by.actor, reason=made.by.reason, now=installation.clock.now())
    made.rollout = begin_switch(installation, made.wanted.tasks[0], made.wanted.candidate, by).id


async def _try(installation: Installation, made: Measurement) -> None:
    wanted, actor = made.wanted, made.by.actor
    trial, resumed = begin_trial(installation, wanted.candidate, wanted.tasks, actor)
    made.trial, made.says, made.state = trial.id, "", "measuring"
    if resumed:  # a new one has a row of its own in the history
        _note(installation, made, "trial", made.by)
    runners = partial(runner_of, installation)
    await Trying(installation, trial, runners, max_calls=wanted.max_calls, actor=actor, stop=made.stop).run()


async def _compare(installation: Installation, made: Measurement) -> None:
    ready = prepared(installation, made.wanted.tasks[0])
    match = match_of(installation, ready, made.wanted.candidate, made.by.actor)

    def begun(id: str) -> None:
        made.comparison, made.says, made.state = id, "", "measuring"
        _note(installation, made, "compare", made.by)

    async with runner_of(installation, ready) as runner:
        await compare(
            with_budget(match, made.wanted.max_calls, None),
            store=installation.store,
            runner=runner,
            clock=installation.clock,
            on_progress=lambda _: None,
            on_begun=begun,
            stop=made.stop,
        )


def _note(installation: Installation, made: Measurement, action: str, by: By) -> None:
    task = made.wanted.tasks[0] if made.wanted.kind != "trial" else None
    with installation.store.write() as connection:
        note(connection, at=by.now, actor=by.actor, action=action, subject=made.subject, task=task, reason=by.reason)


def _fetch(installation: Installation, made: Measurement, card: Card) -> None:
    project = installation.project
    line = _Line(made, installation.clock, card.id)
    fetch_artifact(card, embedded_artifact(card), project.cache, Terms.of(project), line)


class _Line:
    """How far a pull is, in a line. Whoever stops what is measured stops it: what is here already stays."""

    def __init__(self, made: Measurement, clock: Clock, name: str) -> None:
        self._made = made
        self._clock = clock
        self._name = name
        self._said_at = -1.0
        self._what = ""
        self._total: int | None = None

    def start(self, what: str, total_bytes: int | None, done_bytes: int = 0) -> None:
        self._what, self._total, self._said_at = what, total_bytes, -1.0
        self.advance(done_bytes)

    def advance(self, done_bytes: int) -> None:
        self._made.stop.check()
        now = self._clock.monotonic()
        if now - self._said_at < 1.0:
            return
        self._said_at = now
        of = f", {in_gib(done_bytes)} of {in_gib(self._total)}" if self._total else ""
        self._made.says = f"{self._name}: {self._what}{of}"

    def finish(self) -> None:
        pass
