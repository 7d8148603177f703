from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from changeover.core.errors import ConfigError, UpstreamError
from changeover.serving.backends import Capabilities, Launch, Missing
from changeover.serving.backends.echo import EchoBackend
from changeover.serving.pace import Answered, Pace, pace_of
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan
from changeover.serving.tuned import Tuning, this_machine
from changeover.serving.tuning import Candidate, Trial, candidates_of, decide, measure
from changeover.serving.upstream import make_client


def plan(tmp_path: Path = Path("/weights"), quantisation: str = "Q4_1") -> EnginePlan:
    return EnginePlan(
        deployment="d", backend="local", model="m", artifact=tmp_path / "w.gguf", quantisation=quantisation,
        options={"slots": 2},
    )  # fmt: skip


def pace(tokens_per_s: float) -> Pace:
    answer = Answered(first_s=0.1, seconds=1.0, prompt_tokens=5, tokens=round(tokens_per_s * 10))
    return Pace(at_once=1, seconds=10.0, answers=[answer])


def trial(threads: int, alone: Sequence[float], together: Sequence[float], quantisation: str = "Q4_1") -> Trial:
    return Trial(
        quantisation=quantisation,
        threads=threads,
        alone=[pace(each) for each in alone],
        together=[pace(each) for each in together],
    )


def decided(*trials: Trial) -> Tuning:
    return decide(trials, quantisation="Q4_1", slots=2, machine="here")


def test_thread_counts_are_powers_of_two_and_all_cores() -> None:
    assert [each.threads for each in candidates_of([plan()], cores=6)] == [1, 2, 4, 6]
    assert [each.threads for each in candidates_of([plan()], cores=1)] == [1]
    two = candidates_of([plan(), plan(quantisation="Q8_0")], cores=2)
    assert [(each.quantisation, each.threads) for each in two] == [("Q4_1", 1), ("Q4_1", 2), ("Q8_0", 1), ("Q8_0", 2)]
    assert two[1].as_planned.options == {"slots": 2, "threads": 2}


def test_an_engine_that_chooses_its_threads_itself_is_not_tuned() -> None:
    elsewhere = EnginePlan(deployment="d", backend="openai", model="m", options={"base_url": "http://h/v1"})

    with pytest.raises(ConfigError, match="`openai` engines choose their threads themselves"):
        candidates_of([elsewhere])


def test_of_two_that_are_as_fast_the_one_with_fewer_threads_is_kept() -> None:
    assert decided(trial(1, [97], [97]), trial(2, [100], [100])).threads == 1
    assert decided(trial(1, [80], [80]), trial(2, [100], [100])).threads == 2


def test_one_round_beside_somebody_elses_work_decides_nothing() -> None:
    assert decided(trial(1, [50, 50, 50], [50, 50, 50]), trial(2, [100, 5, 100], [100, 100, 7])).threads == 2


def test_both_paces_count_alike() -> None:
    assert decided(trial(1, [100], [40]), trial(2, [60], [90])).threads == 2


def test_another_quantisation_is_named_only_where_it_is_faster_than_noise() -> None:
    own = trial(1, [100], [100])

    assert decided(own, trial(1, [104], [104], "Q8_0")).fastest == "Q4_1"
    faster = decided(own, trial(1, [140], [140], "Q8_0"), trial(2, [20], [20]))
    assert (faster.quantisation, faster.fastest, faster.threads) == ("Q4_1", "Q8_0", 1)


def test_what_is_kept_can_be_read_again() -> None:
    tuning = decided(trial(1, [97], [97]), trial(2, [100], [100]))

    assert Tuning.from_document(tuning.document()) == tuning


def test_a_machine_is_known_by_its_processor_and_cores(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU 9000\n")

    assert this_machine(cpuinfo).startswith("Some CPU 9000, ")
    assert this_machine(tmp_path / "missing").endswith(" cores")


class Paced:
    """Echo engines that with one thread are slow enough for the other ones to be faster on any machine."""

    capabilities = Capabilities()

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        raise AssertionError

    def describe(self, plan: EnginePlan) -> EnginePart:
        raise AssertionError

    def launch(self, plan: EnginePlan) -> Launch:
        delay_s = {1: 0.15, 2: 0.0}[int(str(plan.options["threads"]))]
        echo = replace(plan, backend="echo", artifact=None, options={"chunk_delay_s": delay_s})
        return EchoBackend().launch(echo)


async def test_candidates_are_run_and_the_faster_one_is_found(tmp_path: Path) -> None:
    begun: list[tuple[int, int]] = []

    def on_trial(candidate: Candidate, round_: int) -> None:
        begun.append((round_, candidate.threads))

    candidates = candidates_of([plan(tmp_path)], cores=2)
    trials = await measure(candidates, Paced(), tmp_path / "log", rounds=2, tokens=3, on_trial=on_trial)

    assert begun == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert [len(each.alone) for each in trials] == [2, 2]
    assert [len(each.answers) for each in trials[0].together] == [4, 4]
    assert trials[0].alone_per_s <= 10  # three tokens and two pauses
    assert trials[0].alone_per_s < trials[1].alone_per_s
    assert decided(*trials).threads == 2


async def test_an_engine_that_refuses_says_so_and_not_that_a_group_failed() -> None:
    client = make_client("wire")
    try:
        nowhere = client.upstream("d", "http://127.0.0.1:9", None, None)
        with pytest.raises(UpstreamError, match="`d`"):
            await pace_of(nowhere, model="m", at_once=2, requests=2, tokens=8)
    finally:
        await client.close()
