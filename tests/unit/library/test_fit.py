"""Whether a model fits: arithmetic, layouts, verdicts, commands and remedies, on cards made here."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeover.core.errors import ConfigError, UnknownModelError
from changeover.core.sizes import GB, GIB
from changeover.library.accelerators import Accelerator
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.fit import Fit, fit, fits_here, parse_hardware
from changeover.library.fit.context import context_bytes, context_share
from changeover.library.fit.embedded import PROCESS_BYTES, PROMPTS_BYTES, SAFETY, estimate
from changeover.library.fit.quantisation import in_gguf, usual_quantisation, weights_of
from changeover.library.running import Shape

CATALOGUE = Catalogue.load()
P800 = CATALOGUE.accelerator("kunlun-p800")
H100 = CATALOGUE.accelerator("h100")
LLAMA = Shape(layers=80, kv_heads=8, head_dimension=128)
LATENT = Shape(layers=61, kv_latent_dimension=576)
ORDER = {"no": 0, "unknown": 0, "tight": 1, "fits": 2}


def card(**facts: Any) -> Card:
    """A card with a source for everything."""
    said = {
        "id": "m",
        "display_name": "M",
        "family": "m",
        "vendor": "v",
        "modalities_in": ["text"],
        "modalities_out": ["text"],
        "engines": [{"engine": "vllm"}, {"engine": "vllm-kunlun"}],
        "repositories": ["v/M"],
        "sources": [{"facts": ["everything"], "at": "here", "grade": "run", "checked": date(2026, 11, 30)}],
        **facts,
    }
    return Card.model_validate(said)


def r1(**facts: Any) -> Card:
    """What a card says of DeepSeek-R1."""
    return card(
        **{
            "id": "r1",
            "parameters_b": 671,
            "context_tokens": 163_840,
            "architecture": {"shape": LATENT.model_dump()},
            "memory": [
                {"quantisation": "fp8", "minimum_gb": 805, "source": "a recipe"},
                {"quantisation": "nvfp4", "minimum_gb": 403, "source": "a recipe"},
            ],
            **facts,
        }
    )


# --- arithmetic -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "tokens", "requests", "expected"),
    [
        (LLAMA, 1, 1, 80 * 2 * 8 * 128 * 2),
        (LLAMA, 1000, 4, 80 * 2 * 8 * 128 * 2 * 4000),
        (LATENT, 1, 1, 61 * 576 * 2),
        # Of 48 layers 12 keep the context.
        (Shape(layers=48, attention_layers=12, kv_heads=2, head_dimension=256), 1, 1, 12 * 2 * 2 * 256 * 2),
        # Of 4 layers 2 look back 128 tokens.
        (
            Shape(layers=4, sliding_layers=2, sliding_window_tokens=128, kv_heads=1, head_dimension=1),
            1000,
            3,
            (2 * 1000 + 2 * 128) * 2 * 2 * 3,
        ),
        (Shape(layers=4), 1000, 1, None),
    ],
)
def test_keys_and_values_follow_from_the_shape(shape: Shape, tokens: int, requests: int, expected: int | None) -> None:
    assert context_bytes(shape, tokens, requests) == expected


def test_a_published_context_figure_is_met() -> None:
    # vllm-project/recipes@1f2cec1, MiniMax-M2: 240 GB for 1 M tokens.
    minimax = Shape(layers=62, kv_heads=8, head_dimension=128)
    assert (context_bytes(minimax, 1_000_000, 1) or 0) / GIB == pytest.approx(240, rel=0.02)


@pytest.mark.parametrize(
    ("shape", "tensor", "pipeline", "expected"),
    [
        (LLAMA, 1, 1, 1.0),
        (LLAMA, 4, 1, 1 / 4),
        (LLAMA, 16, 1, 1 / 8),  # each head is kept twice
        (LLAMA, 4, 2, 1 / 8),
        (LATENT, 8, 1, 1.0),  # every card keeps the whole latent
        (LATENT, 8, 2, 31 / 61),
    ],
)
def test_cards_share_heads_and_never_a_latent(shape: Shape, tensor: int, pipeline: int, expected: float) -> None:
    assert context_share(shape, tensor, pipeline) == pytest.approx(expected)


def test_weights_are_the_files_where_there_are_files_and_else_parameters_times_bits() -> None:
    artifact = {"format": "gguf", "quantisation": "Q4_K_M", "size_bytes": 123, "sha256": "a" * 64}
    with_file = card(parameters_b=1, artifacts=[artifact])
    assert weights_of(with_file, "q4_k_m").bytes == 123
    assert weights_of(with_file, "bf16").bytes == 2 * GB
    assert weights_of(card(parameters_b=1), "BFloat16").bytes == 2 * GB
    unknown = weights_of(card(), "bf16")
    assert unknown.bytes is None
    assert "how many parameters" in unknown.how
    assert "`q1_9`" in weights_of(card(parameters_b=1), "q1_9").how


def test_a_card_says_in_which_form_its_weights_come() -> None:
    assert usual_quantisation(r1()) == "fp8"
    assert usual_quantisation(card()) == "bf16"
    recipe = {"engine": "vllm", "command": "vllm serve v/M", "quantisation": "int8"}
    assert usual_quantisation(card(recipes=[recipe])) == "int8"
    assert in_gguf(card(), "Q4_K_M")
    assert not in_gguf(card(), "bf16")


# --- hardware -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "accelerator", "count", "nodes"),
    [
        ("h100x8", "h100-80", 8, 1),
        ("H100×8", "h100-80", 8, 1),
        ("kunlun-p800x16", "kunlun-p800", 16, 2),
        ("P800 x 9", "kunlun-p800", 9, 2),
        ("mi300x", "mi300x", 1, 1),
        ("mi300xx4", "mi300x", 4, 1),
        ("rtx-4090*2", "rtx-4090", 2, 1),
    ],
)
def test_hardware_is_read_as_people_write_it(text: str, accelerator: str, count: int, nodes: int) -> None:
    hardware = parse_hardware(text, CATALOGUE)
    assert (hardware.accelerator.id, hardware.count, hardware.nodes) == (accelerator, count, nodes)


@pytest.mark.parametrize("text", ["h100x0", "h100x99999"])
def test_a_count_that_nobody_has_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="Give 1 to"):
        parse_hardware(text, CATALOGUE)


def test_hardware_that_nobody_knows_names_the_nearest() -> None:
    with pytest.raises(UnknownModelError, match="kunlun-p800"):
        parse_hardware("kunlun-p80x8", CATALOGUE)


# --- verdicts -------------------------------------------------------------------------------------------------------


def remedies(judged: Fit) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for remedy in judged.remedies:
        found.setdefault(remedy.kind, []).append(remedy.value)
    return found


def test_r1_in_fp8_does_not_fit_one_node_of_p800_and_two_nodes_or_four_bits_are_named() -> None:
    judged = fit(r1(), P800, 8)
    assert judged.verdict == "no"
    assert judged.total_bytes == 8 * 96 * GIB
    assert (judged.total_bytes or 0) / GB == pytest.approx(825, abs=1)
    assert (judged.has_bytes or 0) / GB == pytest.approx(742, abs=1)
    assert judged.published is not None
    assert not judged.published.met
    assert judged.published.minimum_bytes == 805 * GB
    assert remedies(judged)["cards"] == ["kunlun-p800x16"]
    assert remedies(judged)["quantisation"] == ["nvfp4", "int4"]
    assert "2 nodes" in next(remedy.words for remedy in judged.remedies if remedy.kind == "cards")
    assert judged.missing == ("whether `kunlun-p800` computes with fp8",)
    assert judged.command is None


def test_however_short_the_context_r1_in_fp8_does_not_fit_one_node_of_p800() -> None:
    assert fit(r1(), P800, 8, context=2048, concurrency=1).verdict == "no"


def test_whether_a_card_computes_with_a_format_stays_unknown_until_somebody_verified_it() -> None:
    judged = fit(r1(), P800, 16)
    assert judged.verdict == "unknown"
    assert judged.missing == ("whether `kunlun-p800` computes with fp8",)
    assert judged.layout is not None
    assert (judged.layout.nodes, judged.layout.tensor_parallel, judged.layout.pipeline_parallel) == (2, 8, 2)
    verified = P800.model_copy(update={"native_formats": (*P800.native_formats, "fp8"), "unverified": ()})
    assert fit(r1(), verified, 16).verdict == "fits"


def test_a_format_that_an_accelerator_is_known_not_to_have_is_unpacked() -> None:
    judged = fit(r1(), CATALOGUE.accelerator("a100-80"), 16)
    assert judged.verdict == "fits"
    assert any("unpacks" in note for note in judged.notes)


def test_seventy_billion_in_sixteen_bits_take_two_p800() -> None:
    judged = fit(card(parameters_b=70, context_tokens=32_768, architecture={"shape": LLAMA.model_dump()}), P800, 8)
    assert judged.verdict == "fits"
    assert judged.layout is not None
    assert judged.layout.cards == 2
    assert judged.engine == "vllm-kunlun"
    assert judged.command is not None
    assert "--tensor-parallel-size 2" in judged.command
    assert "--model v/M" in judged.command
    assert judged.command.count("--max-model-len") == 1


def test_less_than_was_published_is_one_step_worse() -> None:
    shape = {"shape": LLAMA.model_dump()}
    facts = {"parameters_b": 20, "context_tokens": 4096, "architecture": shape}
    assert fit(card(**facts), H100, 1).verdict == "fits"
    more = [{"quantisation": "bf16", "minimum_gb": 100, "source": "a recipe"}]
    judged = fit(card(**facts, memory=more), H100, 1)
    assert judged.verdict == "tight"
    assert judged.published is not None
    assert judged.published.difference_bytes == (judged.needs_bytes or 0) - 100 * GB


def test_a_missing_fact_is_named_and_nothing_is_guessed() -> None:
    judged = fit(card(), H100, 8)
    assert (judged.verdict, judged.needs_bytes) == ("unknown", None)
    assert judged.missing == ("how many parameters `m` has",)
    apple = fit(card(parameters_b=1), CATALOGUE.accelerator("apple-unified"), 1)
    assert apple.verdict == "unknown"
    assert "how much memory `apple-unified` has" in apple.missing
    nobody = fit(card(parameters_b=1, engines=[]), H100, 1)
    assert nobody.verdict == "unknown"
    assert "an engine that runs `m` on `h100-80`" in nobody.missing


def test_without_a_shape_a_rule_stands_in_for_as_much_context_as_it_is_believed_for() -> None:
    shapeless = card(parameters_b=10)
    judged = fit(shapeless, H100, 1)
    assert judged.verdict == "fits"
    assert judged.needs_bytes == 24 * GB
    assert "layers and heads of `m`" in judged.missing[0]
    long = fit(shapeless, H100, 1, context=131_072, concurrency=2)
    assert long.verdict == "unknown"
    assert fit(card(parameters_b=100), H100, 1, context=131_072, concurrency=2).verdict == "no"


def test_what_writes_no_text_keeps_no_context() -> None:
    images = card(parameters_b=80, modalities_out=["image"], engines=[{"engine": "vllm-omni"}])
    judged = fit(images, H100, 8, context=1_000_000)
    assert judged.verdict == "fits"
    assert judged.missing == ()
    assert judged.command is None


def test_an_edition_of_an_engine_runs_the_classes_that_it_registers() -> None:
    plain = [{"engine": "vllm"}]
    known = card(parameters_b=8, engines=plain, architecture={"transformers_class": "Qwen3ForCausalLM"})
    assert fit(known, P800, 1).engine == "vllm-kunlun"
    assert fit(card(parameters_b=8, engines=plain), P800, 1).engine is None


def test_an_engine_that_dropped_a_model_is_the_last_choice_and_said() -> None:
    dropped = {"engine": "vllm", "until": "0.22.1"}
    assert fit(card(parameters_b=8, engines=[dropped, {"engine": "sglang"}]), H100, 1).engine == "sglang"
    alone = fit(card(parameters_b=8, engines=[dropped]), H100, 1)
    assert alone.engine == "vllm"
    assert any("0.22.1" in note for note in alone.notes)


def test_a_documented_limit_is_kept_and_more_cards_spread_the_experts() -> None:
    minimax = card(
        id="minimax-m2",
        parameters_b=230,
        context_tokens=196_608,
        architecture={"shape": {"layers": 62, "kv_heads": 8, "head_dimension": 128}},
        memory=[{"quantisation": "fp8", "minimum_gb": 276, "source": "a recipe"}],
    )
    four = fit(minimax, H100, 8)
    assert four.layout is not None
    assert (four.layout.tensor_parallel, four.layout.expert_parallel) == (4, False)
    eight = fit(minimax, H100, 8, context=196_608, concurrency=4)
    assert eight.layout is not None
    assert (eight.layout.tensor_parallel, eight.layout.expert_parallel) == (8, True)
    assert "--enable-expert-parallel" in eight.flags
    assert any("128 does not divide" in note for note in eight.notes)


def test_a_documented_command_gets_the_layout_and_keeps_the_rest() -> None:
    recipe = {
        "engine": "vllm",
        "quantisation": "bf16",
        "command": "vllm serve v/M --tensor-parallel-size 8 --tool-call-parser x --max_model_len 9 --trust-remote-code",
    }
    judged = fit(card(parameters_b=8, recipes=[recipe]), H100, 1, context=2048, concurrency=3)
    assert judged.command == (
        "vllm serve v/M --tensor-parallel-size 1 --tool-call-parser x --max-model-len 2048 --trust-remote-code "
        "--max-num-seqs 3 --gpu-memory-utilization 0.9"
    )
    int4 = fit(card(parameters_b=8, recipes=[recipe]), H100, 1, quantisation="int4")
    assert int4.command is not None
    assert int4.command.startswith("vllm serve REPOSITORY-IN-INT4 ")


def test_what_would_make_it_fit_does() -> None:
    shape = {"shape": LLAMA.model_dump()}
    large = card(parameters_b=70, context_tokens=131_072, architecture=shape)
    small = card(id="s", parameters_b=8, context_tokens=131_072, architecture=shape)
    judged = fit(large, H100, 2, context=131_072, siblings=[small, large])
    assert judged.verdict == "no"
    assert set(remedies(judged)) == {"quantisation", "cards", "context", "sibling"}
    for remedy in judged.remedies:
        if remedy.kind == "quantisation":
            assert fit(large, H100, 2, context=131_072, quantisation=remedy.value).ok
        elif remedy.kind == "cards":
            hardware = parse_hardware(remedy.value, CATALOGUE)
            assert fit(large, hardware.accelerator, hardware.count, context=131_072).ok
        elif remedy.kind == "context":
            assert fit(large, H100, 2, context=int(remedy.value)).ok
        else:
            assert fit(small, H100, 2, context=131_072).ok
    shorter = fit(small, H100, 1, context=131_072, concurrency=8)
    context = int(remedies(shorter)["context"][0])
    assert fit(small, H100, 1, context=context, concurrency=8).ok
    assert not fit(small, H100, 1, context=context + 1024, concurrency=8).ok
    requests = int(remedies(shorter)["concurrency"][0])
    assert fit(small, H100, 1, context=131_072, concurrency=requests).ok
    assert not fit(small, H100, 1, context=131_072, concurrency=requests + 1).ok


def test_there_is_room_for_as_many_requests_as_it_says_and_no_more() -> None:
    one = card(parameters_b=8, context_tokens=8192, architecture={"shape": LLAMA.model_dump()})
    most = fit(one, H100, 1).most_requests
    assert most is not None
    assert fit(one, H100, 1, concurrency=most).ok
    assert not fit(one, H100, 1, concurrency=most + 1).ok


# --- properties -----------------------------------------------------------------------------------------------------

SHAPES = st.one_of(
    st.none(),
    st.builds(
        Shape,
        layers=st.integers(1, 120),
        kv_heads=st.sampled_from([1, 2, 3, 4, 8, 16, 24, 32]),
        head_dimension=st.sampled_from([64, 128, 256]),
    ),
    st.builds(Shape, layers=st.integers(1, 120), kv_latent_dimension=st.sampled_from([288, 576])),
    st.builds(
        Shape,
        layers=st.integers(8, 120),
        attention_layers=st.integers(1, 8),
        sliding_layers=st.integers(0, 8),
        sliding_window_tokens=st.sampled_from([128, 1024]),
        kv_heads=st.sampled_from([2, 8]),
        head_dimension=st.just(128),
    ),
)
CARDS = st.builds(
    lambda shape, size, minimum: card(
        parameters_b=size,
        architecture={} if shape is None else {"shape": shape.model_dump()},
        memory=[] if minimum is None else [{"quantisation": "bf16", "minimum_gb": minimum, "source": "s"}],
    ),
    SHAPES,
    st.floats(0.1, 1500),
    st.one_of(st.none(), st.floats(1, 3000)),
)
ACCELERATORS = st.sampled_from([one for one in CATALOGUE.accelerators() if one.memory_gib is not None])


@given(CARDS, ACCELERATORS, st.integers(1, 32), st.integers(1, 32), st.integers(256, 65_536), st.integers(0, 65_536))
def test_more_context_never_needs_less(
    one: Card, accelerator: Accelerator, count: int, concurrency: int, context: int, more: int
) -> None:
    shorter = fit(one, accelerator, count, context=context, concurrency=concurrency)
    longer = fit(one, accelerator, count, context=context + more, concurrency=concurrency)
    assert ORDER[longer.verdict] <= ORDER[shorter.verdict]
    if shorter.layout == longer.layout and longer.verdict != "unknown":
        assert (longer.needs_bytes or 0) >= (shorter.needs_bytes or 0)


@given(CARDS, ACCELERATORS, st.integers(1, 32), st.integers(0, 32), st.integers(1, 16))
def test_more_cards_never_make_it_fit_worse(
    one: Card, accelerator: Accelerator, count: int, more: int, concurrency: int
) -> None:
    fewer = fit(one, accelerator, count, concurrency=concurrency)
    many = fit(one, accelerator, count + more, concurrency=concurrency)
    assert ORDER[many.verdict] >= ORDER[fewer.verdict]


@given(CARDS, ACCELERATORS, st.integers(1, 32))
def test_the_parts_are_all_that_it_needs_and_no_more_cards_are_taken_than_there_are(
    one: Card, accelerator: Accelerator, count: int
) -> None:
    judged = fit(one, accelerator, count)
    assert judged.layout is not None
    assert judged.needs_bytes == sum(part.bytes for part in judged.parts)
    assert judged.layout.cards <= count
    assert judged.total_bytes == round((accelerator.memory_gib or 0) * GIB) * judged.layout.cards
    assert (judged.has_bytes or 0) <= (judged.total_bytes or 0)
    assert judged.ok is False or (judged.needs_bytes or 0) <= (judged.has_bytes or 0)


@given(CARDS, st.integers(1, 64), st.integers(1, 64), st.integers(256, 65_536), st.integers(0, 65_536))
def test_this_machine_never_needs_less_for_more(
    one: Card, memory_gib: int, concurrency: int, context: int, more: int
) -> None:
    memory = memory_gib * GIB
    shorter = fits_here(one, memory, context=context, concurrency=concurrency, quantisation="Q4_K_M")
    longer = fits_here(one, memory, context=context + more, concurrency=concurrency, quantisation="Q4_K_M")
    assert (longer.needs_bytes or 0) >= (shorter.needs_bytes or 0)


# --- this machine ---------------------------------------------------------------------------------------------------

FILE = {"format": "gguf", "quantisation": "Q4_K_M", "size_bytes": 500 * 10**6, "sha256": "b" * 64}


def test_this_machine_takes_the_engines_defaults_and_gives_a_command() -> None:
    shape = Shape(layers=24, kv_heads=2, head_dimension=64)
    judged = fits_here(card(parameters_b=0.5, context_tokens=32_768, artifacts=[FILE]), 8 * GIB, shape=shape)
    kept = 24 * 2 * 2 * 64 * 2 * 4096 * 4
    assert judged.verdict == "fits"
    assert judged.needs_bytes == estimate(500 * 10**6, kept)
    assert judged.needs_bytes == round(SAFETY * (500 * 10**6 + kept + PROCESS_BYTES + PROMPTS_BYTES))
    assert judged.needs_bytes == sum(part.bytes for part in judged.parts)
    assert judged.command == "changeover deploy m --context 4096 --slots 4"


def test_what_has_no_gguf_file_cannot_be_started_here_and_that_is_said() -> None:
    judged = fits_here(card(parameters_b=0.5), 8 * GIB)
    assert judged.verdict == "unknown"
    assert judged.engine is None
    assert any("GGUF" in fact for fact in judged.missing)
    assert fits_here(card(parameters_b=500), 8 * GIB).verdict == "no"


def test_this_machine_is_offered_a_smaller_sibling_and_a_shorter_context() -> None:
    shape = {"shape": {"layers": 24, "kv_heads": 8, "head_dimension": 128}}
    other = {"format": "gguf", "quantisation": "Q4_K_M", "size_bytes": 10**8, "sha256": "c" * 64}
    large = card(parameters_b=4, context_tokens=32_768, architecture=shape, artifacts=[FILE])
    small = card(id="s", parameters_b=0.1, context_tokens=4096, architecture=shape, artifacts=[other])
    judged = fits_here(large, 2 * GIB, context=32_768, concurrency=1, siblings=[small])
    assert judged.verdict == "no"
    context = int(remedies(judged)["context"][0])
    assert fits_here(large, 2 * GIB, context=context, concurrency=1).ok
    assert remedies(judged)["sibling"] == ["s"]


# --- the library ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", CATALOGUE.cards(), ids=lambda one: one.id)
def test_every_card_is_judged_on_every_accelerator_and_says_why_where_it_is_not(one: Card) -> None:
    family = [other for other in CATALOGUE.cards() if other.family == one.family]
    for accelerator in CATALOGUE.accelerators():
        judged = fit(one, accelerator, 8, siblings=family)
        assert judged.verdict != "unknown" or judged.missing, accelerator.id
        assert judged.verdict != "fits" or judged.remedies == ()
        assert judged.command is None or judged.engine is not None
    here = fits_here(one, 16 * GIB, siblings=family)
    assert here.verdict != "unknown" or here.missing


def test_computed_needs_are_near_the_published_minima_of_all_but_two() -> None:
    # They are parameters times bits times 1.2 (vllm-project/recipes, CONTRIBUTING), not measurements. Gemma 4 E4B keeps
    # much in 16 bits; of gpt-oss-120b, whose vendor runs it on one card of 80 GB, the recipe asks for 96.
    large = CATALOGUE.accelerator("b200")
    far: list[tuple[str, str]] = []
    for one in CATALOGUE.cards():
        for minimum in one.memory:
            judged = fit(one, large, 32, quantisation=minimum.quantisation)
            assert judged.needs_bytes is not None, one.id
            if not 0.75 < judged.needs_bytes / (minimum.minimum_gb * GB) < 1.6:
                far.append((one.id, minimum.quantisation))
    assert far == [("gemma-4-e4b-it", "int4"), ("gpt-oss-120b", "mxfp4")]
