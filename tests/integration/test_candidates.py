"""What could be tried, on a real project that does not run: what is counted, and what stays unknown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import pytest
from tests.support.projects import deploy_echo, open_written, write_project

from changeover.app.candidates import Candidate, Candidates
from changeover.app.deploy import incumbent_of
from changeover.app.installation import Installation, read_again
from changeover.cli.proposing import candidate_lines
from changeover.core.settings import Price
from changeover.evals.datasets import Dataset
from changeover.evals.queries import StoredAnswer, add_answers
from changeover.serving.memory import budget_bytes

WHOLE_SAMPLE = {"id": "a", "input": "?", "target": "ok"}


@pytest.fixture
def project(tmp_path: Path) -> Generator[Installation]:
    installation = open_written(write_project(tmp_path / "p", tasks=("echo", "mail")))
    yield installation
    installation.store.close()


def answered(installation: Installation, count: int, *, prompt_tokens: int = 100, task: str = "echo") -> None:
    """Keep answers of the incumbent to the first samples of its dataset."""
    with installation.store.write() as connection:
        bundle = incumbent_of(connection, task).bundle.digest
        samples = Dataset.load(installation.tasks[task].dataset).samples[:count]
        answers = [
            StoredAnswer(
                id=0,
                bundle=bundle,
                sample=sample.asked,
                repeat=0,
                text="ok",
                error=None,
                finish_reason="stop",
                prompt_tokens=prompt_tokens,
                completion_tokens=50,
                duration_ms=2_000.0,
            )
            for sample in samples
        ]
        add_answers(connection, answers, installation.clock.now())


def write_other_samples(
    installation: Installation, task: str, sample: Mapping[str, str] = WHOLE_SAMPLE
) -> Installation:
    """Give a task a dataset of its own."""
    file = installation.project.tasks / f"{task}.toml"
    file.write_text(file.read_text().replace("echo.jsonl", f"{task}.jsonl"))
    (installation.project.root / "evals" / f"{task}.jsonl").write_text(json.dumps(sample) + "\n")
    return read_again(installation)


def named(installation: Installation, name: str, task: str | None = None) -> Candidate:
    return next(each for each in Candidates(installation, task).find() if each.name == name)


def test_nobody_knows_the_time_or_the_price_before_the_incumbent_has_answered(project: Installation) -> None:
    deploy_echo(project, "twin")
    cost = named(project, "twin", "echo").cost
    assert cost is not None
    assert (cost.most_calls, cost.seconds, cost.usd) == (120, None, None)
    assert 0 < cost.calls <= 120


def test_kept_answers_are_not_asked_again(project: Installation) -> None:
    deploy_echo(project, "twin")
    answered(project, 60)
    cost = named(project, "twin", "echo").cost
    assert cost is not None
    assert cost.most_calls == 60, "the incumbent has answered all"
    assert cost.seconds == pytest.approx(cost.calls * 2.0 / project.project.settings.engines.slots)


def test_the_money_is_by_declared_prices_of_both_or_unknown(
    project: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_echo(project, "twin")
    answered(project, 60)
    prices = project.project.settings.prices
    price = Price(usd_per_million_prompt_tokens=10.0, usd_per_million_completion_tokens=20.0)
    monkeypatch.setitem(prices, "twin", price)
    cost = named(project, "twin", "echo").cost
    assert cost is not None
    assert cost.usd == pytest.approx(cost.calls * (100 * 10 + 50 * 20) / 1e6), "the incumbent is asked nothing"
    deploy_echo(project, "other")
    unpriced = named(project, "other", "echo").cost
    assert unpriced is not None
    assert unpriced.usd is None


def test_who_answers_a_task_is_no_candidate_for_it(project: Installation) -> None:
    assert all(each.name != "echo" for each in Candidates(project).find())
    deploy_echo(project, "twin")
    assert named(project, "twin").tasks == ("echo", "mail")
    assert named(project, "twin", "mail").tasks == ("mail",)


def test_a_context_that_is_too_short_for_the_samples_is_said(project: Installation) -> None:
    deploy_echo(project, "short", context_tokens=500)
    project = write_other_samples(project, "mail")
    answered(project, 3, prompt_tokens=501)
    short = named(project, "short")
    assert short.cannot == {"echo": "it takes 500 tokens, and samples of this task have 501"}
    assert short.tasks == ("mail",)
    assert "echo" in named(project, "smollm2-135m-instruct").tasks


def test_a_card_says_what_it_takes_and_how_it_would_run_here(project: Installation) -> None:
    coder = named(project, "qwen2.5-coder-1.5b-instruct")
    assert coder.memory.needs is not None
    assert 1_117_320_768 < coder.memory.needs < 2 * 1_117_320_768, "weights, context and the engine itself"
    assert not coder.memory.measured
    assert (coder.licence, coder.released) == ("Apache-2.0", None)
    assert coder.memory.budget == budget_bytes(project.project.settings.engines.memory_gib) > 0


def test_what_the_policy_denies_is_said_of_each_task_and_costs_no_trial(project: Installation) -> None:
    (project.project.root / "policy.toml").write_text('refused_licences = ["Apache-2.0"]\n')
    coder = named(read_again(project), "qwen2.5-coder-1.5b-instruct")
    assert coder.tasks == ()
    assert coder.denied.keys() == coder.cannot.keys() == {"echo", "mail"}
    assert "policy" in coder.denied["echo"]
    assert coder.cost is None
    shown = [line.plain for line in candidate_lines([coder], 180, all_tasks=2)]
    assert any("denied" in line for line in shown)


def test_a_broken_dataset_leaves_the_cost_of_the_other_tasks(project: Installation) -> None:
    again = write_other_samples(project, "mail", {"id": "a"})
    deploy_echo(again, "twin")
    twin = named(again, "twin")
    assert list(twin.uncosted) == ["mail"]
    assert twin.cost is not None
    assert twin.cost.most_calls == 120
    assert named(again, "twin", "mail").cost is None


def test_what_could_run_here_comes_before_what_only_a_server_could_run(project: Installation) -> None:
    deploy_echo(project, "twin")
    runs = [each.runs for each in Candidates(project).find()]
    here = len([each for each in runs if each != "by a server only"])
    assert 4 <= here < len(runs)
    assert set(runs[here:]) == {"by a server only"}


def test_what_makes_images_or_follows_no_conversation_is_no_candidate(project: Installation) -> None:
    names = {each.name for each in Candidates(project).find()}
    assert {"gpt-oss-20b", "qwen3-max", "minimax-m1"} < names
    assert not names & {"hunyuan-image-3.0", "hunyuan3d-omni", "qwen3-omni", "llama-3.1-8b", "kimi-k2-base"}
    assert named(project, "minimax-m1").released == "2025-06"


@pytest.fixture
def lines(project: Installation) -> Callable[[int], list[str]]:
    deploy_echo(project, "twin")
    found = Candidates(project).find()
    return lambda width: [line.plain for line in candidate_lines(found, width, all_tasks=2)]


@pytest.mark.parametrize("width", [180, 120, 100, 80, 60, 40])
def test_no_row_is_wider_than_the_terminal(lines: Callable[[int], list[str]], width: int) -> None:
    rows = [line for line in lines(width) if line.startswith(("qwen", "smol", "twin", "candidate"))]
    assert len(rows) == 5
    assert max(map(len, rows)) <= width


def test_without_a_successor_it_says_so_and_names_what_to_do_next(lines: Callable[[int], list[str]]) -> None:
    shown = lines(140)
    assert shown[0] == "no card of the library is a newer version of what answers now"
    assert any(line.startswith("candidate ") and line.endswith("cost") for line in shown)
    row = next(line for line in shown if line.startswith("qwen2.5-coder-1.5b-instruct"))
    assert "echo, mail" in row
    assert "≈ 1.7 of " in row
    assert not any(line.startswith("gpt-oss") for line in shown)
    assert re.search(
        r"^and [3-9]\d more that only a server could run: `changeover models` lists them$", "\n".join(shown), re.M
    )
    assert "changeover trial " in shown[-1]
