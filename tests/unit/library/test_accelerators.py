"""The accelerators that ship: where each fact was read, and what must be known of the P800."""

from __future__ import annotations

import pytest

from changeover.core.sizes import GB, GIB
from changeover.library.accelerators import Accelerator
from changeover.library.catalogue import Catalogue
from changeover.library.fit.known import known_cards, limit_for

CATALOGUE = Catalogue.load()
UNSOURCED = {"id", "aliases", "sources", "unverified", "note"}
"""Names, our own words, and what brings its source with it."""
MIB_REPORTED = {
    # modal-labs/modal-client pull request 2797
    "t4": 15360,
    "a10": 23028,
    "l4": 23034,
    "l40s": 46068,
    "a100-40": 40960,
    "a100-80": 81920,
    "h100-80": 81559,
    # elsewhere, as the cards say
    "h200": 143771,
    "h800": 81559,
    "b200": 183359,
    "rtx-3090": 24576,
    "rtx-4090": 24564,
    "rtx-5090": 32607,
    "gaudi2": 98304,
    "gaudi3": 131072,
    "ascend-910b": 65536,
    "kunlun-p800": 98304,
}


@pytest.mark.parametrize("one", CATALOGUE.accelerators(), ids=lambda one: one.id)
def test_every_fact_of_an_accelerator_says_where_it_was_read(one: Accelerator) -> None:
    stated = {key for key in one.model_fields_set - UNSOURCED if getattr(one, key) not in (None, ())}
    sourced = {fact.split(".")[0] for source in one.sources for fact in source.facts}
    assert stated <= sourced
    assert sourced <= set(Accelerator.model_fields)


@pytest.mark.parametrize(("name", "mib"), MIB_REPORTED.items())
def test_memory_is_what_the_driver_reports_and_not_the_vendors_round_number(name: str, mib: int) -> None:
    memory = CATALOGUE.accelerator(name).memory_gib
    assert memory is not None
    assert round(memory * 1024) == mib


@pytest.mark.parametrize("one", CATALOGUE.accelerators(), ids=lambda one: one.id)
def test_what_is_not_known_is_null_and_named(one: Accelerator) -> None:
    for fact in ("memory_gib", "per_node", "bandwidth_gb_per_s", "power_w"):
        assert (getattr(one, fact) is None) == (fact in one.unverified), fact
    assert not set(one.native_formats) & set(one.unverified)


def test_no_two_accelerators_share_a_name() -> None:
    names = [name for one in CATALOGUE.accelerators() for name in (one.id, *one.aliases)]
    assert len(names) == len(set(names))


def test_the_p800_is_complete() -> None:
    p800 = CATALOGUE.accelerator("P800")
    assert (p800.memory_gib, p800.per_node, p800.power_w, p800.kind) == (96, 8, 400, "xpu")
    node = round((p800.memory_gib or 0) * GIB) * 8
    assert node // GIB == 768
    assert node / GB == pytest.approx(825, abs=1)
    assert {support.engine for support in p800.engines} == {"vllm-kunlun", "fastdeploy"}
    assert {recipe.engine for recipe in p800.recipes} == {"vllm-kunlun", "fastdeploy"}
    assert p800.detection.command == "xpu-smi"
    assert p800.detection.devices == ("/dev/xpu[0-9]*", "/dev/xpuctrl")
    assert p800.detection.pci_vendors == ("1d22", "2057")
    assert p800.detection.pci_devices == ("3686", "3687", "3688", "3689")
    assert "XFT_USE_FAST_SWIGLU=1" in p800.environment
    assert {"fp8", "teraflops", "price"} <= set(p800.unverified)
    assert "fp8" not in p800.native_formats
    said = " ".join(claim.words for claim in p800.claims)
    assert all(words in said for words in ("5,000 cards", "90%+", "30,000 cards"))


def test_known_limits_are_of_cards_that_the_library_has() -> None:
    assert known_cards() <= {card.id for card in CATALOGUE.cards()}


def test_a_limit_is_of_one_quantisation_where_it_says_so() -> None:
    card = CATALOGUE.card("minimax-m2")
    limit = limit_for(card, "FP8")
    assert limit is not None
    assert limit.max_tensor_parallel == 4
    assert limit_for(card, "nvfp4") is None
