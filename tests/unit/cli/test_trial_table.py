"""The table of a trial, letter by letter, and how it gives way on a narrow terminal."""

from __future__ import annotations

from datetime import timedelta

import pytest
from rich.cells import cell_len
from tests.support.trials import BEGAN, measured, table, unmeasured

from changeover.app.trial_lines import document
from changeover.cli.trial_table import progress_line, table_lines
from changeover.evals.trials import Table
from changeover.rollouts.duration import ChangeoverTime, Course

WHOLE = """\
trial qwen3-8b against 7 tasks   3 m 30 s · 284 calls + 120 kept (fixed N: 2,190) · false switches held at 10 %
task             incumbent         verdict       difference         p95  cost  licence     recommendation
summarise        gemma-3-12b       better        +6.1  [ +2, +10]  0.8×  0.7×  Apache-2.0  switch
code             qwen2.5-coder-7b  no worse      +0.4  [ −3,  +4]  0.9×  1.0×  Apache-2.0  switch if wanted
reply-ja         qwen2.5-14b       worse         −7.0  [−11,  −3]  0.5×  0.5×  Apache-2.0  keep
invoice-to-json  gemma-3-12b       inconclusive  +1.2  [ −6,  +8]  0.7×     –  Apache-2.0  60 more samples would decide
minutes          gemma-3-12b       no worse       0.0  [ −5,  +5]   12×  0.7×  Apache-2.0  switch if wanted
ocr              gemma-3-12b       not tried     it takes 4,096 tokens, and samples of this task have 9,000
broken           –                 not tried     evals/broken.jsonl:2: `input`: missing. Add it.
3 could switch today · 1 keep · 1 undecided · 2 not tried   changeover switch --from-trial 9
"""


def trial() -> Table:
    took = {"cost_by": "price"}
    return table(
        measured("summarise", "better", 0.061, 0.0201, 0.0999, p95_ratio=0.8, cost_ratio=0.7, **took),
        measured(
            "code",
            "no worse",
            0.004,
            -0.03,
            0.04,
            incumbent="qwen2.5-coder-7b",
            p95_ratio=0.9,
            cost_ratio=1.0,
            calls_kept=120,
            calls_new=124,
            seconds=90.0,
            **took,
        ),
        measured(
            "reply-ja", "worse", -0.07, -0.109, -0.03, incumbent="qwen2.5-14b", p95_ratio=0.5, cost_ratio=0.5, **took
        ),
        measured("invoice-to-json", None, 0.012, -0.06, 0.08, p95_ratio=0.7, samples_left=60),
        measured("minutes", "no worse", -0.0001, -0.05, 0.05, p95_ratio=12.4, cost_ratio=0.7, **took),
        unmeasured("ocr", "unfit", "it takes 4,096 tokens, and samples of this task have 9,000"),
        unmeasured("broken", "failed", "evals/broken.jsonl:2: `input`: missing. Add it.", None),
    )


def plain_lines(seen: Table, width: int, **more: Course) -> list[str]:
    return [line.plain for line in table_lines(seen, width, more)]


def test_the_table_reads_as_it_should_at_120_columns() -> None:
    assert "\n".join(plain_lines(trial(), 120)) + "\n" == WHOLE


@pytest.mark.parametrize("width", [180, 120, 100, 80, 60, 50])
def test_no_line_of_the_table_is_wider_than_the_terminal(width: int) -> None:
    lines = plain_lines(trial(), width)
    heading = next(number for number, line in enumerate(lines) if line.startswith("task "))
    rows = lines[heading : heading + 8]
    assert max(cell_len(line) for line in rows) <= width
    assert all("switch" in line or "keep" in line for line in rows[1:4]), "the advice is what stays"


def test_a_narrow_table_names_the_licence_above_and_says_below_what_it_had_to_cut() -> None:
    lines = plain_lines(trial(), 80)
    assert lines[0] == "trial qwen3-8b (Apache-2.0) against 7 tasks"
    assert "licence" not in lines[2]
    assert "ocr: it takes 4,096 tokens, and samples of this task have 9,000" in lines


def test_long_names_keep_their_beginning_and_wide_letters_their_columns() -> None:
    seen = table(
        measured("要約-の-タスク", "better", incumbent="qwen2.5-coder-0.5b-instruct-2026-11-with-a-very-long-name"),
        measured("code", "worse", incumbent="short"),
    )
    lines = plain_lines(seen, 110)
    assert "qwen2.5-coder-0.5b-" in lines[2]
    at = [
        cell_len(line[: line.index(word)])
        for line, word in zip(lines[1:4], ("verdict", "better", "worse"), strict=True)
    ]
    assert len(set(at)) == 1, lines


def test_costs_by_tokens_say_so() -> None:
    by_tokens = table(measured("a", "better", cost_ratio=0.7, cost_by="tokens"), measured("b", "better"))
    assert plain_lines(by_tokens, 120)[1].split()[5] == "tokens"
    both = table(
        measured("a", "better", cost_ratio=0.7, cost_by="tokens"),
        measured("b", "better", cost_ratio=0.5, cost_by="price"),
    )
    lines = plain_lines(both, 120)
    assert lines[1].split()[5] == "cost"
    assert "0.7× tok" in lines[2]
    assert "0.5×  " in lines[3]


def test_an_unfinished_trial_says_how_it_goes_on() -> None:
    seen = table(measured("a", "worse"), unmeasured("b", "waiting"), ended=False)
    lines = plain_lines(seen, 120)
    assert lines[3].split() == ["b", "gemma-3-12b", "waiting", "–", "–", "–", "Apache-2.0"]
    assert lines[-1] == "1 keep · 1 to go   changeover trial qwen3-8b goes on"
    assert table_lines(seen, 120, running=True)[-1].plain == "1 keep · 1 to go"


def test_a_task_that_runs_shows_how_far_it_is() -> None:
    seen = table(measured("a", None, 0.1, 0.0, 0.2, kind="running"), ended=False)
    assert plain_lines(seen, 120)[2].split()[2:5] == ["60", "of", "200"]


def test_tasks_that_it_answers_already_stand_apart() -> None:
    lines = plain_lines(table(measured("a", "better"), unmeasured("b", "incumbent"), unmeasured("c", "incumbent")), 120)
    assert lines[0].startswith("trial qwen3-8b against 1 task ")
    assert "answers already: b, c" in lines


def test_what_was_promoted_shows_its_changeover_time_and_is_not_proposed_again() -> None:
    time = ChangeoverTime(
        started_at=BEGAN,
        promoted_at=BEGAN + timedelta(minutes=14, seconds=2),
        measuring_s=190.0,
        waiting_s=12.0,
        steps_s=640.0,
    )
    done = Course(rollout=12, state="baking", held=False, total_s=time.total_s, time=time)
    lines = plain_lines(table(measured("a", "better"), measured("b", "better")), 120, a=done)
    assert (
        "a: promoted by rollout 12 · changeover time 14 m 02 s: measuring 3 m 10 s · waiting 12 s · "
        "shadow and canary 10 m 40 s" in lines
    )
    assert lines[-1].endswith("changeover switch --from-trial 9"), "b is still to be switched"
    held = Course(rollout=13, state="canary", held=True, total_s=None, time=None)
    lines = plain_lines(table(measured("a", "better"), measured("b", "better")), 120, a=done, b=held)
    assert "b: rollout 13: canary, on hold" in lines
    assert lines[-1] == "2 could switch today"


def test_json_has_the_same_facts() -> None:
    said = document(trial(), {})
    assert (said["trial"], said["calls_new"], said["calls_kept"], said["calls_fixed_n"]) == (9, 284, 120, 2190)
    first = said["tasks"][0]
    assert (first["task"], first["verdict"], first["difference"], first["recommendation"]) == (
        "summarise",
        "better",
        0.061,
        "switch",
    )
    assert (first["p95_ratio"], first["cost_ratio"], first["cost_by"], first["holds"]) == (0.8, 0.7, "price", True)


def test_without_a_terminal_each_task_is_one_line() -> None:
    rows = trial().rows
    assert progress_line(rows[0]) == "  summarise: better  +6.1  [+2, +10]  60 samples, 40 new calls, 30 s"
    assert progress_line(rows[-1]) == "  broken: not tried  evals/broken.jsonl:2: `input`: missing. Add it."
