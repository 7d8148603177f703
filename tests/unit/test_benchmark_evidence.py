"""The evidence benchmark runs, says what it promises to say, and can tell a promise that is not met."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from benchmarks.evidence import __main__ as command
from benchmarks.evidence import banking77, grid, pools
from benchmarks.evidence.replays import PLAN, Pair, forced, replay, summarise

TINY = command.Amounts(grid=20, peers=20, banking77=2, pools=pools.Amount(pairs=2, orders=1, forced=2))


@pytest.fixture(scope="module")
def report() -> dict[str, object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "SIMULATED_ITEMS", 400)
        made = command.run(TINY, real=False)
    return json.loads(json.dumps(made))


def test_the_report_has_every_part_that_readers_rely_on(report: dict[str, object]) -> None:
    assert {
        "margin",
        "alpha",
        "beta",
        "replications",
        "seconds",
        "grid",
        "peers",
        "false_go",
        "power_at_equality",
    } <= set(report)
    rows = report["grid"]
    assert isinstance(rows, list)
    assert len(rows) == 33
    assert {(row["correlation"], row["delta"]) for row in rows} == {
        (c, d) for c in grid.CORRELATIONS for d in grid.DELTAS
    }
    assert all(row["mean_calls_over_fixed_n"] > 0.0 for row in rows)
    assert all((row["information_limit_over_fixed_n"] is None) == (row["delta"] == -1) for row in rows)
    assert report["false_go"] == max(row["go"] for row in rows if row["delta"] <= -2)
    assert report["power_at_equality"] == min(row["go"] for row in rows if row["delta"] == 0)


def test_peers_ran_on_the_same_grid(report: dict[str, object]) -> None:
    rows = report["peers"]
    assert isinstance(rows, list)
    assert [(row["method"], row["correlation"]) for row in rows] == [
        (m, c) for m in grid.PEERS for c in grid.CORRELATIONS
    ]
    assert all(row["mean_calls_over_fixed_n"] == 1.0 for row in rows if row["method"] == "fixed N")


def test_covariates_are_reported_for_each_kind_of_pair_and_both_forms(report: dict[str, object]) -> None:
    rows = report["covariates"]
    assert isinstance(rows, list)
    assert {row["pairs"] for row in rows} == {"as they are", "equal", "null"}
    assert {"plain", "dataset, 8 models", "population, 1 partner", "population, 3 partners"} <= {
        row["test"] for row in rows
    }
    assert all(row["go"] + row["no_go"] + row["undecided"] == pytest.approx(1.0) for row in rows)
    assert all(row["false_go"] == row["go"] for row in rows if row["pairs"] == "null")


def test_what_was_not_fetched_is_said(report: dict[str, object]) -> None:
    assert report["banking77"] == {"skipped": "not asked for", "rows": []}


def test_each_promise_is_held_against_what_was_measured(report: dict[str, object]) -> None:
    promises = report["targets"]
    assert isinstance(promises, list)
    assert len(promises) == 6 + 2 + 2 * 3
    worse = [grid.Row(0.3, -2.0, 4796, 1.0, 1.0, 3.0, 0.5, 0.5), grid.Row(0.3, 0.0, 4796, 1.0, 1.0, 3.0, 0.1, 0.5)]
    rows = [*worse, *(grid.Row(c, 0.0, 100, 1.0, 1.0, 0.1, 0.95, 0.1) for c in (0.6, 0.9))]
    found = {target.name: target.met for target in command.targets(rows, [], command.FULL)}
    assert not found["calls over fixed N, correlation 0.3"]
    assert not found["calls over information limit, correlation 0.3"]
    assert not found["false go, worst"]
    assert not found["power at equality"]
    assert found["calls over fixed N, correlation 0.9"]


def test_the_tables_can_be_printed(report: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    command.show(report)
    printed = capsys.readouterr().out
    assert "repeated looks" in printed
    assert "Banking77 is left out: not asked for" in printed


def test_a_pip_that_fails_leaves_banking77_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHANGEOVER_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", f"file://{tmp_path}/nowhere")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(banking77.Unavailable, match="illate-parity"):
        banking77.fetch()
    assert list((tmp_path / "benchmarks").iterdir()) == []


def test_predictions_are_read_from_the_archive_alone(tmp_path: Path) -> None:
    archive = tmp_path / "sdist.tar.gz"
    files = {
        "test": [
            {"id": "a", "text": "Where is my card?", "label": "card"},
            {"id": "b", "text": "Top up", "label": "topup"},
        ],
        "tfidf.preds": [{"id": "a", "label": "card"}, {"id": "b", "label": "card"}],
        "qwen3-4b-lora.preds": [{"id": "a", "label": "card"}, {"id": "b", "label": "topup"}],
    }
    with tarfile.open(archive, "w:gz") as opened:
        for name, lines in files.items():
            content = "".join(json.dumps(line) + "\n" for line in lines).encode()
            info = tarfile.TarInfo(f"{banking77.FOLDER}/{name}.jsonl")
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    texts, labels, right = banking77.read(archive)
    assert (texts[1], labels) == ("Top up", ["card", "topup"])
    assert right.tolist() == [[1.0, 0.0], [1.0, 1.0]]


def test_tiny_classifiers_learn_what_words_give_away() -> None:
    texts = [f"my {thing} is lost number {number}" for number in range(30) for thing in ("card", "phone")]
    right = banking77.tiny_classifiers(texts, ["card", "phone"] * 30)
    assert right.shape == (6, 60)
    assert np.all(right.mean(axis=1) > 0.9)


@pytest.mark.parametrize("delta", [-0.02, 0.0, 0.1])
def test_forcing_a_difference_changes_as_few_items_as_it_can(delta: float) -> None:
    random = np.random.default_rng(1)
    pair = Pair(random.random(300), random.random(300), np.zeros((0, 300)))
    made = forced(pair, delta, random)
    assert made.delta == pytest.approx(delta)
    assert np.all((made.candidate >= 0.0) & (made.candidate <= 1.0))
    assert 0 < np.count_nonzero(made.candidate != pair.candidate) < 120


def test_a_replay_reports_what_the_test_did() -> None:
    random = np.random.default_rng(2)
    right = (random.random((4, 500)) < 0.8).astype(float)
    pair = forced(Pair(right[0], right[1], right[2:]), 0.1, random)
    runs = [replay(pair, about, random) for about in (None, "dataset")]
    summary = summarise("some", "both", "as they are", runs)
    assert [run.verdict for run in runs] == ["pass", "pass"]
    assert (summary.runs, summary.go, summary.power, summary.false_go) == (2, 1.0, 1.0, None)
    assert summary.mean_calls_over_fixed_n == pytest.approx(sum(run.samples for run in runs) / 2 / pair.n_fix)
    assert PLAN.margin == 0.02
