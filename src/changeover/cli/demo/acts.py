"""The acts of the demo. Each does with the product's own functions what a user would do by commands."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from openai import OpenAI

from changeover.app.comparisons import report_of
from changeover.app.installation import Installation
from changeover.app.matching import known_verdict, match_of, prepared
from changeover.cli.demo.load import ClientLoad
from changeover.cli.demo.report import Report
from changeover.cli.follow import follow
from changeover.cli.frame import actor, out, run
from changeover.cli.history import history_lines, revisions
from changeover.cli.measure import measure
from changeover.cli.reporting import named, write_page
from changeover.cli.running import ensure_running
from changeover.cli.switching import begin_rollout
from changeover.cli.verdict import verdict_lines
from changeover.core.errors import ChangeoverError
from changeover.evals.comparison import Match
from changeover.evals.queries import Comparison
from changeover.evals.sandbox import Sandbox
from changeover.evals.scorers.unit_tests import extract_code
from changeover.rollouts.actions import By, roll_back
from changeover.serving.queries import load_variants
from changeover.tasks.queries import current_route

SWITCHED = "code"
"""The task whose model is switched."""
LEAST_REQUESTS = 100
"""Of client load across the switches; how many a canary takes is up to chance."""
CHALLENGED = "market-brief"
"""The task whose incumbent is challenged by a model a quarter of its size."""


@dataclass(frozen=True)
class Stage:
    """What the acts share."""

    installation: Installation
    address: str
    key: str
    report: Report

    @property
    def project(self) -> Path:
        return self.installation.project.root

    def example(self, name: str) -> str:
        return (self.project / "examples" / name).read_text(encoding="utf-8")

    def answering(self, task: str) -> str:
        """Deployment of a task's incumbent."""
        with self.installation.store.read() as connection:
            route = current_route(connection, task)
            if route is None:
                raise ChangeoverError(f"`{task}` has no route.")
            return load_variants(connection, [route.incumbent])[route.incumbent].deployment


def answer_tasks(stage: Stage) -> None:
    """Three tasks through the official client: one streamed, one executed, one from a table."""
    out.print("\n[bold]3  Three tasks, by the official openai client[/]  (`model` is the name of a task)")
    with OpenAI(base_url=f"{stage.address}/v1", api_key=stage.key) as client:
        _ask(stage, client, "summarise", stage.example("memo.txt"), "examples/memo.txt, streamed", stream=True)
        stage.report.code_passed = _write_code(stage, client)
        table = f"Write the brief for these figures:\n\n{stage.example('figures.csv')}"
        _ask(stage, client, "market-brief", table, "examples/figures.csv")


def _ask(stage: Stage, client: OpenAI, task: str, text: str, about: str, *, stream: bool = False) -> str:
    out.print(f"\n  [bold]{task}[/]  {about}")
    started = time.perf_counter()
    if stream:
        pieces: list[str] = []
        for chunk in client.chat.completions.create(
            model=task, messages=[{"role": "user", "content": text}], stream=True
        ):
            piece = chunk.choices[0].delta.content if chunk.choices else None
            if piece:
                pieces.append(piece)
                out.file.write(("  │ " if len(pieces) == 1 else "") + piece.replace("\n", "\n  │ "))
                out.file.flush()
        out.file.write("\n")
        answer = "".join(pieces)
    else:
        whole = client.chat.completions.create(model=task, messages=[{"role": "user", "content": text}])
        answer = whole.choices[0].message.content or ""
        out.print("\n".join(f"  │ {line}" for line in answer.strip().splitlines()), markup=False)
    out.print(f"  [dim]{stage.answering(task)}, {time.perf_counter() - started:.1f} s[/]")
    return answer


def _write_code(stage: Stage, client: OpenAI) -> bool:
    """Have the function written by whoever answers `code` now, and run it against its tests."""
    code = _ask(stage, client, "code", stage.example("code-request.txt"), "examples/code-request.txt")
    passed = run(_passes(stage, code))
    verdict = "[green]passes[/]" if passed else "[red]fails[/]"
    out.print(f"  run in the sandbox against examples/code-tests.py: {verdict}")
    return passed


async def _passes(stage: Stage, answer: str) -> bool:
    sandbox = Sandbox(stage.installation.project.cache / "sandbox")
    try:
        outcome = await sandbox.run(f"{extract_code(answer)}\n\n{stage.example('code-tests.py')}")
    finally:
        await sandbox.close()
    return outcome.status == "ok"


def compare_both(stage: Stage, larger: str | None) -> None:
    """Two candidates, whichever way it goes: a larger model for code, a smaller one for market briefs."""
    out.print("\n[bold]4  Evidence[/]  same samples, both models, until it is enough")
    better = stage.answering(CHALLENGED)
    smaller = stage.answering(SWITCHED)
    _compare(stage, CHALLENGED, smaller)
    if larger is not None:
        ensure_running(stage.installation, larger)
        _compare(stage, "summarise", larger)
    # Last, so that the changeover time is that of this candidate and of nothing else.
    _compare(stage, SWITCHED, better)


def _compare(stage: Stage, task: str, candidate: str) -> None:
    ready = prepared(stage.installation, task)
    match = match_of(stage.installation, ready, candidate, actor())
    id, ended = run(measure(stage.installation, ready, match))
    page = write_page(stage.installation, report_of(stage.installation, id))
    stage.report.add(ended, id)
    out.print(verdict_lines(id, ended))
    out.print(f"      report  {named(page)}")


def switch_under_load(stage: Stage) -> None:
    """Canary, promote, roll back, promote again: while clients go on asking."""
    out.print(f"\n[bold]5  A switch under load[/]  clients go on asking `{SWITCHED}` and count what fails")
    passed = _passed(stage)
    if passed is None:
        out.print("  no candidate passed: nothing is switched")
        return
    match, comparison = passed
    prompts = [sample.text for sample in match.dataset.samples[:20]]
    with ClientLoad(stage.address, stage.key, match.task.name, prompts) as load:
        _switch(stage, match, comparison, "passed its comparison")
        # The evidence began when the candidate's comparison did: that is when somebody first looked at it.
        promoted = stage.installation.clock.now()
        stage.report.changeover_time_s = round((promoted - comparison.started_at).total_seconds(), 1)
        _roll_back(stage, match.task.name)
        _switch(stage, match, comparison, "the evidence still stands")
        while load.counts.requests < LEAST_REQUESTS:
            time.sleep(0.2)
    stage.report.requests = load.counts.requests
    stage.report.failed_requests = load.counts.failed
    stage.report.truncated_streams = load.counts.truncated
    for error in load.counts.errors[:3]:
        out.print(f"  [red]failed[/] {error}")
    if match.task.name == SWITCHED:
        out.print("\n  the same request as before the switch, by the same client")
        with OpenAI(base_url=f"{stage.address}/v1", api_key=stage.key) as client:
            stage.report.code_passed_after = _write_code(stage, client)
    stage.report.history = revisions(stage.installation, match.task.name, 50)
    out.print(f"\n  route history of `{match.task.name}`, newest first")
    for line in history_lines(stage.installation, stage.report.history, out.width):
        out.print(line)


def _passed(stage: Stage) -> tuple[Match, Comparison] | None:
    """The last comparison of this demo that passed, as a match that can be switched."""
    for row in reversed(stage.report.verdicts):
        if row["verdict"] == "pass":
            ready = prepared(stage.installation, row["task"])
            match = match_of(stage.installation, ready, row["candidate"], actor())
            comparison = known_verdict(stage.installation, match)
            if comparison is not None:
                return match, comparison
    return None


def _switch(stage: Stage, match: Match, comparison: Comparison, reason: str) -> None:
    rollout = begin_rollout(stage.installation, match, comparison, reason)
    ended = follow(stage.installation, rollout)
    if ended.state not in ("baking", "done"):
        raise ChangeoverError(f"The rollout ended `{ended.state}`: see `changeover history {match.task.name}`.")


def _roll_back(stage: Stage, task: str) -> None:
    by = By(actor=actor(), reason="shown in the demo", now=stage.installation.clock.now())
    with stage.installation.store.write() as connection:
        route = roll_back(connection, task, by)
    out.print(f"  ✗ rollback     {by.reason}  revision {route.revision}: {stage.answering(task)} answers again")
