"""What the busy installation has been through: rollouts of every kind, made by the very functions that make real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, cast

from sqlalchemy import Connection

from benchmarks.console.declared import Sketch
from benchmarks.console.evaluated import Comparing, MadeUp, chance
from changeover.app.installation import Installation
from changeover.core.actors import SYSTEM
from changeover.evals.queries import Comparison
from changeover.rollouts.actions import (
    By,
    abort,
    advance,
    approve,
    evaluated,
    finish,
    override,
    plan_of,
    promote,
    propose,
    put_on_hold,
    refuse,
    resume,
    roll_back,
    start,
)
from changeover.rollouts.begin import begin
from changeover.rollouts.decide import Evidence, Reading, Rollout, missing_approvals
from changeover.rollouts.queries import approvals_of, find_rollout
from changeover.serving.bundles import Bundle
from changeover.serving.parts import EnginePart
from changeover.serving.queries import find_deployment, keep_variant
from changeover.serving.variants import Variant
from changeover.tasks.declarations import Task, load_task
from changeover.tasks.exchanges import Outcomes

STARTERS = ("ana", "kenji", "deniz", "mary-jane")
APPROVERS = ("ines", "zoë", "山田")
BEGAN = timedelta(days=170)
MORE = ("gemma-4-12b", "qwen2.5-14b", "gemma-3-12b", "gemma-3-4b", "glm-4.5-air")
"""Who else may be tried where the others were."""
EDITED = (3, 11)
"""Places of tasks whose prompt was edited since the last switch."""

Kind = Literal[
    *("promoted", "refused", "aborted", "rolled back", "taken out", "undecided"),
    *("in evaluation", "in shadow", "in canary", "baking", "paused", "held", "to be approved", "overridden", "quiet"),
]
PAST: Sequence[Kind] = (
    *("promoted", "refused", "promoted", "aborted", "rolled back", "promoted", "taken out", "undecided"),
)
NOW: Sequence[Kind] = (
    *("in canary", "in shadow", "baking", "quiet", "in evaluation", "to be approved", "quiet", "paused", "held"),
    *("overridden", "quiet", "rolled back", "refused", "taken out", "quiet", "undecided", "quiet", "in canary"),
)
"""How the newest rollout of each task stands, by the task's place."""
NEEDS_PASS: Sequence[Kind] = (
    *("promoted", "aborted", "rolled back", "taken out", "in shadow", "in canary", "baking", "paused", "held"),
    *("to be approved",),
)
REASONS = (
    "cheaper, and as good on our cases",
    "the vendor ends support of the old release next quarter",
    "asked for by the team that reads the answers",
    "トライアルの結果により切り替え",
    '<b>urgent</b> & important: see "incident 88"',
    "a very long reason, as people write them who have sat through the whole discussion and want to be sure that nobody "
    "who reads the history in two years asks again why this was decided, by whom, and what else was looked at before",
)


@dataclass
class _Task:
    """Where the history of one task stands while it is told."""

    sketch: Sketch
    place: int
    declared: Task
    incumbent: Variant
    tried: int = 0


class Past:
    """Tells the history of every task, oldest first."""

    def __init__(self, installation: Installation, caller: MadeUp, comparing: Comparing, now: datetime) -> None:
        self._installation = installation
        self._store = installation.store
        self._caller = caller
        self._comparing = comparing
        self._now = now
        self.incumbents: dict[str, Variant] = {}

    async def tell(self, sketch: Sketch, place: int, attempts: int | None = None) -> None:
        """Everything that happened to one task, up to now."""
        declared = self._installation.tasks[sketch.name]
        first = self._variant(declared, sketch.by[0], _older(declared.prompt, 0), 0.0)
        self._caller.skill[sketch.name, first.id] = 0.5 + 0.15 * chance("first", sketch.name)
        began = self._now - BEGAN + timedelta(hours=31 * (place % 30))
        with self._store.write() as connection:
            begin(connection, first, By(SYSTEM, f"first start; declared in {sketch.name}.toml", began))
        task = _Task(sketch, place, declared, first)
        past = attempts or (36 if place == 0 else 3 + place * 5 % 6)
        apart = (self._now - began - timedelta(days=9)) / past
        for number in range(past):
            kind = PAST[(place + number) % len(PAST)]
            await self._try(task, kind, began + apart * (number + 0.4), last=False)
        if place not in EDITED:
            task.declared = self._declare(task)
        await self._try(task, NOW[place % len(NOW)], self._now - timedelta(hours=30 + place % 7), last=True)
        self.incumbents[sketch.name] = task.incumbent

    def _declare(self, task: _Task) -> Task:
        """Have the files say what answers now, as they do once a switch is over."""
        file, bundle = task.declared.file, task.incumbent.bundle
        said = f"temperature = {bundle.parameters['temperature']}"
        text = file.read_text(encoding="utf-8").replace("temperature = 0.0", said)
        file.write_text(text, encoding="utf-8")
        (file.parent / task.declared.declared.prompt).write_text(bundle.prompt + "\n", encoding="utf-8")
        declared = load_task(file)
        cast("dict[str, Task]", self._installation.tasks)[task.sketch.name] = declared
        return declared

    async def look(self, sketch: Sketch, number: int, *, tried: int, at: datetime) -> None:
        """A comparison that led to nothing: somebody wanted to know."""
        declared, incumbent = self._installation.tasks[sketch.name], self.incumbents[sketch.name]
        deployment = sketch.by[tried % len(sketch.by)]
        candidate = self._variant(
            declared, deployment, _older(declared.prompt, tried % 5), round(0.1 + tried % 9 / 10, 1)
        )
        base = self._caller.skill[sketch.name, incumbent.id]
        better = chance("look", sketch.name, number) * 0.3 - 0.2
        self._caller.skill.setdefault((sketch.name, candidate.id), min(base + better, 0.99))
        if candidate.id != incumbent.id:
            await self._comparing.compare(incumbent, candidate, at, STARTERS[number % len(STARTERS)])

    async def _try(self, task: _Task, kind: Kind, at: datetime, *, last: bool) -> None:
        """One attempt to replace the incumbent."""
        if kind == "quiet":
            return
        candidate = self._candidate(task, last=last)
        base = self._caller.skill[task.sketch.name, task.incumbent.id]
        gain = -0.18 if kind == "refused" else -0.01
        if kind in NEEDS_PASS:
            gain = 0.45 * (1 - base) if last else 0.1 * (1 - base) + 0.01
        self._caller.skill[task.sketch.name, candidate.id] = min(base + gain, 0.985)
        actor = STARTERS[(task.place + task.tried) % len(STARTERS)]
        by = By(actor, REASONS[(task.place + 2 * task.tried) % len(REASONS)], at + timedelta(hours=2))
        if kind == "in evaluation":
            with self._store.write() as connection:
                keep_variant(connection, candidate, at)
                propose(
                    connection,
                    candidate,
                    plan_of(task.declared.declared),
                    replace(by, now=self._now - timedelta(minutes=4)),
                )
            await self._comparing.leave_under_way(task.incumbent, candidate, self._now - timedelta(minutes=3), actor)
            return
        comparison = await self._comparing.compare(task.incumbent, candidate, at, actor)
        story = _Story(task, candidate, comparison, by, kind, self._now)
        with self._store.write() as connection:
            if story.tell(connection):
                task.incumbent = candidate

    def _candidate(self, task: _Task, *, last: bool) -> Variant:
        """Somebody else than who answers, with the next prompt; the last one has the prompt that is declared now."""
        task.tried += 1
        names = [name for name in task.sketch.by if name != task.incumbent.deployment]
        if last:
            every = (Variant.declared(task.declared, name, self._engine(name)) for name in (*names, *MORE))
            fresh = (each for each in every if (each.task, each.id) not in self._caller.skill)
            return next(each for each in fresh if each.deployment != task.incumbent.deployment)
        deployment = names[task.tried % len(names)]
        prompt = _older(task.declared.prompt, task.tried)
        return self._variant(task.declared, deployment, prompt, round(task.tried % 8 / 10, 1))

    def _variant(self, task: Task, deployment: str, prompt: str, temperature: float) -> Variant:
        parameters = {**task.declared.parameters, "temperature": temperature}
        bundle = Bundle(
            engine=self._engine(deployment), prompt_name=task.prompt_name, prompt=prompt, parameters=parameters
        )
        return Variant.of(task.name, deployment, bundle)

    def _engine(self, deployment: str) -> EnginePart:
        with self._store.read() as connection:
            return EnginePart.from_document(find_deployment(connection, deployment).engine)


@dataclass
class _Story:
    """One rollout, from its comparison to how it ended or stands."""

    task: _Task
    candidate: Variant
    comparison: Comparison
    by: By
    kind: Kind
    now: datetime

    def tell(self, connection: Connection) -> bool:
        """Make it happen; whether the candidate answers at the end of it."""
        keep_variant(connection, self.candidate, self.by.now)
        if self.comparison.verdict == "pass" and self.kind in NEEDS_PASS:
            return self._passed(connection)
        return self._not_passed(connection)

    def _not_passed(self, connection: Connection) -> bool:
        rollout = propose(connection, self.candidate, plan_of(self.task.declared.declared), self.by)
        verdict = self.comparison.verdict or "inconclusive"
        evaluated(connection, rollout, self.comparison.id, verdict, self._later(minutes=6, actor=SYSTEM))
        rollout = _now(connection, rollout)
        if verdict == "fail":
            said = "the evaluation failed: the candidate is worse by more than the margin"
            refuse(
                connection,
                rollout,
                _evidence(rollout, 0, 0, verdict=verdict),
                self._later(minutes=7, actor=SYSTEM, why=said),
            )
            return False
        said = "the evaluation decided nothing: more samples, or a person, must"
        rollout = put_on_hold(connection, rollout, "held", self._later(minutes=7, actor=SYSTEM, why=said))
        if self.kind == "overridden":
            until = self.now + timedelta(days=2)
            why = "the old engine's licence ends on Friday; watched by the desk until then"
            override(connection, rollout, "evaluation", "ines", until, self._later(hours=20, why=why))
            advance(
                connection,
                _now(connection, rollout),
                0,
                _evidence(rollout, 0, 0, verdict=verdict),
                self._later(hours=20, minutes=1, actor=SYSTEM, why="an override lets it pass the evaluation"),
            )
            return False
        if self.kind != "undecided" or self.now - self.by.now > timedelta(days=3):
            abort(connection, rollout, self._later(days=1, why="not worth more samples"))
        return False

    def _passed(self, connection: Connection) -> bool:
        rollout = start(
            connection,
            self.candidate,
            plan_of(self.task.declared.declared),
            self.comparison.id,
            self.by,
            measured_against=self.task.incumbent.id,
        )
        wanted = self._last_step(rollout)
        for step in range(1, wanted + 1):
            self._agree(connection, rollout)
            seen = _evidence(rollout, 60 * step + self.task.place, step % 2)
            why = f"{rollout.stage}: {seen.step.asked} requests, {seen.step.failed} failed"
            rollout = advance(
                connection, _now(connection, rollout), step, seen, self._later(minutes=95 * step, actor=SYSTEM, why=why)
            )
        if self.kind in ("promoted", "rolled back", "baking"):
            return self._promoted(connection, rollout)
        self._stay(connection, _now(connection, rollout))
        return False

    def _last_step(self, rollout: Rollout) -> int:
        """Index of the step that it comes to before something else happens."""
        steps = len(rollout.plan.steps) - 1
        if self.kind in ("in shadow",):
            return 0
        if self.kind == "to be approved":
            return 0 if rollout.plan.approve_before == "canary" and rollout.plan.approvals else steps
        if self.kind in ("aborted", "taken out", "held", "paused"):
            return min(1, steps)
        return steps

    def _stay(self, connection: Connection, rollout: Rollout) -> None:
        """What it comes to, or stands at, before its promotion."""
        if self.kind == "aborted":
            abort(connection, rollout, self._later(hours=5, why="answers read well, but the desk wants shorter ones"))
        elif self.kind == "taken out":
            seen = _evidence(rollout, 132, 9, guard=412.0)
            why = "9 of 132 requests to the candidate failed: evidence 412 : 1, alarm at 100 : 1"
            abort_by = self._later(hours=4, actor=SYSTEM, why=why)
            roll_back(connection, rollout.task, abort_by, seen, only=rollout)
        elif self.kind == "held":
            put_on_hold(
                connection,
                rollout,
                "held",
                self._later(hours=6, actor=SYSTEM, why="no request for 60 minutes: the evidence decides nothing"),
            )
        elif self.kind == "paused":
            put_on_hold(
                connection,
                rollout,
                "paused",
                self._later(hours=3, why="month-end closing; nothing changes before Tuesday"),
            )
        elif self.kind == "in canary":
            put_on_hold(connection, rollout, "paused", self._later(hours=6, why="lunch"))
            resume(connection, _now(connection, rollout), self._later(hours=7, why="back"))

    def _promoted(self, connection: Connection, rollout: Rollout) -> bool:
        self._agree(connection, rollout)
        baking = self.kind == "baking"
        at = (
            self._later(minutes=0)
            if not baking
            else replace(self.by, now=self.now - timedelta(seconds=rollout.plan.bake_s * 0.4))
        )
        by = replace(at if baking else self._later(hours=9), actor=SYSTEM, reason="every step went well")
        promote(connection, _now(connection, rollout), _evidence(rollout, 431, 2), by)
        if baking:
            return True
        if self.kind == "rolled back" and self.task.place % 2:
            roll_back(
                connection,
                rollout.task,
                replace(
                    by,
                    actor=self.by.actor,
                    reason="the desk found answers too short",
                    now=by.now + timedelta(seconds=rollout.plan.bake_s / 2),
                ),
            )
            return False
        ended = replace(
            by, now=min(by.now + timedelta(seconds=rollout.plan.bake_s), self.now), reason="the bake time is over"
        )
        finish(connection, _now(connection, rollout), _evidence(rollout, 902, 3), ended)
        if self.kind == "rolled back":
            roll_back(
                connection,
                rollout.task,
                replace(
                    ended,
                    actor="ines",
                    reason="complaints about tone; see ticket 4411",
                    now=ended.now + timedelta(hours=1),
                ),
            )
            return False
        return True

    def _agree(self, connection: Connection, rollout: Rollout) -> None:
        """Get the approvals that are asked for, unless it shall wait for them."""
        if self.kind == "to be approved":
            return
        approved = [each.actor for each in approvals_of(connection, rollout.id)]
        if missing_approvals(rollout, approved):
            who = APPROVERS[self.task.place % len(APPROVERS)]
            approve(
                connection,
                _now(connection, rollout),
                replace(self._later(minutes=40), actor=who, reason="read the report"),
            )

    def _later(
        self, *, days: int = 0, hours: int = 0, minutes: int = 0, actor: str | None = None, why: str | None = None
    ) -> By:
        at = self.by.now + timedelta(days=days, hours=hours, minutes=minutes)
        return By(actor or self.by.actor, why or self.by.reason, min(at, self.now - timedelta(seconds=30)))


def _now(connection: Connection, rollout: Rollout) -> Rollout:
    found = find_rollout(connection, rollout.id)
    assert found is not None
    return found


def _evidence(
    rollout: Rollout, asked: int, failed: int, *, guard: float = 0.3, verdict: str | None = "pass"
) -> Evidence:
    """What was known of a candidate at one moment."""
    plan = rollout.plan
    seen: list[tuple[Literal["errors", "violations", "latency", "feedback"], float, int]] = [
        ("errors", plan.tolerated_failures, failed),
        ("violations", plan.tolerated_violations, asked // 90),
        ("latency", plan.tolerated_slow, asked // 25),
        ("feedback", plan.tolerated_dislikes, asked // 40),
    ]
    guards = tuple(
        Reading(
            name=name,
            events=asked if name != "feedback" else asked // 9,
            bad=bad,
            tolerated=tolerated,
            evidence=guard if name == "errors" else 0.2 + 0.1 * place,
            note="slow: longer than 4,210 ms, 3 times the incumbent's p95" if name == "latency" else "",
        )
        for place, (name, tolerated, bad) in enumerate(seen)
    )
    whole = Outcomes(asked=asked, failed=failed)
    step = Outcomes(asked=asked // 2, failed=failed // 2)
    return Evidence(whole=whole, step=step, guard=guard, candidate_ready=True, guards=guards, verdict=verdict)


def _older(prompt: str, version: int) -> str:
    """An earlier wording of a prompt."""
    said = ("", "Be brief.", "Be brief and precise.", "Think before you answer.", "Answer as a colleague would.")[
        version % 5
    ]
    return f"{prompt}\n{said}".strip()
