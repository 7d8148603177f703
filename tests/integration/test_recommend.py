"""A shortlist of a real project that does not run: what is proven, what could run, what is ruled out, and how it is told."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.support.projects import deploy_echo, open_written, write_project

from changeover.app.deploy import deploy, incumbent_of
from changeover.app.installation import Installation, read_again
from changeover.app.looking import opened_to_look
from changeover.app.recommending import Choice, Shortlist, recommend
from changeover.app.scoring import own_use
from changeover.cli.init import make_project
from changeover.cli.main import run_command
from changeover.cli.recommending import document, shortlist_lines
from changeover.core.settings import open_project
from changeover.evals.datasets import Dataset
from changeover.evals.queries import Comparison, StoredAnswer, add_answers, add_comparison, end_comparison
from changeover.library.fit import parse_hardware
from changeover.serving.plan import EnginePlan
from changeover.serving.variants import Variant

POLICY = 'operates_in = ["SG"]\nmonthly_users = 2_000_000\nuses = ["credit-decisions"]\n'
SMALL, OTHER = "qwen2.5-coder-1.5b-instruct", "smollm2-135m-instruct"


@pytest.fixture
def project(tmp_path: Path) -> Generator[Installation]:
    installation = open_written(write_project(tmp_path / "p", tasks=("echo", "mail")))
    yield installation
    installation.store.close()


def compared(installation: Installation, candidate: Variant, verdict: str, difference: float, **more: Any) -> str:
    """Keep a comparison with the incumbent, as one that ended."""
    task = installation.tasks[candidate.task]
    now = installation.clock.now()
    with installation.store.write() as connection:
        incumbent = incumbent_of(connection, candidate.task)
        kept = {
            "id": f"cmp_{candidate.deployment}_{candidate.task}",
            "task": candidate.task,
            "incumbent": incumbent.id,
            "candidate": candidate.id,
            "dataset": Dataset.load(task.dataset).digest,
            "scorer": "s",
            "plan": {},
            "actor": "test",
            "verdict": None,
            "summary": None,
            "started_at": now,
            "ended_at": None,
        }
        comparison = Comparison(**{**kept, **more})
        add_comparison(connection, comparison)
        summary = {"difference": difference, "samples": 34}
        end_comparison(connection, comparison.id, verdict=verdict, summary=summary, now=now)
    return comparison.id


def named(found: Shortlist, name: str) -> Choice:
    return next(each for each in found.choices if each.name == name)


def test_a_project_that_was_never_started_gets_a_list_and_nothing_is_made(tmp_path: Path) -> None:
    make_project(tmp_path / "fresh", 0)
    before = sorted(tmp_path.rglob("*"))
    with opened_to_look(open_project(tmp_path / "fresh")) as installation:
        found = recommend(installation, "summarise")
    assert sorted(tmp_path.rglob("*")) == before
    now = [each.name for each in found.choices if each.tier == "could run now"]
    assert now[0] == SMALL
    assert OTHER in now
    assert found.incumbent == "qwen2.5-coder-0.5b-instruct" not in [each.name for each in found.choices]
    assert found.needs.scenarios == ("documents",)
    assert next(iter(found.needs.languages)) == "en"
    assert named(found, "hunyuan3d-omni").tier == "ruled out"
    assert named(found, "deepseek-r1").tier == "needs more"


def test_a_project_whose_first_start_failed_is_like_one_that_was_never_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_project(tmp_path / "fresh", 0)
    state = open_project(tmp_path / "fresh").state
    state.mkdir()
    (state / "changeover.db").touch()  # what a start leaves behind that ended before its store was set up
    monkeypatch.chdir(tmp_path / "fresh")
    for command in (["recommend", "summarise"], ["models", "--open"], ["licences"], ["dataset", "check", "code"]):
        assert run_command(command) in (0, 1), command
        assert "no store" not in capsys.readouterr().err


def test_every_model_has_a_command_to_go_on_with_and_a_reason(project: Installation) -> None:
    for each in recommend(project, "echo").choices:
        assert each.next.startswith("changeover ")
        assert each.why or each.why_not


def test_who_passed_here_comes_first_and_could_be_switched_to(project: Installation) -> None:
    id = compared(project, deploy_echo(project, OTHER), "pass", 0.419)
    found = recommend(project, "echo")
    first = found.choices[0]
    assert (first.name, first.tier) == (OTHER, "proven here")
    assert first.next == f"changeover switch echo --to {OTHER}"
    assert "+41.9 points, 34 samples" in first.why[0]
    assert id in first.why[0]


def test_who_failed_here_is_listed_with_that_and_not_offered_again(project: Installation) -> None:
    compared(project, deploy_echo(project, OTHER), "fail", -0.2)
    one = named(recommend(project, "echo"), OTHER)
    assert one.tier == "not as good here"
    assert "-20.0 points" in one.why_not[0]
    assert "trial" not in one.next


def test_a_verdict_on_other_cases_proves_nothing_and_is_told(project: Installation) -> None:
    compared(project, deploy_echo(project, OTHER), "pass", 0.1, dataset="of last year")
    one = named(recommend(project, "echo"), OTHER)
    assert one.tier == "could run now"
    assert any("not today's evidence" in reason for reason in one.why_not)


def test_a_verdict_on_another_task_is_told(project: Installation) -> None:
    compared(project, deploy_echo(project, OTHER, "mail"), "pass", 0.1)
    one = named(recommend(project, "echo"), OTHER)
    assert one.tier == "could run now"
    assert any(reason.startswith("elsewhere here, mail: passed (+10.0 points") for reason in one.why)


def test_the_incumbent_is_not_recommended(project: Installation) -> None:
    found = recommend(project, "echo")
    assert found.incumbent == "echo"
    assert "echo" not in [each.name for each in found.choices]


def test_what_the_policy_denies_is_ruled_out_with_the_reason(project: Installation) -> None:
    assert named(recommend(project, "echo"), "gemma-3-1b-it").tier == "needs an engine"
    (project.project.root / "policy.toml").write_text(POLICY + 'refused_licences = ["gemma-terms"]\n')
    found = recommend(read_again(project), "echo")
    one = named(found, "gemma-3-1b-it")
    assert one.tier == "ruled out"
    assert "`refused_licences`" in one.why_not[0]
    drawn = named(found, "hunyuan-image-3.0")
    assert any(reason.startswith("licence") and "clause" in reason for reason in drawn.why_not)


def test_a_server_s_model_without_a_card_is_named_and_can_be_measured(project: Installation) -> None:
    options = {"base_url": "http://127.0.0.1:9/v1", "model": "in-house-7b", "api_key_env": None}
    deploy(project, EnginePlan(deployment="in-house", backend="openai", model="in-house-7b", options=options), "test")
    notes = recommend(project, "echo").notes
    assert [note for note in notes if "changeover trial in-house --task echo" in note]


def test_what_a_person_has_to_decide_leads_to_its_licence_and_not_to_a_trial(project: Installation) -> None:
    (project.project.root / "policy.toml").write_text(POLICY)
    one = named(recommend(read_again(project), "echo"), "hunyuan-a13b")
    assert one.next == "changeover licences hunyuan-a13b --task echo"
    assert sum("person's decision" in reason for reason in one.why_not) == 1


def test_on_other_hardware_another_model_could_run_now(project: Installation) -> None:
    hardware = parse_hardware("h100x8", project.catalogue)
    here, there = recommend(project, "echo"), recommend(project, "echo", hardware)
    assert named(here, "gpt-oss-120b").tier == "needs more"
    assert named(there, "gpt-oss-120b").tier == "could run now"
    assert there.hardware == str(hardware)


def test_figures_of_one_version_are_compared_and_the_others_said_not_to_be(project: Installation) -> None:
    found = recommend(project, "echo")
    assert found.index is not None
    assert found.index.endswith("3.0")
    one = named(found, "gpt-oss-120b")
    assert next(axis for axis in one.axes if axis.name == "index").value == 60.5
    assert any("2.2: 58" in reason and "not compared" in reason for reason in one.why_not)


def test_a_prompt_that_was_counted_is_believed_and_one_that_is_too_long_rules_out(project: Installation) -> None:
    with project.store.write() as connection:
        sample = Dataset.load(project.tasks["echo"].dataset).samples[0]
        answer = StoredAnswer(
            id=0,
            bundle=incumbent_of(connection, "echo").bundle.digest,
            sample=sample.asked,
            repeat=0,
            text="ok",
            error=None,
            finish_reason="stop",
            prompt_tokens=10_000,
            completion_tokens=5,
            duration_ms=1.0,
        )
        add_answers(connection, [answer], project.clock.now())
    found = recommend(project, "echo")
    assert (found.needs.prompt_tokens, found.needs.counted) == (10_000, True)
    assert named(found, OTHER).tier == "ruled out"
    assert any("8,192" in reason for reason in named(found, OTHER).why_not)


def test_own_use_counts_the_tasks_that_a_card_answers(project: Installation) -> None:
    assert own_use(project) == {}, "the engine without a model is none"


@pytest.mark.parametrize("width", [180, 100, 60, 40])
def test_no_line_but_a_command_is_wider_than_the_terminal(project: Installation, width: int) -> None:
    compared(project, deploy_echo(project, OTHER), "pass", 0.1)
    lines = [line.plain for line in shortlist_lines(recommend(project, "echo"), width, everything=False)]
    assert max(len(line) for line in lines if not line.startswith("    →")) <= width
    assert any(line.startswith("    → changeover switch echo") for line in lines)


def test_all_shows_every_model_and_json_does_always(
    project: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.project.root)
    found = recommend(project, "echo")
    whole = "\n".join(line.plain for line in shortlist_lines(found, 180, everything=True))
    assert all(each.name in whole for each in found.choices)
    assert run_command(["recommend", "echo", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {each["model"] for each in printed["choices"]} == {each.name for each in found.choices}
    assert printed["choices"][0]["scores"]["support"]["parts"][0]["weight"] == 25
    assert len(document(found)["choices"]) == len(found.choices)


def test_the_same_question_gets_the_same_answer(project: Installation) -> None:
    one, other = (document(recommend(project, "echo")) for _ in range(2))
    assert one == other


def test_an_unknown_task_is_named(project: Installation, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.chdir(project.project.root)
    assert run_command(["recommend", "ehco"]) != 0
    assert "Did you mean `echo`" in capfd.readouterr().err


def test_scores_are_shown_with_every_part(
    project: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.project.root)
    assert run_command(["scores", "gpt-oss-20b"]) == 0
    shown = capsys.readouterr().out
    assert "engines that list it" in shown
    assert "asked here: llama.cpp" in shown
    assert run_command(["scores", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(project.catalogue.cards())
