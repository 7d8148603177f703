"""The cards that ship: every model that the mission names answers, and what a card says is what its sources said."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date

import pytest

from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.facts import Figure
from changeover.library.licences.terms import ExcludedTerritory, LicenceTerms, Size
from changeover.library.lineage import Model as Named
from changeover.library.lineage import card_named
from changeover.library.successors import successors, unfit

SHIPPED = Catalogue.load()
INDEX = "Artificial Analysis Intelligence Index"

NAMED = [
    "qwen3-max",
    "qwen3-next-80b-a3b-instruct",
    "qwen3-next-80b-a3b-thinking",
    "qwen3-vl-235b-a22b-instruct",
    "qwen3-vl-235b-a22b-thinking",
    "qwen3-coder-480b-a35b-instruct",
    "qwen3-235b-a22b-instruct-2507",
    "qwen3-235b-a22b-thinking-2507",
    "qwen3-omni",
    "wan2.5-preview",
    "tongyi-bailing",
    "hunyuan-image-3.0",
    "hunyuan3d-omni",
    "hunyuan3d-part",
    "qianfan-vl-3b",
    "qianfan-vl-8b",
    "qianfan-vl-70b",
    "deepseek-r1",
    "deepseek-r1-distill-qwen-1.5b",
    "deepseek-r1-distill-qwen-7b",
    "deepseek-r1-distill-qwen-14b",
    "deepseek-r1-distill-qwen-32b",
    "deepseek-r1-distill-llama-8b",
    "deepseek-r1-distill-llama-70b",
    "deepseek-v3.1",
    "deepseek-v3.2-exp",
    "kimi-k2-instruct",
    "kimi-k2-thinking",
    "glm-4.5",
    "glm-4.6",
    "glm-4.5-air",
    "minimax-m1",
    "minimax-m2",
    "gpt-oss-120b",
    "gpt-oss-20b",
    "gemma-3-27b-it",
    "gemma-4-e2b-it",
    "gemma-4-31b-it",
]
RUN_HERE = ("gemma-3-270m", "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct", "smollm2-135m-instruct")


def every_card() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("card", SHIPPED.cards(), ids=lambda card: card.id)


def figure(card_id: str, version: str, variant: str | None = None) -> float:
    """The card's value on a version of the index."""
    found = [one for one in SHIPPED.card(card_id).figures if (one.index, one.version) == (INDEX, version)]
    return next(one.value for one in found if variant is None or one.variant == variant)


def ancestors(card: Card) -> list[str]:
    """Ids of everything a card was made from, by its base first."""
    found: list[str] = []
    for name in (card.lineage.base, card.lineage.derived_from):
        ancestor = card_named(SHIPPED, name) if name else None
        if ancestor is not None:
            found += [ancestor.id, *ancestors(ancestor)]
    return found


@pytest.mark.parametrize("card_id", [*NAMED, *RUN_HERE])
def test_a_model_that_somebody_asks_for_has_a_card(card_id: str) -> None:
    assert SHIPPED.card(card_id).sources


def test_every_licence_that_a_card_names_is_declared() -> None:
    named: set[str] = set()
    for terms in (card.licence for card in SHIPPED.cards()):
        if terms is not None:
            named |= {terms.id, *terms.also, *(former.id for former in terms.former)}
    assert sorted(name for name in named if SHIPPED.licence(name) is None) == []


@every_card()
def test_a_licence_that_nobody_found_is_said_to_be_missing(card: Card) -> None:
    assert card.licence is not None or "licence" in card.unverified


@every_card()
def test_what_is_said_to_be_unverified_is_not_stated_all_the_same(card: Card) -> None:
    for name in card.unverified:
        if name in Card.model_fields:
            assert getattr(card, name) in (None, (), {}), name


@every_card()
def test_a_card_names_its_ancestors_by_the_ids_of_their_cards(card: Card) -> None:
    for name in (card.lineage.base, card.lineage.derived_from, card.lineage.successor):
        known = card_named(SHIPPED, name) if name else None
        assert known is None or known.id == name, f"`{name}` has the card `{known.id}`: use its id"


@every_card()
def test_what_answers_people_says_what_it_is_for(card: Card) -> None:
    base = card.scenarios == () and unfit(card) == "it is a base model, which follows no conversation"
    assert base or not card.modalities_out or card.scenarios


@every_card()
def test_one_version_of_an_index_has_one_value_for_what_was_measured(card: Card) -> None:
    by_what: dict[tuple[str, str | None, str | None, str], list[Figure]] = defaultdict(list)
    for one in card.figures:
        by_what[one.index, one.version, one.variant, one.source].append(one)
    assert all(len(found) == 1 for found in by_what.values())


def test_a_versioned_index_is_never_quoted_without_its_version() -> None:
    quoted = [one for card in SHIPPED.cards() for one in card.figures if one.index == INDEX]
    assert {one.version for one in quoted} == {"2", "2.2", "3.0", "4.0"}
    for one in quoted:
        if one.as_of is not None:
            first = {"2": (2025, 2), "2.2": (2025, 8), "3.0": (2025, 9), "4.0": (2026, 1)}[one.version or ""]
            assert (one.as_of.year, one.as_of.month) >= first, "that version was not there yet"


def test_qwen3_was_better_than_gpt_oss_and_one_version_later_it_was_not() -> None:
    assert figure("qwen3-235b-a22b-thinking-2507", "2.2") == 64 > figure("gpt-oss-120b", "2.2") == 58
    assert figure("qwen3-235b-a22b-thinking-2507", "3.0") == 57.5 < figure("gpt-oss-120b", "3.0") == 60.5
    for card_id in ("qwen3-235b-a22b-thinking-2507", "gpt-oss-120b"):
        (claim,) = [one for one in SHIPPED.card(card_id).claims if "is better than gpt-oss" in one.words]
        assert claim.checkable
        assert claim.found is not None
        assert "64 and 58" in claim.found or "gpt-oss-120b 58" in claim.found
        assert "57.5 and 60.5" in claim.found


def test_qianfan_grows_with_its_size_on_every_row_that_lists_all_three_sizes() -> None:
    readme = [
        {one.index: one.value for one in SHIPPED.card(f"qianfan-vl-{size}b").figures if "README" in one.source}
        for size in (3, 8, 70)
    ]
    small, middle, large = readme
    rows = small.keys() & middle.keys() & large.keys()
    assert len(rows) == 18
    assert all(small[row] < middle[row] < large[row] for row in rows)
    assert len(middle.keys() & large.keys()) == 18 + 7
    assert (small["OCRBench"], middle["OCRBench"], large["OCRBench"]) == (831, 854, 873)


@pytest.mark.parametrize(
    ("card_id", "parameters", "active", "context", "released"),
    [
        ("qwen3-max", None, None, 262_144, "2025-09-23"),
        ("qwen3-next-80b-a3b-instruct", 80, 3, 262_144, "2025-09-11"),
        ("qwen3-vl-235b-a22b-thinking", 235, 22, 262_144, "2025-09-23"),
        ("qwen3-coder-480b-a35b-instruct", 480, 35, 262_144, "2025-07-23"),
        ("qwen3-235b-a22b-instruct-2507", 235, 22, 262_144, "2025-07-21"),
        ("hunyuan-image-3.0", 80, 13, None, "2025-09-28"),
        ("hunyuan3d-omni", 3.3, None, None, "2025-09-26"),
        ("hunyuan3d-part", None, None, None, "2025-09-26"),
        ("qianfan-vl-70b", 70, None, 32_768, "2025-09-22"),
        ("deepseek-r1", 671, 37, 163_840, "2025-01-20"),
        ("deepseek-v3.2-exp", 671, 37, 163_840, "2025-09-29"),
        ("kimi-k2-instruct", 1000, 32, 131_072, "2025-07-11"),
        ("kimi-k2-thinking", 1000, 32, 262_144, "2025-11-06"),
        ("glm-4.5", 355, 32, 131_072, "2025-07-28"),
        ("glm-4.6", 357, 32, 202_752, "2025-09-30"),
        ("minimax-m1", 456, 45.9, 1_000_000, "2025-06"),
        ("minimax-m2", 230, 10, 196_608, "2025-10-27"),
        ("gpt-oss-120b", 116.8, 5.1, 131_072, "2025-08-05"),
        ("gpt-oss-20b", 20.9, 3.6, 131_072, "2025-08-05"),
        ("gemma-3-27b-it", 27, None, 131_072, "2025-03"),
        ("gemma-4-e2b-it", 5, None, 131_072, "2026-04-02"),
        ("qwen3-omni", None, None, None, None),
    ],
)
def test_sizes_and_dates_are_those_of_the_sources(
    card_id: str, parameters: float | None, active: float | None, context: int | None, released: str | None
) -> None:
    card = SHIPPED.card(card_id)
    assert (card.parameters_b, card.active_parameters_b) == (parameters, active)
    assert (card.context_tokens, card.released_on) == (context, released)


@pytest.mark.parametrize(
    ("card_id", "memory"),
    [
        ("qwen3-next-80b-a3b-thinking", {"bf16": 192, "fp8": 96, "nvfp4": 48}),
        ("qwen3-vl-235b-a22b-instruct", {"bf16": 564, "fp8": 282, "nvfp4": 141}),
        ("hunyuan3d-omni", {"fp16": 10}),
        ("deepseek-r1", {"fp8": 805, "nvfp4": 403}),
        ("kimi-k2-instruct", {"fp8": 1200}),
        ("kimi-k2-thinking", {"int4": 600}),
        ("glm-4.6", {"bf16": 857, "fp8": 428}),
        ("minimax-m2", {"fp8": 276, "nvfp4": 138}),
        ("gpt-oss-120b", {"mxfp4": 96}),
        ("gpt-oss-20b", {"mxfp4": 16}),
        ("gemma-4-31b-it", {"bf16": 75, "fp8": 38, "nvfp4": 19, "int4": 20}),
        ("qianfan-vl-70b", {}),
        ("hunyuan3d-part", {}),
    ],
)
def test_memory_is_what_was_published_and_absent_where_nothing_was(card_id: str, memory: dict[str, float]) -> None:
    assert {one.quantisation: one.minimum_gb for one in SHIPPED.card(card_id).memory} == memory


@every_card()
def test_memory_holds_at_least_the_weights(card: Card) -> None:
    bits = {"bf16": 16, "fp16": 16, "fp8": 8, "int8": 8, "nvfp4": 4, "mxfp4": 4, "int4": 4}
    for one in card.memory:
        assert card.parameters_b is not None
        assert one.minimum_gb >= 0.9 * card.parameters_b * bits[one.quantisation] / 8, one.quantisation


@pytest.mark.parametrize(
    ("card_id", "layers", "attending", "sliding", "heads", "dimension", "latent"),
    [
        ("deepseek-r1", 61, None, 0, None, None, 576),
        ("deepseek-v3.2-exp", 61, None, 0, None, None, 576),
        ("kimi-k2-instruct", 61, None, 0, None, None, 576),
        ("kimi-k2-thinking", 61, None, 0, None, None, 576),
        ("qwen3-coder-480b-a35b-instruct", 62, None, 0, 8, 128, None),
        ("glm-4.6", 92, None, 0, 8, 128, None),
        ("glm-4.5-air", 46, None, 0, 8, 128, None),
        ("qianfan-vl-70b", 80, None, 0, 8, 128, None),
        ("qianfan-vl-8b", 32, None, 0, 8, 128, None),
        ("deepseek-r1-distill-llama-70b", 80, None, 0, 8, 128, None),
        ("gpt-oss-20b", 24, None, 12, 8, 64, None),
        ("gpt-oss-120b", 36, None, 18, 8, 64, None),
        ("qwen3-next-80b-a3b-instruct", 48, 12, 0, 2, 256, None),
        ("gemma-3-27b-it", 62, None, 52, 16, 128, None),
        ("qwen2.5-coder-0.5b-instruct", 24, None, 0, 2, 64, None),
        ("smollm2-135m-instruct", 30, None, 0, 3, 64, None),
    ],
)
def test_shapes_are_those_of_the_configurations(
    card_id: str,
    layers: int,
    attending: int | None,
    sliding: int,
    heads: int | None,
    dimension: int | None,
    latent: int | None,
) -> None:
    shape = SHIPPED.card(card_id).architecture.shape
    assert shape is not None
    assert (shape.layers, shape.attention_layers, shape.sliding_layers) == (layers, attending, sliding)
    assert (shape.kv_heads, shape.head_dimension, shape.kv_latent_dimension) == (heads, dimension, latent)
    assert (shape.sliding_window_tokens is not None) == (sliding > 0)


def anybody_may_modify(terms: LicenceTerms) -> bool:
    """Whether a licence lets anybody change the weights and use the result, without asking or paying."""
    asks = any(
        isinstance(each, ExcludedTerritory) or (isinstance(each, Size) and each.then != "display-name")
        for each in terms.conditions
    )
    return bool(terms.free_to_modify) and terms.commercial_use is True and not asks


def test_what_cards_say_of_modifying_and_what_their_licences_say_is_the_same() -> None:
    for card in SHIPPED.cards():
        if card.free_to_modify is None:
            continue
        assert card.licence is not None, card.id
        terms = [SHIPPED.licence(name) for name in (card.licence.id, *card.licence.also)]
        known = [each for each in terms if each is not None]
        assert len(known) == len(terms), f"{card.id}: nobody can say so of a licence that is not known"
        assert card.free_to_modify == all(map(anybody_may_modify, known)), card.id


def test_a_vendor_has_one_name_on_all_of_its_cards() -> None:
    names = {card.vendor for card in SHIPPED.cards()}
    without_part = Counter(name.partition(" (")[0].casefold() for name in names)
    assert [name for name, count in without_part.items() if count > 1] == []


def test_a_distillation_goes_back_to_what_it_was_made_from() -> None:
    ends = {"deepseek-r1-distill-llama-8b": "llama-3.1-8b", "deepseek-r1-distill-llama-70b": "llama-3.3-70b-instruct"}
    for card_id, base in ends.items():
        assert ancestors(SHIPPED.card(card_id)) == [base, "deepseek-r1", "deepseek-v3-base"]
        assert SHIPPED.card(base).licence_id in ("llama-3.1", "llama-3.3")
    assert ancestors(SHIPPED.card("deepseek-r1-distill-qwen-7b"))[0] == "qwen2.5-math-7b"


def test_mit_in_the_repository_does_not_hide_what_qianfan_is_built_on() -> None:
    bases = {3: ("qwen2.5-3b", "qwen-research"), 8: ("llama-3.1-8b", "llama-3.1"), 70: ("llama-3.1-70b", "llama-3.1")}
    for size, (base, licence) in bases.items():
        card = SHIPPED.card(f"qianfan-vl-{size}b")
        assert card.licence_id == "MIT"
        assert card.free_to_modify is None
        assert ancestors(card) == [base]
        assert SHIPPED.card(base).licence_id == licence


def test_minimax_m2_was_under_mit_until_it_was_not() -> None:
    terms = SHIPPED.card("minimax-m2").licence
    assert terms is not None
    assert (terms.id, terms.since) == ("minimax-m2-modified-mit", date(2025, 11, 13))
    assert [(former.id, former.until) for former in terms.former] == [("MIT", date(2025, 11, 13))]


def test_the_engine_that_dropped_minimax_m1_is_said() -> None:
    (engine,) = SHIPPED.card("minimax-m1").engines
    assert (engine.engine, engine.until) == ("vllm", "0.23.0")


def test_what_runs_foreign_code_is_said() -> None:
    remote = {card.id for card in SHIPPED.cards() if card.architecture.remote_code}
    assert {"hunyuan-image-3.0", "qianfan-vl-8b", "minimax-m1", "kimi-k2-instruct", "hunyuan3d-omni"} <= remote
    assert not remote & {"gpt-oss-20b", "glm-4.6", "gemma-3-27b-it", "deepseek-r1-distill-qwen-7b"}
    assert [card.id for card in SHIPPED.cards() if card.architecture.pickle] == ["hunyuan3d-omni"]


def test_a_hosted_id_says_whether_it_stays_what_it_is() -> None:
    (reasoner,) = SHIPPED.card("deepseek-r1").hosted
    assert (reasoner.id, reasoner.pin) == ("deepseek-reasoner", "alias")
    assert reasoner.now is not None
    assert reasoner.prices == (), "its price is that of the model which answers now"
    international, mainland = SHIPPED.card("qwen3-max").hosted
    assert international.snapshots == ("qwen3-max-2025-09-23", "qwen3-max-2026-01-23")
    assert [price.input_usd_per_million_tokens for price in international.prices] == [1.2]
    assert [price.output_usd_per_million_tokens for price in mainland.prices] == [3.441]
    assert SHIPPED.card("kimi-k2-instruct").hosted[0].pin == "snapshot"


def test_only_what_cannot_be_downloaded_is_closed() -> None:
    assert [card.id for card in SHIPPED.cards() if card.weights == "closed"] == ["qwen3-max"]


@pytest.mark.parametrize(
    ("card_id", "named", "first"),
    [
        ("glm-4.5", True, "glm-4.6"),
        ("deepseek-v3.1", True, "deepseek-v3.2-exp"),
        ("deepseek-r1", True, "deepseek-r1-0528"),
        ("kimi-k2-instruct", True, "kimi-k2-instruct-0905"),
        ("minimax-m1", False, "minimax-m2"),
        ("gemma-3-27b-it", False, "gemma-4-26b-a4b-it"),
        ("llama-3.1-70b", False, "llama-3.3-70b-instruct"),
    ],
)
def test_what_follows_a_model_is_named_by_its_source_or_told_by_its_date(card_id: str, named: bool, first: str) -> None:
    found = successors(SHIPPED, Named(name=card_id))
    assert (found[0].card.id, found[0].named) == (first, named)


def test_a_thinking_sibling_is_no_newer_version() -> None:
    for card_id in ("qwen3-235b-a22b-instruct-2507", "qwen3-vl-235b-a22b-instruct", "kimi-k2-instruct-0905"):
        assert not any("thinking" in each.card.id for each in successors(SHIPPED, Named(name=card_id)))


@pytest.mark.parametrize(
    ("words", "checkable", "found"),
    [
        (
            "native multimodal image generation model with 80 billion parameters",
            True,
            "80 billion parameters, 13 active",
        ),
        ("currently the best-performing and largest open-source image generation model", False, None),
        ("downloads exceeding 600 million and over 170,000 derivative models", True, "700 million downloads"),
        ("on a scale of 5,000 cards", False, "more than 5,000 Kunlun P800"),
        ("model performance improved notably with increasing parameter scale", True, "18 of the 18 rows"),
        ("about 30 internal tools", False, "about 10 open models"),
        ("since November last year", True, "No values of November 2024"),
        ("its first open source model, gpt-oss, in August", True, "5 August 2025"),
        ("seven models at the Cloud Town Conference", True, "lists"),
        ("better understanding of delicate expressions", True, "KeiCO"),
    ],
)
def test_what_others_say_of_models_is_a_claim_of_theirs(words: str, checkable: bool, found: str | None) -> None:
    claims = [claim for card in SHIPPED.cards() for claim in card.claims if words in claim.words]
    assert claims
    for claim in claims:
        assert claim.checkable is checkable
        assert claim.found is None if found is None else found in (claim.found or "")
