"""What ties a real project, that does not run, to what answers it."""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_recommend import OTHER, compared
from tests.support.exchanges import exchange
from tests.support.projects import deploy_echo, open_written, write_project

from changeover.app.deploy import deploy
from changeover.app.installation import Installation, read_again
from changeover.app.lockin import Report, lockin
from changeover.app.lockin.answers import TaskReport
from changeover.app.looking import opened_to_look
from changeover.cli.init import make_project
from changeover.cli.leaving import document, report_lines
from changeover.cli.main import run_command
from changeover.core.settings import open_project
from changeover.serving.plan import EnginePlan
from changeover.tasks.queries import add_exchanges


@pytest.fixture
def project(tmp_path: Path) -> Generator[Installation]:
    installation = open_written(write_project(tmp_path / "p", tasks=("echo", "mail")))
    yield installation
    installation.store.close()


def report_of(installation: Installation) -> Report:
    return lockin(installation, installation.clock.now() - timedelta(days=30))


def task_of(report: Report, name: str) -> TaskReport:
    return next(each for each in report.tasks if each.task == name)


def with_lines(installation: Installation, *, prompt: str = "Say it again.", parameters: str = "") -> Installation:
    """The same project with another prompt and more parameters."""
    (installation.project.tasks / "echo.prompt.md").write_text(prompt)
    file = installation.project.tasks / "mail.toml"
    file.write_text(file.read_text().replace("temperature = 0.0\n", f"temperature = 0.0\n{parameters}"))
    return read_again(installation)


def test_who_passed_is_the_way_out_and_costs_nothing_more(project: Installation) -> None:
    id = compared(project, deploy_echo(project, OTHER), "pass", 0.1)
    report = report_of(project)
    echo = task_of(report, "echo")
    assert [each.name for each in echo.proven] == [OTHER]
    assert echo.leaving.command == f"changeover switch echo --to {OTHER}"
    assert id in echo.leaving.says
    assert echo.leaving.cost is None
    assert (report.free, report.after_a_trial, report.tied) == (1, 1, 0)


def test_without_evidence_leaving_costs_a_trial(project: Installation) -> None:
    deploy_echo(project, OTHER)
    echo = task_of(report_of(project), "echo")
    assert echo.proven == ()
    assert OTHER in echo.could_try
    assert echo.leaving.command is not None
    assert echo.leaving.command.startswith("changeover trial ")
    assert echo.leaving.cost is not None
    assert echo.leaving.cost.calls > 0


def test_a_later_failure_takes_back_an_earlier_pass(project: Installation) -> None:
    variant = deploy_echo(project, OTHER)
    began = project.clock.now() - timedelta(days=2)
    compared(project, variant, "pass", 0.1, id="cmp_old", started_at=began)
    compared(project, variant, "fail", -0.1, id="cmp_new")
    assert task_of(report_of(project), "echo").proven == ()


def test_the_engine_without_a_model_is_no_way_out(project: Installation) -> None:
    deploy_echo(project, "twin")
    assert "twin" not in task_of(report_of(project), "echo").could_try


def test_what_the_policy_denies_cannot_be_tried(project: Installation) -> None:
    before = task_of(report_of(project), "echo")
    assert OTHER in before.could_try
    assert before.denied == 0
    (project.project.root / "policy.toml").write_text('refused_licences = ["Apache-2.0"]\n')
    echo = task_of(report_of(read_again(project)), "echo")
    assert OTHER not in echo.could_try
    assert echo.denied > 0


def test_shares_are_of_tasks_and_of_traffic(project: Installation) -> None:
    shares = report_of(project).shares
    engine = shares["engine"][0]
    assert (engine.tasks, engine.tasks_share, engine.requests, engine.requests_share) == (2, 1.0, 0, None)
    assert shares["vendor"][0].of == "unknown"
    assert shares["hosted name"][0].of == "runs here"


def test_a_name_that_others_answer_to_is_told_from_weights_of_ones_own(project: Installation) -> None:
    card = project.catalogue.card("qwen3-max")
    hosted = next(each for each in card.hosted if each.id is not None)
    options = {"base_url": "http://127.0.0.1:9/v1", "model": hosted.id, "api_key_env": None}
    plan = EnginePlan(deployment="rented", backend="openai", model="qwen3-max", options=options)
    deploy(project, plan, "test")
    report = report_of(project)
    assert "rented" in task_of(report, "echo").could_try, "no policy forbids it, and it runs"


def test_words_of_one_family_in_a_prompt_are_found(project: Installation) -> None:
    changed = with_lines(project, prompt="Answer after <|channel|>final.")
    found = task_of(report_of(changed), "echo").features
    assert [(each.feature, each.where, each.understood_by) for each in found] == [
        ("harmony channels", "the prompt", ("gpt-oss",))
    ]


def test_parameters_of_some_families_are_found(project: Installation) -> None:
    changed = with_lines(project, parameters="chat_template_kwargs = { enable_thinking = false }\n")
    found = task_of(report_of(changed), "mail").features
    assert [(each.feature, each.where) for each in found] == [
        ("chat_template_kwargs.enable_thinking", "the parameters")
    ]
    assert {"qwen3", "glm-4", "gemma-4"} <= set(found[0].understood_by)


def test_what_applications_send_is_looked_into(project: Installation) -> None:
    bodies = [
        {"model": "echo", "messages": [{"role": "user", "content": "hello"}]},
        {"model": "echo", "messages": [{"role": "user", "content": "/no_think hello"}], "enable_thinking": False},
    ]
    rows = [
        exchange(f"x{n}", task="echo", started_at=project.clock.now(), request=json.dumps(body), response="{}")
        for n, body in enumerate(bodies)
    ]
    with project.store.write() as connection:
        add_exchanges(connection, rows)
    found = {each.feature: each.where for each in task_of(report_of(project), "echo").features}
    assert found == {
        "Qwen's soft switches": "1 of 2 recorded requests",
        "enable_thinking beside the messages": "1 of 2 recorded requests",
    }


def test_exemptions_for_closed_models_are_shown_until_they_end_and_after(project: Installation) -> None:
    (project.project.root / "policy.toml").write_text(
        '[[closed_models]]\nmodel = "qwen3-max"\ntasks = ["echo"]\nby = "ana"\nreason = "nothing open yet"\n'
        "until = 2020-01-31\n"
    )
    found = report_of(read_again(project))
    assert found.exemptions[0].days_left < 0
    assert "ended" in "\n".join(line.plain for line in report_lines(found, 120))


def test_a_project_that_was_never_started_has_a_report(tmp_path: Path) -> None:
    make_project(tmp_path / "fresh", 0)
    with opened_to_look(open_project(tmp_path / "fresh")) as installation:
        report = report_of(installation)
    assert [each.task for each in report.tasks] == ["code", "customer-intent", "market-brief", "summarise"]
    assert all(each.incumbent is None for each in report.tasks)
    assert (report.unanswered, report.tied) == (4, 0)
    said = "\n".join(line.plain for line in report_lines(report, 120))
    assert "4 nobody answers yet" in said
    assert "→ changeover up" in said


@pytest.mark.parametrize("width", [180, 80])
def test_the_report_fits_the_terminal(project: Installation, width: int) -> None:
    lines = [line.plain for line in report_lines(report_of(project), width)]
    assert max(len(line) for line in lines if not line.startswith("    →")) <= width
    assert any(line.startswith("    → changeover trial ") and line.endswith("--task echo") for line in lines)
    assert any("changeover export" in line for line in lines)


def test_json_has_the_summary_with_its_parts(
    project: Installation, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(project.project.root)
    assert run_command(["lockin", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["summary"] == document(report_of(project))["summary"]
    assert sum(printed["summary"][key] for key in printed["summary"] if key != "tasks") == len(printed["tasks"])
