"""Who may judge whom."""

from __future__ import annotations

import re

import pytest

from changeover.core.errors import JudgeError
from changeover.evals.judges.kinship import check_judge
from changeover.library.catalogue import Catalogue
from changeover.serving.bundles import Bundle
from changeover.serving.parts import EnginePart
from changeover.serving.variants import Variant

CATALOGUE = Catalogue.load()


def variant(deployment: str, model: str, weights: str | None = None) -> Variant:
    engine = EnginePart(
        backend="openai", engine=None, engine_version=None, model=model, weights_digest=weights, flags={}
    )
    bundle = Bundle(engine=engine, prompt_name="p", prompt="", parameters={})
    return Variant.of("t", deployment, bundle)


JUDGE = variant("big-judge", "Qwen/Qwen2.5-72B-Instruct")


@pytest.mark.parametrize(
    ("arm", "reason"),
    [
        (variant("old", "qwen2.5-coder-0.5b-instruct"), "both are of the Qwen family"),
        (variant("old", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"), "both are of the Qwen family"),
        (variant("old", "qwen2.5-72b-instruct-q4_k_m.gguf"), "they are one model"),
    ],
)
def test_a_judge_of_the_family_is_refused_with_both_names_and_what_to_do(arm: Variant, reason: str) -> None:
    said = (
        f"`big-judge` (Qwen/Qwen2.5-72B-Instruct), which answers `judge`, may not judge `old` "
        f"({arm.bundle.engine.model}): {reason}. Switch `judge` to a model of another family."
    )
    with pytest.raises(JudgeError, match=re.escape(said)):
        check_judge(CATALOGUE, "judge", JUDGE, arm)


def test_the_same_weights_are_refused_under_any_names() -> None:
    judge, arm = (variant(name, name, "ab" * 32) for name in ("fair-judge", "candidate"))
    with pytest.raises(JudgeError, match="their weights are the same files"):
        check_judge(CATALOGUE, "judge", judge, arm)


def test_a_stranger_may_judge_and_what_is_not_known_is_said() -> None:
    assert check_judge(CATALOGUE, "judge", JUDGE, variant("new", "smollm2-135m-instruct")) is None
    said = check_judge(CATALOGUE, "judge", JUDGE, variant("new", "house-model"))
    assert said is not None
    assert said.startswith("Whether `big-judge`, which answers `judge`, is related to `new` is not known: no family")


def test_the_engine_without_a_model_is_nobodys_kin() -> None:
    assert check_judge(CATALOGUE, "judge", variant("echo", "echo"), variant("echo", "echo")) is None
