"""The evidence as a user meets it: reports, budgets, several tasks at once, replays, judges, edited datasets."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.support.processes import Up, system
from tests.support.projects import write_project

MEASURED = "\n[[measures]]\nname = 'exact'\n"
JUDGED = """\
description = "Judged."
prompt = "echo.prompt.md"
dataset = "../evals/tagged.jsonl"
first_incumbent = "echo"
[scorer]
name = "pairwise"
options = { judge = "judge" }
[gate]
margin = 0.3
"""


def write_samples(file: Path, number: int, **more: Any) -> None:
    rows = [
        {
            "id": f"s{n}",
            "input": f"sample {n}: please say ok",
            "target": "ok",
            "tags": [["odd", "even"][n % 2 == 0]],
            **more,
        }
        for n in range(number)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Up]:
    directory = write_project(tmp_path_factory.mktemp("evidence") / "p", tasks=("echo", "sure", "judge", "edited"))
    write_samples(directory / "evals" / "tagged.jsonl", 60)
    write_samples(directory / "evals" / "edited.jsonl", 30)
    for task, dataset in (("sure", "tagged"), ("edited", "edited")):
        file = directory / "tasks" / f"{task}.toml"
        text = file.read_text().replace("margin = 0.05", "margin = 0.3").replace("echo.jsonl", f"{dataset}.jsonl")
        file.write_text(text + MEASURED)
    (directory / "tasks" / "judged.toml").write_text(JUDGED)
    with system(directory) as it:
        it.call("deploy", "twin", "--engine", "echo")
        it.call("deploy", "no", "--engine", "echo", "--option", 'reply="no"')
        yield it


def test_a_comparison_leaves_a_report_that_needs_nothing_else(up: Up) -> None:
    ended = up.call(
        "compare", "sure", "--candidate", "no", "--aa", "4", "--junit", "result.xml", "--html", "r.html", "--json"
    )
    assert (ended.status, ended.json["report"]) == (1, "r.html")
    page = (up.project / "r.html").read_text()
    assert "no is not as good as echo on sure" in page
    assert not any(word in page for word in ("<script", " src=", "<link", "url(h"))
    assert "please say ok" in page
    assert {row["tag"] for row in ended.json["slices"]} == {"odd", "even"}
    assert ended.json["familiar"]["name"] == "McNemar mid-p"
    assert ended.json["noise_floor"]["samples"] == 4
    assert [row["name"] for row in ended.json["measures"]] == ["exact"]
    suite = ElementTree.parse(up.project / "result.xml").getroot()
    assert suite.find(".//failure") is not None
    shown = up.call("compare", "sure", "--candidate", "no")
    assert "slice even: −100.0" in shown.out
    file = next(line.split()[1] for line in shown.out.splitlines() if line.strip().startswith("report "))
    assert "no is not as good as echo on sure" in (up.project / file).read_text()
    assert "0 new" in shown.out


def test_a_kept_comparison_replays_to_the_same_verdict(up: Up) -> None:
    made = up.call("compare", "sure", "--candidate", "twin", "--json").json
    again = up.call("compare", "--replay", made["comparison"], "--json")
    assert again.status == 0
    assert (again.json["agrees"], again.json["verdict"], again.json["samples"]) == (True, "pass", made["samples"])
    assert "as recorded" in up.call("compare", "--replay", made["comparison"]).out
    assert "No comparison `cmp_none`" in up.call("compare", "--replay", "cmp_none").refused(1)


def test_a_budget_ends_a_comparison_undecided_and_a_switch_does_not_take_that_for_evidence(up: Up) -> None:
    up.call("deploy", "third", "--engine", "echo")
    stopped = up.call("compare", "sure", "--candidate", "third", "--max-calls", "5", "--json")
    assert stopped.status == 3
    assert (stopped.json["verdict"], stopped.json["calls_new"]) == ("inconclusive", 5)
    assert "5 new calls" in stopped.json["stopped"]
    switched = up.call("switch", "sure", "--to", "third", "--detach", "--json")
    assert switched.status == 0, "it is compared again, without the budget"
    assert up.call("abort", "sure").status == 0
    dear = up.call("compare", "sure", "--candidate", "twin", "--max-cost", "1").refused(2)
    assert "[prices." in dear


def test_one_candidate_on_every_task(up: Up) -> None:
    ended = up.call("compare", "--all", "--candidate", "twin", "--json")
    rows = {row["task"]: row for row in ended.json["tasks"]}
    assert set(rows) == {"echo", "sure", "judge", "edited", "judged"}
    assert (rows["sure"]["verdict"], rows["sure"]["together"]) == ("pass", True)
    assert rows["echo"]["verdict"] == "inconclusive"
    assert ended.status == 3
    table = up.call("compare", "--all", "--candidate", "twin").out
    assert "switch if wanted" in table
    assert "false switches held at 10 %" in table


def test_it_says_what_to_compare(up: Up) -> None:
    for arguments in (("sure",), ("--candidate", "twin"), ("sure", "--all", "--candidate", "twin")):
        assert "--candidate X" in up.call("compare", *arguments).refused(2)


def test_a_sample_that_was_scored_is_not_edited_in_place(up: Up) -> None:
    assert up.call("compare", "edited", "--candidate", "twin").status == 0
    file = up.project / "evals" / "edited.jsonl"
    before = file.read_text()
    file.write_text(before.replace('"target": "ok"', '"target": "OK"', 1))
    assert "changed after it was scored" in up.call("compare", "edited", "--candidate", "twin").refused(2)
    file.write_text(before)
    assert up.call("compare", "edited", "--candidate", "twin").status == 0


def test_repeats_say_how_often_one_of_several_answers_is_right(up: Up) -> None:
    ended = up.call("eval", "sure", "--samples", "3", "--repeats", "3", "--json")
    assert ended.json["pass"] == {"pass@1": 1.0, "pass@3": 1.0, "pass^3": 1.0}
    assert ended.json["calls_new"] + ended.json["calls_cached"] == 9


def test_equal_answers_are_not_put_before_a_judge(up: Up) -> None:
    ended = up.call("compare", "judged", "--candidate", "twin", "--json")
    assert (ended.status, ended.json["difference"]) == (0, 0.0)
    assert (ended.json["judging"]["judged"], ended.json["judging"]["identical"]) == (0, ended.json["samples"])


def test_a_judge_that_finds_everything_equal_lets_nobody_pass(up: Up) -> None:
    """The echo engine judges by repeating the question, which is the same verdict always."""
    ended = up.call("compare", "judged", "--candidate", "no", "--json")
    assert (ended.status, ended.json["shown"], ended.json["difference"]) == (3, "no worse", 0.0)
    assert ended.json["judging"]["judged"] == ended.json["samples"]
    assert ended.json["doubt"] in ended.json["reason"]
    assert up.call("compare", "--replay", ended.json["comparison"]).status == 0


def test_a_comparison_of_answers_needs_no_eval_of_one(up: Up) -> None:
    assert "compares two answers" in up.call("eval", "judged").refused(2)
