"""Scheduled A/A checks: a model that others run is asked the same samples again, so that a change behind its name is seen.

What changed under the same name is a new bundle: it goes through the gate as an upgraded engine does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any

from changeover.app.applied import applied_tasks
from changeover.app.changed_engine import note_changed_engine
from changeover.app.installation import Installation
from changeover.app.local import operator_key, running_address
from changeover.core.digest import sha256_text, sha256_value
from changeover.core.errors import ChangeoverError, StoreError
from changeover.core.threads import in_thread
from changeover.evals.alias_evidence import ALARM_AT, Look, changed_evidence
from changeover.evals.alias_queries import AliasCheck, Outcome, add_check, checks_of
from changeover.evals.caller import Caller, LateCaller, Reply
from changeover.evals.datasets import Dataset, Sample
from changeover.evals.queries import StoredAnswer, add_answers
from changeover.serving.parts import EnginePart
from changeover.serving.queries import all_deployments, load_variants
from changeover.serving.variants import Variant
from changeover.store.lead import Lead
from changeover.tasks.declarations import Task
from changeover.tasks.queries import current_routes

log = logging.getLogger(__name__)

SEED = 20_261_129
"""Of the order from which the pinned samples are the first ones."""
LOOK_S = 30.0
"""Longest time between two looks for checks that are due."""
RETRY_S = 900.0
"""A check that failed is made again after so long, and after twice as long each time that it fails once more."""


@dataclass(frozen=True, kw_only=True)
class Alias:
    """A model under somebody else's name, as it answers one task."""

    task: Task
    variant: Variant

    @property
    def name(self) -> str:
        return self.variant.bundle.engine.model


@dataclass(frozen=True)
class _Answers:
    """What one round over the pinned samples gave."""

    samples: Sequence[Sample]
    replies: Sequence[Reply]
    """To each of them; where one failed, none after that."""

    @property
    def digests(self) -> dict[str, str]:
        """What was said, by what was asked; apart from spaces, of which nobody can tell."""
        return {sample.asked: _said(reply) for sample, reply in zip(self.samples, self.replies, strict=True)}

    @property
    def failure(self) -> str | None:
        return next((reply.error for reply in self.replies if reply.error is not None), None)


class AliasChecks:
    """Makes the checks. One process of an installation runs it."""

    def __init__(self, installation: Installation, lead: Lead | None = None) -> None:
        """Check nothing yet; without a `lead` nobody else does."""
        self._installation = installation
        self._lead = lead
        self._store, self._clock = installation.store, installation.clock
        self._settings = installation.project.settings.alias_checks
        self._prices = installation.project.settings.prices

    async def run(self) -> None:
        """Check for ever, whatever is due. Nothing that is gone meanwhile ends it."""
        every_s = self._settings.every_s
        if not every_s:
            return
        while True:
            try:
                due = await in_thread(self.due) if await self._leads() else []
                if due and running_address(self._installation.project.state) is not None:
                    await self.check(due)
            except ChangeoverError as exc:
                log.warning("alias checks: %s", exc)
            await asyncio.sleep(min(LOOK_S, every_s))

    async def _leads(self) -> bool:
        return self._lead is None or await in_thread(self._lead.held)

    def aliases(self) -> list[Alias]:
        """Those that answer tasks now and whose engine should run.

        Raises:
            StoreError: The store cannot be used.
        """
        tasks = applied_tasks(self._store, self._installation.project.root)
        with self._store.read() as connection:
            routes = current_routes(connection)
            running = {row.name for row in all_deployments(connection) if row.desired == "running"}
            variants = load_variants(connection, {route.incumbent for route in routes.values()})
        found = [variants[route.incumbent] for name, route in sorted(routes.items()) if name in tasks]
        return [
            Alias(task=tasks[each.task], variant=each)
            for each in found
            if each.bundle.engine.is_alias and each.deployment in running
        ]

    def due(self) -> list[Alias]:
        """Aliases whose last check was long enough ago."""
        now = self._clock.now()
        due: list[Alias] = []
        for alias in self.aliases():
            known = self._known(alias)
            if not known or now >= self._next(known):
                due.append(alias)
        return due

    def _known(self, alias: Alias) -> list[AliasCheck]:
        with self._store.read() as connection:
            return checks_of(connection, alias.variant.id)

    def _next(self, known: Sequence[AliasCheck]) -> datetime:
        """When the next one is due, at the latest after the usual time: what fails again and again costs no more than that."""
        every_s = self._settings.every_s
        # After a change there is another variant, with a baseline of its own, unless its rollout could not be opened.
        again = len(list(takewhile(lambda each: each.verdict in ("failed", "changed"), reversed(known))))
        wait_s = min(every_s, RETRY_S * 2.0 ** min(again - 1, 30)) if again else every_s
        return known[-1].at + timedelta(seconds=wait_s)

    async def check(self, aliases: Iterable[Alias]) -> list[AliasCheck]:
        """Ask, compare, write down; an alarm opens a rollout in `held` for every task that the alias answers.

        Raises:
            StoreError: The store cannot be used.
            ChangeoverError: The system does not run.
        """
        state = self._installation.project.state
        address = running_address(state)
        if address is None:
            raise ChangeoverError("The gateway does not run. Start it: `changeover up`.")
        caller = LateCaller(address, operator_key(state))
        try:
            return [await self._check(alias, caller) for alias in aliases]
        finally:
            await caller.close()

    async def _check(self, alias: Alias, caller: Caller) -> AliasCheck:
        try:
            made = await self._measure(alias, caller)
        except StoreError:
            raise
        except ChangeoverError as exc:
            # Nothing is known of the model: the gateway refused, the dataset is broken, nobody is ready.
            made = self._result(alias, "failed", (), detail={"error": exc.message})
        await in_thread(partial(self._write, made))
        if made.verdict == "changed":
            await in_thread(partial(self._alarm, alias, made))
        return made

    async def _measure(self, alias: Alias, caller: Caller) -> AliasCheck:
        """Ask the pinned samples: twice for a baseline, once for a look."""
        samples = await in_thread(partial(_pinned, alias.task, self._settings.samples))
        known = await in_thread(partial(self._known, alias))
        pinned = sha256_value([sample.asked for sample in samples])
        looks = _since_baseline(known, pinned)
        rounds: list[_Answers] = []
        for _ in range(1 if looks else 2):
            rounds.append(await _ask(alias, samples, caller))
            if (failure := rounds[-1].failure) is not None:
                return self._result(alias, "failed", rounds, detail={"error": failure})
        now = rounds[-1].digests
        first: Mapping[str, str] = looks[0].detail["answers"] if looks else rounds[0].digests
        changed = [sample.id for sample in samples if now[sample.asked] != first[sample.asked]]
        counts = [*(Look(each.changed, len(samples)) for each in looks), Look(len(changed), len(samples))]
        evidence = changed_evidence(counts)
        detail = {
            "pinned": pinned,
            "samples": len(samples),
            "changed": changed,
            "answers": dict(first) if not looks else now,
        }
        if not looks:
            await in_thread(partial(self._keep, alias, rounds[0]))
        verdict: Outcome = "baseline" if not looks else "changed" if evidence >= ALARM_AT else "same"
        return self._result(alias, verdict, rounds, changed=len(changed), evidence=evidence, detail=detail)

    def _result(
        self,
        alias: Alias,
        verdict: Outcome,
        rounds: Sequence[_Answers],
        *,
        changed: int = 0,
        evidence: float = 0.0,
        detail: Mapping[str, Any],
    ) -> AliasCheck:
        replies = [reply for each in rounds for reply in each.replies]
        prompt = sum(reply.prompt_tokens or 0 for reply in replies)
        completion = sum(reply.completion_tokens or 0 for reply in replies)
        price = self._prices.get(alias.variant.deployment)
        cost = {"tokens": prompt + completion, "usd": None if price is None else price.cost(prompt, completion)}
        return AliasCheck(
            task=alias.task.name,
            variant=alias.variant.id,
            deployment=alias.variant.deployment,
            asked=len(replies),
            changed=changed,
            evidence=evidence,
            verdict=verdict,
            detail={**detail, "cost": cost},
            at=self._clock.now(),
        )

    def _write(self, check: AliasCheck) -> None:
        with self._store.write() as connection:
            add_check(connection, check)

    def _keep(self, alias: Alias, answers: _Answers) -> None:
        """Keep a baseline as answers of its bundle: if the model changes, they are what the next is measured against."""
        bundle = alias.variant.bundle.digest
        rows = [_stored(bundle, sample, reply) for sample, reply in zip(answers.samples, answers.replies, strict=True)]
        with self._store.write() as connection:
            add_answers(connection, rows, self._clock.now())

    def _alarm(self, alias: Alias, check: AliasCheck) -> None:
        """Give what answers now an identity of its own, so that it goes through the gate; the route goes on meanwhile."""
        with self._store.read() as connection:
            engines = {row.name: row.engine for row in all_deployments(connection)}
        looks = _since_baseline(self._known(alias), check.detail["pinned"])
        engine = alias.variant.bundle.engine
        if EnginePart.from_document(engines[alias.variant.deployment]) != engine:
            return  # Another task's check has seen it already.
        observed = sha256_value(check.detail["answers"])
        since = next((each.at for each in reversed(looks) if each.verdict != "changed"), check.at)
        reason = (
            f"`{alias.name}` answers {check.changed} of {check.detail['samples']} pinned samples of "
            f"{alias.task.name} differently since {since:%Y-%m-%d}"
        )
        note_changed_engine(self._installation, alias.variant.deployment, replace(engine, observed=observed), reason)
        log.warning("alias checks: %s (deployment %s)", reason, alias.variant.deployment)


async def _ask(alias: Alias, samples: Sequence[Sample], caller: Caller) -> _Answers:
    """One round, one sample after the other: nobody's rate limit is used up for a check. It ends with one that fails."""
    replies: list[Reply] = []
    for sample in samples:
        reply = await caller.ask(
            f"{alias.task.name}@{alias.variant.id}",
            [{"role": message.role, "content": message.content} for message in sample.input],
            timeout_s=alias.task.declared.timeout_s,
            seed=0,
            **({"tools": sample.tools} if sample.tools else {}),
        )
        replies.append(reply)
        if reply.error is not None:
            break
    return _Answers(samples, replies)


def _pinned(task: Task, number: int) -> list[Sample]:
    """The samples that are asked each time. They depend on the dataset alone.

    Conversations are left out, and of samples that ask the same all but one: one answer would count as two.

    Raises:
        DatasetError: The dataset cannot be read.
    """
    drawn = Dataset.load(task.dataset, template=task.input_template).shuffled(SEED)
    asked = {sample.asked: sample for sample in drawn if sample.turns == 1}
    return list(asked.values())[:number]


def _since_baseline(known: Sequence[AliasCheck], pinned: str) -> list[AliasCheck]:
    """The newest baseline with these pinned samples and the looks since, without those that failed; none: it is due."""
    usable = [each for each in known if each.verdict != "failed"]
    starts = [number for number, each in enumerate(usable) if each.verdict == "baseline"]
    if not starts or usable[starts[-1]].detail["pinned"] != pinned:
        return []
    return usable[starts[-1] :]


def _said(reply: Reply) -> str:
    calls = [[call.name, call.arguments] for call in reply.tool_calls]
    return sha256_text(" ".join((reply.text or "").split())) if not calls else sha256_value([reply.text, calls])


def _stored(bundle: str, sample: Sample, reply: Reply) -> StoredAnswer:
    return StoredAnswer(
        id=0,
        bundle=bundle,
        sample=sample.asked,
        repeat=0,
        text=reply.text,
        tool_calls=tuple({"name": call.name, "arguments": call.arguments} for call in reply.tool_calls) or None,
        error=None,
        finish_reason=reply.finish_reason,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        duration_ms=reply.duration_ms,
    )
