"""The bill of materials: valid by CycloneDX's own schema, and what stands in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tests.support.cards import card, catalogue

from changeover.library.artifacts import Artifact
from changeover.library.catalogue import Catalogue
from changeover.library.licences.bom import bill_of_materials, check

NOW = datetime(2026, 11, 30, tzinfo=UTC)
LIBRARY = Catalogue.load()
QIANFAN = card(
    "qianfan-vl-8b",
    vendor="Baidu",
    base="meta-llama/Llama-3.1-8B",
    repositories=("baidu/Qianfan-VL-8B",),
    modalities_in=("text", "image"),
    scenarios=("ocr",),
    artifacts=(
        Artifact.model_validate(
            {
                "format": "gguf",
                "quantisation": "Q4_K_M",
                "size_bytes": 10,
                "sha256": "a" * 64,
                "sources": [{"repository": "baidu/Qianfan-VL-8B", "revision": "b" * 40, "file": "model.gguf"}],
            }
        ),
    ),
)
KIMI = card("kimi-k2-instruct", "kimi-k2-modified-mit", vendor="Moonshot AI")


def written(*models: Any) -> dict[str, dict[str, Any]]:
    document = json.loads(bill_of_materials(models, catalogue(*models), at=NOW))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    return {component["bom-ref"]: component for component in document["components"]}


def test_every_card_of_the_library_makes_a_valid_bill() -> None:
    text = bill_of_materials(LIBRARY.cards(), LIBRARY, at=NOW)
    assert check(text) is None
    assert len(json.loads(text)["components"]) == len(LIBRARY.cards())


def test_the_check_finds_what_is_wrong() -> None:
    text = bill_of_materials([QIANFAN], catalogue(QIANFAN), at=NOW)
    said = check(text.replace('"machine-learning-model"', '"oracle"', 1))
    assert said is not None
    assert "oracle" in said


def test_an_address_may_be_in_any_script_and_must_be_one() -> None:
    text = bill_of_materials([QIANFAN], catalogue(QIANFAN), at=NOW)
    (repository, *_) = [line for line in text.splitlines() if '"url": "https://huggingface.co/' in line]
    assert check(text.replace(repository, '"url": "https://huggingface.co/百度/千帆"')) is None
    said = check(text.replace(repository, '"url": "https://huggingface.co/not an address"'))
    assert said is not None
    assert "not an address" in said


def test_a_model_has_its_supplier_licence_digests_ancestors_and_addresses() -> None:
    model = written(QIANFAN)["qianfan-vl-8b"]
    assert model["type"] == "machine-learning-model"
    assert model["supplier"]["name"] == "Baidu"
    assert model["version"] == "b" * 40
    assert [each["license"]["id"] for each in model["licenses"]] == ["MIT"]
    assert model["components"][0]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    [ancestor] = model["pedigree"]["ancestors"]
    assert ancestor["name"] == "meta-llama/Llama-3.1-8B"
    assert ancestor["licenses"][0]["license"]["name"] == "LicenseRef-llama-3.1"
    assert {each["type"] for each in model["externalReferences"]} == {"model-card", "distribution"}
    assert model["modelCard"]["modelParameters"]["inputs"] == [{"format": "text"}, {"format": "image"}]
    assert model["modelCard"]["considerations"] == {"useCases": ["ocr"]}


def test_a_licence_that_spdx_does_not_list_is_named() -> None:
    [licence] = written(KIMI)["kimi-k2-instruct"]["licenses"]
    assert licence["license"]["name"] == "LicenseRef-kimi-k2-modified-mit"
    assert licence["license"]["url"].startswith("https://github.com/MoonshotAI")


def test_the_same_cards_at_the_same_moment_give_the_same_text() -> None:
    models = (QIANFAN, KIMI)
    assert bill_of_materials(models, catalogue(*models), at=NOW) == bill_of_materials(
        models, catalogue(*models), at=NOW
    )
