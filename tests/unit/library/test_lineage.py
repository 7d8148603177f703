"""Who is of whose family, however a model is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from changeover.library.catalogue import Catalogue
from changeover.library.lineage import Model, families_of, find_card, kinship, plain_name

PACKAGED = Catalogue.load()
QWEN_WEIGHTS = PACKAGED.card("qwen2.5-coder-0.5b-instruct").artifacts[0].sha256

CARD = """
[[cards]]
id = "{id}"
display_name = "{id}"
family = "{family}"
vendor = "Somebody"
modalities_in = ["text"]
modalities_out = ["text"]
weights = "open"
sources = [{{ facts = ["everything"], at = "test", grade = "run", checked = 2026-11-21 }}]
[cards.licence]
id = "Apache-2.0"
in_package = false
[cards.lineage]
{lineage}
"""


@dataclass
class Cards:
    directory: Path

    def of(self, *cards: tuple[str, str, str]) -> Catalogue:
        """A catalogue of the packaged cards and of these: id, family, lineage."""
        text = "".join(CARD.format(id=id, family=family, lineage=lineage) for id, family, lineage in cards)
        (self.directory / "own.toml").write_text(text)
        return Catalogue.load(self.directory)


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    return Cards(tmp_path)


def relation(one: str, other: str, catalogue: Catalogue = PACKAGED) -> str:
    found = kinship(catalogue, Model(name=one), Model(name=other))
    assert found.relation == kinship(catalogue, Model(name=other), Model(name=one)).relation, "it has no direction"
    return found.relation


@pytest.mark.parametrize(
    "name",
    [
        "qwen2.5-coder-0.5b-instruct",
        "Qwen/Qwen2.5-Coder-0.5B-Instruct",
        "Qwen2.5-Coder 0.5B Instruct",
        "Qwen2.5-Coder-0.5B-Instruct-GGUF",
        "Qwen/Qwen2.5-Coder-0.5B-Instruct-AWQ",
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        "/srv/models/Qwen2.5-Coder-0.5B-Instruct-IQ3_XXS.gguf",
        "Qwen2.5_Coder_0.5B_Instruct-fp16-00001-of-00002.gguf",
    ],
)
def test_a_model_is_known_under_all_of_its_names(name: str) -> None:
    assert relation(name, "qwen2.5-coder-0.5b-instruct") == "same"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("qwen2.5-coder-0.5b-instruct", "Qwen/Qwen2.5-7B-Instruct", "kin"),
        ("qwen2.5-coder-0.5b-instruct", "Qwen3-Next-80B-A3B-Instruct-FP8", "kin"),
        ("QwQ-32B", "qwen2.5-coder-1.5b-instruct", "kin"),
        ("qwen3:8b", "Qwen/Qwen2.5-7B-Instruct", "kin"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "qwen2.5-coder-1.5b-instruct", "kin"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "deepseek-ai/DeepSeek-V3.1", "kin"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "meta-llama/Llama-3.1-8B-Instruct", "none"),
        ("DeepSeek-R1-Distill-Llama-8B", "Llama-3.3-70B-Instruct", "kin"),
        ("baidu/Qianfan-VL-8B", "meta-llama/Llama-3.1-8B", "kin"),
        ("baidu/Qianfan-VL-3B", "meta-llama/Llama-3.1-8B", "none"),
        ("vicuna-13b-v1.5", "llama-2-7b-chat", "kin"),
        ("HuggingFaceH4/zephyr-7b-beta", "mistralai/Mixtral-8x7B-Instruct-v0.1", "kin"),
        ("smollm2-135m-instruct", "gemma-3-270m", "none"),
        ("gemma-3-270m", "google/gemma-4-E2B-it", "kin"),
        ("openai/gpt-oss-20b", "zai-org/GLM-4.6", "none"),
        ("phi-4", "philosopher", "unknown"),
        ("house-model", "qwen2.5-coder-0.5b-instruct", "unknown"),
        ("house-model", "other-model", "unknown"),
        ("house-model", "House-Model", "same"),
        ("llama-server", "llama-3.1-8b", "unknown"),
        ("/srv/llama/models/phi-4.gguf", "llama-3.1-8b", "none"),
    ],
)
def test_kinship_by_name(one: str, other: str, expected: str) -> None:
    assert relation(one, other) == expected


def test_equal_weights_are_one_model_whatever_it_is_called() -> None:
    found = kinship(PACKAGED, Model(name="alpha", weights="ab" * 32), Model(name="beta", weights="ab" * 32))
    assert (found.relation, found.related) == ("same", True)
    assert kinship(PACKAGED, Model(name="alpha"), Model(name="beta")).relation == "unknown", "none is not equal to none"


def test_a_known_digest_tells_the_family_of_a_name_that_says_nothing() -> None:
    served = Model(name="summariser-prod", weights=QWEN_WEIGHTS)
    assert kinship(PACKAGED, served, Model(name="Qwen/Qwen3-32B")).relation == "kin"
    assert kinship(PACKAGED, served, Model(name="smollm2-135m-instruct")).relation == "none"
    assert families_of(PACKAGED, served) == ("Qwen",)


def test_what_was_made_from_a_model_is_its_kin_even_under_another_name(cards: Cards) -> None:
    catalogue = cards.of(
        ("house-base", "house", 'base = "Qwen/Qwen2.5-7B"'), ("house-tuned", "other", 'derived_from = "house-base"')
    )
    assert relation("house-tuned", "house-base", catalogue) == "kin"
    assert relation("house-tuned", "qwen2.5-coder-0.5b-instruct", catalogue) == "kin", "by its grandparent"
    assert relation("house-tuned", "smollm2-135m-instruct", catalogue) == "none"


def test_a_successor_is_kin_although_its_family_is_called_otherwise(cards: Cards) -> None:
    catalogue = cards.of(("first-line", "first", 'successor = "second-line"'), ("second-line", "second", ""))
    assert relation("first-line", "second-line", catalogue) == "kin"


def test_versions_of_a_family_that_only_a_card_knows_are_kin(cards: Cards) -> None:
    catalogue = cards.of(("acme-small", "acme1", ""), ("acme-large", "acme2-pro", ""), ("zenith-1", "zenith", ""))
    assert relation("acme-small", "acme-large", catalogue) == "kin"
    assert relation("acme-small", "zenith-1", catalogue) == "none"


def test_the_reason_names_the_family() -> None:
    found = kinship(PACKAGED, Model(name="DeepSeek-R1-0528-Qwen3-8B"), Model(name="DeepSeek-Math-Qwen-7B"))
    assert found.reason == "both are of the DeepSeek and the Qwen family"
    distilled = kinship(PACKAGED, Model(name="DeepSeek-R1-Distill-Qwen-7B"), Model(name="DeepSeek-R1-Distill-Llama-8B"))
    assert distilled.reason == "both go back to `deepseek-r1`"
    unknown = kinship(PACKAGED, Model(name="house-model"), Model(name="gemma-3-270m"))
    assert unknown.reason == "no family is known of `house-model`"


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("tencent/HunyuanImage-3.0", "hunyuan-image-3.0"),
        ("MiniMaxAI/MiniMax-M1-80k", "minimax-m1"),
        ("meta-llama/Meta-Llama-3.1-8B", "llama-3.1-8b"),
        ("baidu-qianfan/Qianfan-VL-8B", "qianfan-vl-8b"),
        ("google/gemma-4-E2B-it", "gemma-4-e2b-it"),
        ("openai/gpt-oss-20b", "gpt-oss-20b"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-r1-0528"),
        ("zai-org/GLM-4.6-FP8", "glm-4.6"),
        ("GLM-4.6-UD-Q4_K_XL.gguf", "glm-4.6"),
    ],
)
def test_a_card_is_found_by_the_name_of_its_repository_on_a_hub(name: str, id: str) -> None:
    card = find_card(PACKAGED, Model(name=name))
    assert card is not None
    assert card.id == id


def test_a_lineage_may_name_an_ancestor_by_its_repository(cards: Cards) -> None:
    catalogue = cards.of(("house-tuned", "house", 'base = "meta-llama/Meta-Llama-3.1-8B"'))
    assert relation("house-tuned", "deepseek-r1-distill-llama-8b", catalogue) == "kin"
    assert relation("house-tuned", "deepseek-r1", catalogue) == "none"


def test_a_card_s_own_name_counts_before_a_repository_that_another_card_lists(cards: Cards) -> None:
    text = CARD.format(id="aa-other", family="house", lineage="").replace(
        'weights = "open"', 'weights = "open"\nrepositories = ["somebody/house-1"]'
    )
    (cards.directory / "other.toml").write_text(text)
    card = find_card(cards.of(("house-1", "house", "")), Model(name="somebody/house-1"))
    assert card is not None
    assert card.id == "house-1"


@pytest.mark.parametrize("card", PACKAGED.cards(), ids=lambda card: card.id)
def test_every_packaged_card_is_of_a_family_of_the_table(card: object) -> None:
    assert families_of(PACKAGED, Model(name=getattr(card, "id")))  # noqa: B009 - the table of cases is not typed


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("C:\\models\\Phi-4-Q8_0.gguf", "phi-4"),
        ("org/Model_Name-bnb-4bit", "model-name"),
        ("Meta-Llama-3.1-8B-Instruct-UD-Q4_K_XL.gguf", "meta-llama-3.1-8b-instruct"),
        ("", ""),
    ],
)
def test_plain_names(name: str, plain: str) -> None:
    assert plain_name(name) == plain
