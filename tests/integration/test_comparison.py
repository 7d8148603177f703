"""Comparisons through the real gateway, between echo engines: what is asked, what is kept, what is concluded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.projects import Running, deploy_echo, open_written, running, write_project

from changeover.app.installation import spec_of
from changeover.app.matching import known_verdict
from changeover.cli.verdict import verdict_lines
from changeover.evals.caller import LateCaller
from changeover.evals.comparison import HOPELESS, SEED, Live, Match, compare
from changeover.evals.datasets import Dataset
from changeover.evals.queries import compared_samples, find_comparison
from changeover.evals.replay import plan_of as replay_plan
from changeover.evals.replay import replay
from changeover.evals.report.build import build_report
from changeover.evals.report.reason import reason_of
from changeover.evals.runner import AHEAD, Runner
from changeover.evals.sandbox import Sandbox
from changeover.serving.queries import load_variants
from changeover.serving.variants import Variant
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import current_route, recent_exchanges


@dataclass(frozen=True)
class Bench:
    """A running system and a runner that asks its gateway."""

    up: Running
    runner: Runner

    async def match(self, candidate: Variant, incumbent: Variant | None = None, **gate: Any) -> Match:
        """The task `echo`, between the routed incumbent (or another one) and a candidate, once both are ready."""
        installation = self.up.installation
        task = installation.tasks["echo"]
        declared = task.declared.model_copy(update={"gate": task.declared.gate.model_copy(update=gate)})
        incumbent = incumbent or self.routed()
        await self.up.ready(incumbent.deployment, candidate.deployment)
        return Match(
            task=replace(task, declared=declared),
            dataset=Dataset.load(task.dataset),
            scorer=spec_of(task, task.declared.scorer),
            incumbent=incumbent,
            candidate=candidate,
            actor="test",
        )

    def routed(self) -> Variant:
        with self.up.installation.store.read() as connection:
            route = current_route(connection, "echo")
            assert route is not None
            return load_variants(connection, [route.incumbent])[route.incumbent]

    def echo(self, name: str, **options: Any) -> Variant:
        return deploy_echo(self.up.installation, name, **options)

    async def compare(self, match: Match, seen: list[Live] | None = None) -> tuple[str, Live]:
        installation = self.up.installation
        shown = [] if seen is None else seen
        return await compare(
            match,
            store=installation.store,
            runner=self.runner,
            clock=installation.clock,
            on_progress=shown.append,
            progress_s=0,
        )


@asynccontextmanager
async def bench_of(directory: Path) -> AsyncGenerator[Bench]:
    installation = open_written(directory)
    async with running(installation) as up:
        caller = LateCaller(up.address, up.operator)
        runner = Runner(
            store=installation.store,
            caller=caller,
            sandbox=Sandbox(directory / "sandbox"),
            clock=installation.clock,
            at_once=4,
        )
        yield Bench(up, runner)
        await caller.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with bench_of(write_project(tmp_path / "p")) as it:
        yield it


async def test_a_candidate_that_answers_as_well_passes_and_one_that_does_not_fails_early(bench: Bench) -> None:
    id, good = await bench.compare(await bench.match(bench.echo("good"), margin=0.2))
    assert (good.verdict, good.shown, good.difference) == ("pass", "no worse", 0.0)
    assert good.samples < 60
    assert (good.incumbent_score, good.candidate_score) == (1.0, 1.0)
    _, bad = await bench.compare(await bench.match(bench.echo("bad", reply="no"), margin=0.2))
    assert (bad.verdict, bad.difference) == ("fail", -1.0)
    assert bad.samples < good.samples
    assert bad.low <= bad.difference <= bad.high
    with bench.up.installation.store.read() as connection:
        kept = find_comparison(connection, id)
    assert kept.verdict == "pass"
    assert kept.summary is not None
    assert kept.summary["samples"] == good.samples
    assert (kept.actor, kept.ended_at is not None) == ("test", True)


async def test_an_undecided_comparison_does_not_boast_of_what_it_could_have_found(bench: Bench) -> None:
    """Sixty equal scores leave a loss of five points open, so they cannot be said to exclude it."""
    _, ended = await bench.compare(await bench.match(bench.echo("twin"), margin=0.05))
    assert (ended.verdict, ended.samples, ended.difference) == ("inconclusive", 60, 0.0)
    assert ended.low < -0.05 < 0.05 < ended.high
    assert ended.detectable_loss is None or ended.detectable_loss > 0.05
    assert ended.calls_fixed_n is None, "differences without spread say nothing of how many would be needed"


async def test_answers_that_are_there_are_not_asked_for_again(bench: Bench) -> None:
    match = await bench.match(bench.echo("good"), margin=0.2)
    _, first = await bench.compare(match)
    assert first.calls_cached == 0
    assert 2 * first.samples <= first.calls_new <= 2 * (first.samples + 4 + AHEAD), "a few were begun ahead"
    _, second = await bench.compare(match)
    assert (second.calls_new, second.calls_cached) == (0, 2 * second.samples)
    assert replace(second, seconds=0, seconds_left=0, calls_new=0, calls_cached=0) == replace(
        first, seconds=0, seconds_left=0, calls_new=0, calls_cached=0
    )
    _, other = await bench.compare(await bench.match(bench.echo("other"), margin=0.2))
    assert other.calls_cached == other.samples, "the incumbent is never asked twice"


async def test_an_interrupted_comparison_loses_nothing(bench: Bench) -> None:
    match = await bench.match(bench.echo("good", delay_s=0.02), margin=0.05)
    seen: list[Live] = []
    work = asyncio.create_task(bench.compare(match, seen))
    async with asyncio.timeout(20):
        while len(seen) < 10:
            await asyncio.sleep(0.01)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    _, ended = await bench.compare(match)
    assert ended.calls_cached >= 2 * 10
    assert ended.calls_new + ended.calls_cached == 2 * ended.samples


async def test_samples_count_in_the_order_in_which_they_were_drawn_however_fast_the_answers_come(
    bench: Bench,
) -> None:
    """Every other answer is there beforehand, so it comes at once; the others take their time."""
    match = await bench.match(bench.echo("slow", delay_s=0.03), margin=0.2)
    drawn = match.dataset.shuffled(SEED)
    async for _ in bench.runner.scores(match.task, match.scoring, drawn[1:20:2], match.candidate):
        pass
    id, ended = await bench.compare(match)
    assert ended.calls_cached > 0
    with bench.up.installation.store.read() as connection:
        kept = compared_samples(connection, id)
    assert [row.position for row in kept] == list(range(1, len(kept) + 1))
    assert [row.sample_id for row in kept] == [sample.id for sample in drawn[: len(kept)]]


@pytest.mark.parametrize("options", [{}, {"reply": "no"}, {"fault": "error_500"}])
async def test_the_rows_of_a_comparison_replay_to_its_verdict(bench: Bench, options: dict[str, Any]) -> None:
    match = await bench.match(bench.echo("other", **options), margin=0.2)
    id, ended = await bench.compare(match)
    with bench.up.installation.store.read() as connection:
        kept = compared_samples(connection, id)
        comparison = find_comparison(connection, id)
    again = replay(comparison, kept)
    assert (again.disagreement, again.verdict, again.samples) == (None, ended.verdict, ended.samples)
    for changed in (
        [replace(kept[0], candidate_score=1.0 - kept[0].candidate_score), *kept[1:]],
        [*kept[:-1], replace(kept[-1], evidence={**kept[-1].evidence, "futility": 3.0})],
        kept[:2],
    ):
        assert replay(comparison, changed).disagreement is not None, "a record that was tampered with is found out"


async def test_what_no_scorer_can_score_decides_nothing(tmp_path: Path) -> None:
    directory = write_project(tmp_path / "p")
    samples = [{"id": f"s{n}", "input": f"say {n}", "target": {"any": []}} for n in range(8)]
    (directory / "evals" / "echo.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    async with bench_of(directory) as bench:
        id, ended = await bench.compare(await bench.match(bench.echo("other"), margin=0.2))
        assert (ended.verdict, ended.samples, ended.unusable, ended.failed) == ("inconclusive", 0, HOPELESS, HOPELESS)
        assert (ended.low, ended.high, ended.detectable_loss) == (-1.0, 1.0, None)
        with bench.up.installation.store.read() as connection:
            assert find_comparison(connection, id).verdict == "inconclusive"
            kept = compared_samples(connection, id)
        assert [row.usable for row in kept] == [False] * HOPELESS
        assert "names nothing" in str(ended.stopped)


async def test_a_model_that_fails_scores_nothing_and_is_asked_again_next_time(bench: Bench) -> None:
    match = await bench.match(bench.echo("broken", fault="error_500"), margin=0.2)
    _, ended = await bench.compare(match)
    assert (ended.verdict, ended.candidate_score, ended.incumbent_score) == ("fail", 0.0, 1.0)
    assert (ended.unusable, ended.failed) == (0, ended.samples)
    assert ended.latency_ratio is None
    _, again = await bench.compare(match)
    assert again.calls_cached == again.samples
    assert again.calls_new >= again.samples


async def test_a_win_over_an_incumbent_that_could_not_be_measured_is_no_pass(bench: Bench) -> None:
    broken = bench.echo("broken", fault="error_500")
    _, ended = await bench.compare(await bench.match(bench.routed(), incumbent=broken, margin=0.2))
    assert ended.difference == 1.0
    assert ended.verdict == "inconclusive"


async def test_an_evaluation_is_no_traffic_of_an_application(bench: Bench) -> None:
    match = await bench.match(bench.echo("good"), margin=0.2)
    await bench.compare(match)
    async with asyncio.timeout(10):
        while not (rows := exchanges(bench.up)):
            await asyncio.sleep(0.05)
    assert all(row.internal for row in rows)
    assert {row.request for row in rows} == {None}, "samples are in the dataset already"


def exchanges(up: Running) -> list[Exchange]:
    with up.installation.store.read() as connection:
        return list(recent_exchanges(connection, "echo", 500))


@pytest.mark.parametrize(("gate", "about"), [({"about": "dataset"}, "dataset"), ({"max_samples": 30}, "population")])
async def test_scores_that_are_known_of_the_whole_dataset_are_put_to_use(
    bench: Bench, gate: dict[str, Any], about: str
) -> None:
    plain = await bench.match(bench.echo("good"), margin=0.3, **gate)
    _, before = await bench.compare(plain)
    assert (before.about, before.covariates) == ("population", ()), "the incumbent is not known on every sample yet"
    other = bench.echo("other", reply="no")
    await bench.up.ready("other")
    for variant in (plain.incumbent, other):
        async for _ in bench.runner.scores(plain.task, plain.scoring, plain.dataset.samples, variant):
            pass
    match = await bench.match(bench.echo("twin"), margin=0.3, **gate)
    id, ended = await bench.compare(match)
    assert (ended.about, ended.verdict, ended.difference) == (about, "pass", 0.0)
    assert ended.covariates[0] == "echo"
    with bench.up.installation.store.read() as connection:
        comparison, rows = find_comparison(connection, id), compared_samples(connection, id)
        report = build_report(connection, id, project="test")
    assert comparison.pool is not None
    assert replay(comparison, rows).disagreement is None
    assert report.covariates == ended.covariates


async def test_a_gate_may_leave_what_is_known_out_of_account(bench: Bench) -> None:
    match = await bench.match(bench.echo("good"), margin=0.2, about="dataset", covariates=False)
    async for _ in bench.runner.scores(match.task, match.scoring, match.dataset.samples, match.incumbent):
        pass
    _, ended = await bench.compare(match)
    assert (ended.about, ended.covariates) == ("population", ())


async def test_a_verdict_waits_for_the_samples_that_the_gate_asks_for_and_its_record_replays(bench: Bench) -> None:
    match = await bench.match(bench.echo("good"), margin=0.2, min_samples=50)
    id, ended = await bench.compare(match)
    assert (ended.verdict, ended.samples) == ("pass", 50)
    with bench.up.installation.store.read() as connection:
        comparison, rows = find_comparison(connection, id), compared_samples(connection, id)
    assert (comparison.plan["min_samples"], comparison.plan["min_observations"]) == (50, 50)
    assert replay(comparison, rows).disagreement is None
    hasty = replace(comparison, plan={**comparison.plan, "min_observations": 51})
    assert replay(hasty, rows).verdict == "inconclusive"


async def test_a_dataset_with_fewer_samples_than_the_gate_asks_for_decides_nothing_and_says_so(bench: Bench) -> None:
    id, ended = await bench.compare(await bench.match(bench.echo("good"), margin=0.2, min_samples=100))
    assert (ended.verdict, ended.samples) == ("inconclusive", 60)
    assert "no verdict on echo before 100 samples" in verdict_lines(id, ended)
    with bench.up.installation.store.read() as connection:
        report = build_report(connection, id, project="test")
    assert "gives no verdict before 100 (`min_samples`)" in report.reason


async def test_a_kept_verdict_counts_where_its_rules_were_at_least_as_strict_as_those_of_now(bench: Bench) -> None:
    installation, candidate = bench.up.installation, bench.echo("good")

    async def known(**gate: Any) -> str | None:
        found = known_verdict(installation, await bench.match(candidate, **gate))
        return None if found is None else found.id

    id, ended = await bench.compare(await bench.match(candidate, margin=0.2))
    assert ended.verdict == "pass"
    assert await known(margin=0.2) == id
    assert await known(margin=0.3) == id
    assert await known(margin=0.2, beta=0.2, max_samples=40) == id, "neither makes a pass easier"
    assert await known(margin=0.2, min_samples=ended.samples) == id
    assert await known(margin=0.2, min_samples=ended.samples + 1) is None
    assert await known(margin=0.15) is None
    assert await known(margin=0.2, alpha=0.01) is None
    assert await known(margin=0.2, about="dataset") is None
    assert await known(margin=0.2, max_failed_share=0.01) is None
    longer, again = await bench.compare(await bench.match(candidate, margin=0.2, min_samples=50))
    assert again.verdict == "pass"
    assert again.calls_cached >= 2 * ended.samples, "measured again, with the answers that are there"
    assert await known(margin=0.2, min_samples=50) == longer


async def test_a_verdict_that_is_no_pass_counts_for_exactly_its_own_rules(bench: Bench) -> None:
    installation, candidate = bench.up.installation, bench.echo("bad", reply="no")
    id, ended = await bench.compare(await bench.match(candidate, margin=0.2))
    assert ended.verdict == "fail"
    found = known_verdict(installation, await bench.match(candidate, margin=0.2))
    assert found is not None
    assert found.id == id
    assert known_verdict(installation, await bench.match(candidate, margin=0.3)) is None


async def test_clusters_count_once_and_are_never_cut_by_the_largest_number_of_samples(tmp_path: Path) -> None:
    directory = write_project(tmp_path / "p")
    samples = [
        {"id": f"s{n}", "input": f"say ok {n}", "target": "ok", "cluster": f"c{n // 4}", "tags": ["all"]}
        for n in range(40)
    ]
    (directory / "evals" / "echo.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    async with bench_of(directory) as bench:
        match = await bench.match(bench.echo("twin"), margin=0.01, max_samples=10)
        id, ended = await bench.compare(match)
        assert (ended.samples, ended.verdict) == (8, "inconclusive"), "two whole clusters of four"
        with bench.up.installation.store.read() as connection:
            comparison, rows = find_comparison(connection, id), compared_samples(connection, id)
            report = build_report(connection, id, project="test")
        assert comparison.plan["max_observations"] == 2
        assert (comparison.plan["min_observations"], replay_plan(comparison).min_samples) == (1, 1)
        assert replay(comparison, rows).disagreement is None
        assert report.familiar is not None
        assert report.familiar.name == "paired t, clustered"
        (whole,) = report.slices
        assert (whole.tag, whole.samples) == ("all", 8)


async def test_nobody_passes_below_the_floor_and_the_record_says_so(bench: Bench) -> None:
    bad = bench.echo("bad", reply="no")
    id, ended = await bench.compare(await bench.match(bench.echo("as-bad", reply="no"), bad, margin=0.2, floor=0.4))
    assert (ended.verdict, ended.standing, ended.shown) == ("fail", "below", None)
    assert "below the floor of echo: 0.0 of 100, and 40 are asked for" in verdict_lines(id, ended)
    installation = bench.up.installation
    with installation.store.read() as connection:
        comparison = find_comparison(connection, id)
        rows = compared_samples(connection, id)
    assert replay(comparison, rows).agrees
    assert "under which the task lets nobody answer" in reason_of(comparison.summary or {}, comparison.plan)
