"""`changeover fit`, as a person types it: what it prints, as JSON too, and how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.projects import open_written, write_project

from changeover.app.verified import verified_here
from changeover.cli.fitting import fit_lines
from changeover.cli.main import run_command
from changeover.core.sizes import GB, GIB
from changeover.library.catalogue import Catalogue
from changeover.library.fit import fit, parse_hardware


@pytest.fixture(autouse=True)
def outside_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no project is, with no tool of any vendor on the path and no weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CHANGEOVER_CACHE", str(tmp_path / "cache"))


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    run_command(["fit", *arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_r1_on_a_node_of_p800_is_refused_with_two_nodes_or_four_bits(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "deepseek-r1", "--on", "kunlun-p800x8"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("DOES NOT FIT")
    assert "691.2 GiB (742.2 GB) of 768.0 GiB (824.6 GB) on 8 cards" in shown
    assert "749.7 GiB (805.0 GB) – more than is usable" in shown
    assert "weights in int4" in shown
    assert "16 cards in 2 nodes" in shown
    assert "whether `kunlun-p800` computes with fp8" in shown
    two_nodes = document(capsys, "deepseek-r1", "--on", "kunlun-p800x16")
    assert two_nodes["verdict"] == "unknown"
    assert two_nodes["missing"] == ["whether `kunlun-p800` computes with fp8"]
    assert two_nodes["needs_bytes"] < two_nodes["has_bytes"]
    assert two_nodes["layout"]["nodes"] == 2


def test_qianfan_vl_70b_takes_two_p800(capsys: pytest.CaptureFixture[str]) -> None:
    judged = document(capsys, "qianfan-vl-70b", "--on", "kunlun-p800x8")
    assert judged["verdict"] == "fits"
    assert judged["layout"] == {
        "tensor_parallel": 2,
        "pipeline_parallel": 1,
        "nodes": 1,
        "expert_parallel": False,
    }
    assert judged["engine"] == "vllm-kunlun"
    assert "--model baidu/Qianfan-VL-70B" in judged["command"]


@pytest.mark.parametrize(
    ("model", "on", "verdict", "cards"),
    [
        ("gpt-oss-120b", "h100", "tight", 1),
        ("gpt-oss-20b", "rtx-4090", "fits", 1),
        ("deepseek-r1", "h200x8", "fits", 8),
        ("deepseek-r1", "h100x8", "no", 8),
        ("minimax-m2", "h100x8", "fits", 4),
        ("kimi-k2-instruct", "h200x16", "fits", 16),
        ("qwen3-next-80b-a3b-instruct", "h100x4", "fits", 4),
        ("glm-4.6", "h100x8", "no", 8),
        ("hunyuan3d-omni", "t4", "fits", 1),
    ],
)
def test_what_recipes_say_of_hardware_comes_out(
    capsys: pytest.CaptureFixture[str], model: str, on: str, verdict: str, cards: int
) -> None:
    judged = document(capsys, model, "--on", on)
    layout = judged["layout"]
    assert (judged["verdict"], layout["tensor_parallel"] * layout["pipeline_parallel"]) == (verdict, cards)


def test_every_figure_stands_in_both_units(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["fit", "glm-4.6", "--on", "h100x8"])
    shown = capsys.readouterr().out
    pairs = re.findall(r"([\d,.]+) GiB \(([\d,.]+) GB\)", shown)
    assert len(pairs) >= 10
    for gib, gb in pairs:
        counts = float(gib.replace(",", "")) * GIB, float(gb.replace(",", "")) * GB
        assert counts[0] == pytest.approx(counts[1], rel=0.01, abs=0.06 * GIB)
    assert shown.count("GiB") == len(pairs)
    judged = document(capsys, "glm-4.6", "--on", "h100x8")
    assert judged["needs_gib"] * GIB == pytest.approx(judged["needs_gb"] * GB, rel=1e-5)


def test_this_machine_is_judged_by_its_budget_and_the_embedded_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "smollm2-135m-instruct"]) == 0
    assert "changeover deploy smollm2-135m-instruct --context 4096 --slots 4" in capsys.readouterr().out
    assert run_command(["fit", "smollm2-135m-instruct", "--memory", "0.1"]) == 1
    assert "DOES NOT FIT" in capsys.readouterr().out
    [judged] = document(capsys, "qwen3-omni")
    assert (judged["verdict"], judged["hardware"]) == ("unknown", "here")


@pytest.mark.parametrize("on", [(), ("--on", "h100x8")])
def test_closed_weights_run_on_no_hardware_and_their_host_is_named(
    capsys: pytest.CaptureFixture[str], on: tuple[str, ...]
) -> None:
    assert run_command(["fit", "qwen3-max", *on]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "DOES NOT FIT qwen3-max on" in shown
    assert "Its weights are closed" in shown
    assert "Alibaba Cloud Model Studio" in shown
    assert "GGUF" not in shown


def test_a_model_that_writes_no_text_is_nothing_for_the_embedded_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "hunyuan3d-omni"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "the embedded engine writes text only" in shown
    assert "GGUF" not in shown
    assert document(capsys, "hunyuan3d-omni", "--on", "h100")["verdict"] == "fits"


def test_the_budget_of_the_project_here_counts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "changeover.toml").write_text('name = "o"\n[engines]\nmemory_gib = 0.25\n')
    [judged] = document(capsys, "smollm2-135m-instruct")
    assert judged["has_gib"] == 0.25
    assert judged["verdict"] == "no"


def test_what_fits_here_is_planned_in_a_project_that_was_started(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_project(tmp_path / "p")
    monkeypatch.chdir(directory)
    assert run_command(["fit", "smollm2-135m-instruct"]) == 0
    assert not (directory / ".changeover").exists()
    installation = open_written(directory)
    card = installation.catalogue.card("smollm2-135m-instruct")
    for arguments in (["--memory", "0.1"], ["--memory", "4"], ["--on", "h100"]):
        run_command(["fit", "smollm2-135m-instruct", *arguments])
    assert verified_here(installation, card).state == "declared"
    assert run_command(["fit", "smollm2-135m-instruct"]) == 0
    [planned] = verified_here(installation, card).reached
    assert (planned.state, planned.evidence["hardware"], planned.evidence["fit"]) == ("planned", "here", "fits")
    assert planned.evidence["needs_bytes"] < planned.evidence["has_bytes"]
    installation.store.close()
    assert "DOES NOT FIT" in capsys.readouterr().out


def test_a_store_that_cannot_be_used_takes_no_answer_away(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_project(tmp_path / "p")
    open_written(directory).store.close()
    database = next(directory.rglob("changeover.db"))
    database.write_bytes(b"no database at all, and long enough to be looked at " * 40)
    monkeypatch.chdir(directory)
    assert run_command(["fit", "smollm2-135m-instruct"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("FITS")
    assert "not written down" in " ".join(shown.err.split())


def test_memory_that_the_library_does_not_know_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "gemma-3-27b-it", "--on", "apple-unified"]) == 3
    assert "how much memory `apple-unified` has" in capsys.readouterr().out
    judged = document(capsys, "gemma-3-27b-it", "--on", "apple-unified", "--memory", "64", "--quantisation", "Q4_K_M")
    assert (judged["verdict"], judged["engine"], judged["has_gib"]) == ("fits", "llama.cpp", 48.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["deepseek-r2"], "No card named `deepseek-r2`"),
        (["deepseek-r1", "--on", "h10x8"], "No accelerator named `h10`"),
        (["deepseek-r1", "--on", "h100x0"], "asks for 0 cards"),
    ],
)
def test_what_nobody_knows_is_one_clear_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run_command(["fit", *arguments]) not in (0, 3)
    captured = capsys.readouterr()
    assert said in " ".join(captured.err.split())
    assert captured.out == ""


@pytest.mark.parametrize("width", [180, 100, 80, 50])
def test_no_line_but_the_command_is_wider_than_the_terminal(width: int) -> None:
    catalogue = Catalogue.load()
    hardware = parse_hardware("kunlun-p800x16", catalogue)
    lines = fit_lines(fit(catalogue.card("deepseek-r1"), hardware.accelerator, hardware.count), width)
    assert lines[-1].plain.startswith("  command       python -m vllm")
    assert max(line.cell_len for line in lines[:-1]) <= width
