"""Lists of models that others keep, as observations: mapped facts, and what happens with half a file and with nonsense.

The rows are written by hand in the shape of the real files, with a few of their values: models.dev (MIT), LiteLLM (MIT),
Xinference (Apache-2.0), vLLM's recipes (Apache-2.0). genai-prices is the installed package.
"""

import json
import zipfile
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from changeover.core.errors import ConfigError
from changeover.library.catalogue import Catalogue
from changeover.library.observations import Observation
from changeover.library.sources import genai, litellm, models_dev, recipes, xinference
from changeover.library.sources.matching import Names
from changeover.library.sources.reading import Reading, observations

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
CATALOGUE = Catalogue.load()

# Shape: github:anomalyco/models.dev packages/core/src/schema.ts (MIT).
MODELS_DEV: dict[str, Any] = {
    "groq": {
        "id": "groq",
        "env": ["GROQ_API_KEY"],
        "npm": "@ai-sdk/groq",
        "name": "Groq",
        "doc": "https://example.org",
        "models": {
            "openai/gpt-oss-20b": {
                "id": "openai/gpt-oss-20b",
                "name": "GPT OSS 20B",
                "attachment": False,
                "reasoning": True,
                "temperature": True,
                "tool_call": True,
                "release_date": "2025-08-05",
                "last_updated": "2025-08-05",
                "modalities": {"input": ["text", "pdf"], "output": ["text"]},
                "open_weights": True,
                "cost": {"input": 0.1, "output": 0.5, "cache_read": 0.05},
                "limit": {"context": 131072, "output": 32768},
            },
            "openai/gpt-oss-20b:free": {
                "id": "openai/gpt-oss-20b:free",
                "name": "GPT OSS 20B (free)",
                "attachment": False,
                "reasoning": True,
                "temperature": True,
                "tool_call": True,
                "release_date": "2025-08-05",
                "last_updated": "2025-08-05",
                "modalities": {"input": ["text"], "output": ["text"]},
                "open_weights": True,
                "cost": {"input": 0, "output": 0},
                "limit": {"context": 131072, "output": 32768},
            },
        },
    }
}

# Shape: github:BerriAI/litellm model_prices_and_context_window.json (MIT).
LITELLM: dict[str, Any] = {
    "sample_spec": {
        "litellm_provider": "one of …",
        "max_input_tokens": "max input tokens",
        "input_cost_per_token": 0.0,
    },
    "fireworks_ai/accounts/fireworks/models/gpt-oss-20b": {
        "input_cost_per_token": 7e-08,
        "litellm_provider": "fireworks_ai",
        "max_input_tokens": 131072,
        "max_output_tokens": 131072,
        "mode": "chat",
        "output_cost_per_token": 3e-07,
    },
    "1024-x-1024/dall-e-2": {"input_cost_per_pixel": 1.9e-08, "litellm_provider": "openai", "mode": "image_generation"},
}

# Shapes: github:xorbitsai/inference xinference/model/llm (Apache-2.0), a family with `model_src` and an older one.
XINFERENCE: list[dict[str, Any]] = [
    {
        "version": 2,
        "context_length": 202752,
        "model_name": "GLM-4.6",
        "model_lang": ["en", "zh"],
        "model_ability": ["chat", "reasoning", "hybrid", "tools"],
        "model_specs": [
            {
                "model_format": "pytorch",
                "model_size_in_billions": 355,
                "activated_size_in_billions": 32,
                "model_src": {
                    "huggingface": {"quantizations": ["none"], "model_id": "zai-org/GLM-4.6"},
                    "modelscope": {"quantizations": ["none"], "model_id": "ZhipuAI/GLM-4.6"},
                },
            },
            {
                "model_format": "mlx",
                "model_size_in_billions": 355,
                "model_src": {
                    "huggingface": {"quantizations": ["4bit"], "model_id": "mlx-community/GLM-4.6-{quantization}"}
                },
            },
        ],
        "tool_parser": "glm4",
        "reasoning_start_tag": "<think>",
        "reasoning_end_tag": "</think>",
        "architectures": ["Glm4MoeForCausalLM"],
        "updated_at": 1784296176,
    },
    {
        "version": 1,
        "context_length": 4096,
        "model_name": "qwen-chat",
        "model_lang": ["en", "zh"],
        "model_specs": [
            {
                "model_format": "pytorch",
                "model_size_in_billions": "1_8",
                "quantizations": ["none"],
                "model_id": "Qwen/Qwen-1_8B-Chat",
            }
        ],
    },
]

# Shape: github:vllm-project/recipes models/openai/gpt-oss-20b.yaml (Apache-2.0).
RECIPE = """\
meta:
  title: "GPT-OSS 20B"
  provider: "OpenAI"
  date_updated: 2026-05-08
  hardware:
    h100: verified
    mi300x: verified
    tpu: unsupported
model:
  model_id: "openai/gpt-oss-20b"
  min_vllm_version: "0.10.0"
  architecture: moe
  parameter_count: "21B"
  active_parameters: "3.6B"
  context_length: 131072
  base_args: ["--max-model-len", "8192"]
features:
  tool_calling:
    args: ["--tool-call-parser", "openai", "--enable-auto-tool-choice"]
variants:
  default:
    precision: mxfp4
    vram_minimum_gb: 16
"""


def said(reading: Reading, card: str) -> dict[str, Any]:
    return {each.fact: each.value for each in found(reading) if each.card == card}


def found(reading: Reading) -> tuple[Observation, ...]:
    return observations(reading, Names(CATALOGUE), NOW)


def test_models_dev_gives_limits_modalities_dates_and_the_price_of_a_host() -> None:
    facts = said(models_dev.read(json.dumps(MODELS_DEV).encode(), "api.json"), "gpt-oss-20b")
    assert facts["context_tokens"] == 131072
    assert facts["max_output_tokens"] == 32768
    assert facts["modalities_in"] == ["text"], "a pdf is read by the host, not by the model"
    assert facts["released"] == "2025-08-05"
    assert facts["weights"] == "open"
    assert facts["hosted.groq.price"] == {
        "id": "openai/gpt-oss-20b",
        "input_usd_per_million_tokens": 0.1,
        "output_usd_per_million_tokens": 0.5,
        "since": None,
    }


def test_ways_to_reach_one_model_are_one_model_and_one_host() -> None:
    facts = said(models_dev.read(json.dumps(MODELS_DEV).encode(), "api.json"), "gpt-oss-20b")
    assert facts["signals.providers"] == 1
    assert {each.card for each in found(models_dev.read(json.dumps(MODELS_DEV).encode(), "api.json"))} == {
        "gpt-oss-20b"
    }


def hosts_with_context(*contexts: int) -> bytes:
    model = MODELS_DEV["groq"]["models"]["openai/gpt-oss-20b"]
    return json.dumps(
        {
            f"host{place}": {
                "name": "h",
                "models": {"gpt-oss-20b": {**model, "limit": {"context": tokens, "output": 1}}},
            }
            for place, tokens in enumerate(contexts)
        }
    ).encode()


def test_what_most_hosts_say_is_what_the_list_says() -> None:
    reading = models_dev.read(hosts_with_context(128_000, 131_072, 131_072, 4096), "api.json")
    [context] = [each for each in found(reading) if each.fact == "context_tokens"]
    assert context.value == 131_072
    assert context.locator == "api.json: host1/gpt-oss-20b, as in 2 of 4 rows"
    assert said(reading, "gpt-oss-20b")["signals.providers"] == 4


def test_of_limits_that_as_many_hosts_have_the_larger_counts() -> None:
    assert (
        said(models_dev.read(hosts_with_context(4096, 131_072), "api.json"), "gpt-oss-20b")["context_tokens"] == 131_072
    )


def test_a_model_without_a_card_goes_by_one_name_whatever_hosts_call_it() -> None:
    model = MODELS_DEV["groq"]["models"]["openai/gpt-oss-20b"] | {"name": "Newcomer 9"}
    document = {
        "a": {"name": "A", "models": {"vendor/newcomer-9": model}},
        "b": {"name": "B", "models": {"accounts/b/models/Newcomer_9-FP8": model}},
    }
    reading = models_dev.read(json.dumps(document).encode(), "api.json")
    assert {each.card for each in found(reading)} == {"newcomer-9"}
    assert said(reading, "newcomer-9")["signals.providers"] == 2


def test_litellm_gives_prices_per_million_and_leaves_pictures_alone() -> None:
    reading = litellm.read(json.dumps(LITELLM).encode(), "prices.json")
    facts = said(reading, "gpt-oss-20b")
    assert facts["context_tokens"] == 131072
    assert facts["hosted.fireworks-ai.price"]["input_usd_per_million_tokens"] == 0.07
    assert facts["hosted.fireworks-ai.price"]["output_usd_per_million_tokens"] == 0.3
    assert {each.card for each in found(reading)} == {"gpt-oss-20b"}, "neither the explanation nor a price per pixel"


def test_xinference_gives_sizes_languages_and_repositories_on_both_hubs() -> None:
    reading = xinference.read(json.dumps(XINFERENCE).encode(), "llm_family.json")
    facts = said(reading, "glm-4.6")
    assert facts["context_tokens"] == 202752
    assert facts["languages"] == ["en", "zh"]
    assert (facts["parameters_b"], facts["active_parameters_b"]) == (355, 32)
    assert facts["repositories"] == ["zai-org/GLM-4.6"]
    assert facts["modelscope"] == ["ZhipuAI/GLM-4.6"]
    assert facts["architecture.transformers_class"] == "Glm4MoeForCausalLM"
    assert facts["reasoning_format"] == "<think>…</think>"
    assert facts["engines.xinference"] is True
    [context] = [each for each in found(reading) if (each.card, each.fact) == ("glm-4.6", "context_tokens")]
    assert context.as_of == date(2026, 7, 17)


def test_xinferences_older_families_are_read_too() -> None:
    facts = said(xinference.read(json.dumps(XINFERENCE).encode(), "llm_family.json"), "qwen-1-8b-chat")
    assert facts["parameters_b"] == 1.8
    assert facts["repositories"] == ["Qwen/Qwen-1_8B-Chat"]


def test_xinferences_registry_is_read_as_a_directory_too(tmp_path: Path) -> None:
    for family in XINFERENCE:
        (tmp_path / f"{family['model_name']}.json").write_text(json.dumps([family]))
    (tmp_path / "index.json").write_text(json.dumps([["GLM-4.6.json", 0]]))
    whole = xinference.read(json.dumps(XINFERENCE).encode(), "llm_family.json")
    parts = xinference.read_directory(tmp_path)
    assert said(parts, "glm-4.6") == said(whole, "glm-4.6")
    assert parts.summary == whole.summary == "2 families with 2 sizes and forms"
    (tmp_path / "half.json").write_text('[{"model_name": "x"')
    with pytest.raises(ConfigError, match=r"half\.json` is not whole JSON"):
        xinference.read_directory(tmp_path)


def checkout(directory: Path, **files: str) -> Path:
    (directory / "models" / "openai").mkdir(parents=True)
    (directory / "models" / "openai" / "gpt-oss-20b.yaml").write_text(RECIPE)
    (directory / "kv.yaml").write_text("store: elsewhere\n")
    for name, text in files.items():
        (directory / "models" / f"{name}.yaml").write_text(text)
    return directory


def test_a_recipe_gives_version_parsers_memory_and_verified_hardware(tmp_path: Path) -> None:
    reading = recipes.read_directory(checkout(tmp_path))
    facts = said(reading, "gpt-oss-20b")
    assert facts["engines.vllm.since"] == "0.10.0"
    assert facts["engines.vllm.tool_parser"] == "openai"
    assert facts["memory.mxfp4.minimum_gb"] == 16
    assert facts["recipes.vllm.verified_hardware"] == ["h100", "mi300x"]
    assert facts["recipes.vllm.command"] == "vllm serve openai/gpt-oss-20b --max-model-len 8192"
    assert (facts["parameters_b"], facts["active_parameters_b"]) == (21, 3.6)
    [since] = [each for each in found(reading) if each.fact == "engines.vllm.since"]
    assert (since.grade, since.as_of) == ("repository", date(2026, 5, 8))
    assert reading.summary == "1 recipes", "YAML outside of `models` is no recipe"


def test_what_vllm_omni_runs_is_not_said_of_vllm(tmp_path: Path) -> None:
    film = RECIPE.replace("openai/gpt-oss-20b", "studio/film").replace("131072", "0").replace("GPT-OSS 20B", "Film")
    facts = said(recipes.read_directory(checkout(tmp_path, film=film + "omni:\n  port: 8000\n")), "film")
    assert facts["engines.vllm-omni"] is True
    assert "engines.vllm" not in facts
    assert "context_tokens" not in facts, "0 stands for none"


def zipped(directory: Path) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for each in sorted(directory.rglob("*.yaml")):
            archive.write(each, f"recipes-main/{each.relative_to(directory)}")
    return file.getvalue()


def test_recipes_come_as_a_zip_archive_too(tmp_path: Path) -> None:
    data = zipped(checkout(tmp_path))
    assert said(recipes.read(data, "main.zip"), "gpt-oss-20b")["memory.mxfp4.minimum_gb"] == 16
    with pytest.raises(ConfigError, match=r"`main.zip` is no whole zip archive"):
        recipes.read(data[: len(data) // 2], "main.zip")


def test_a_recipe_that_is_cut_off_or_grows_when_it_is_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models/broken\.yaml` is not whole YAML"):
        recipes.read_directory(checkout(tmp_path / "a", broken='model:\n  model_id: "x'))
    bomb = "a: &a [x]\nb: [*a, *a]\n"
    with pytest.raises(ConfigError, match=r"models/bomb\.yaml` has YAML aliases"):
        recipes.read_directory(checkout(tmp_path / "b", bomb=bomb))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"is no collection of vLLM recipes: it has no rows"):
        recipes.read_directory(tmp_path / "empty")


def test_genai_prices_gives_the_price_that_holds_on_the_day() -> None:
    before = said(genai.read(date(2026, 10, 18)), "gpt-oss-20b")["hosted.openrouter.price"]
    between = said(genai.read(date(2026, 10, 20)), "gpt-oss-20b")["hosted.openrouter.price"]
    assert (before["input_usd_per_million_tokens"], before["since"]) == (0.029, None)
    assert (between["input_usd_per_million_tokens"], between["since"]) == (0.018, "2026-10-19")


def test_genai_prices_knows_models_that_have_cards() -> None:
    reading = genai.read(date(2026, 11, 30))
    cards = {each.card for each in found(reading)} & {card.id for card in CATALOGUE.cards()}
    assert {"gpt-oss-20b", "gpt-oss-120b", "glm-4.6"} <= cards
    assert "genai-prices==" in reading.where


WHOLE = {
    models_dev: json.dumps(MODELS_DEV).encode(),
    litellm: json.dumps(LITELLM).encode(),
    xinference: json.dumps(XINFERENCE).encode(),
}
LISTS = pytest.mark.parametrize("source", WHOLE, ids=lambda source: source.NAME)


@LISTS
def test_half_a_file_is_refused_wherever_it_ends(source: Any) -> None:
    whole = WHOLE[source]
    for end in range(0, len(whole), 97):
        with pytest.raises(ConfigError, match=r"`half\.json` is not whole JSON"):
            source.read(whole[:end], "half.json")


@LISTS
@pytest.mark.parametrize(
    "nonsense",
    [
        b"[]",
        b"{}",
        b"null",
        b"7",
        b'"text"',
        b'{"a": 1}',
        b'[{"a": 1}]',
        b'{"error": "not found"}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_nonsense_is_refused_with_one_sentence_that_names_the_file(source: Any, nonsense: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^`odd\.json` (is no |is not whole JSON)"):
        source.read(nonsense, "odd.json")


@LISTS
def test_the_list_of_another_source_is_refused(source: Any) -> None:
    for other in WHOLE.keys() - {source}:
        with pytest.raises(ConfigError, match="Nothing was written"):
            source.read(WHOLE[other], "other.json")


@pytest.mark.parametrize(
    ("source", "usual", "bad"),
    [
        (litellm, {"mode": "chat"}, {"max_input_tokens": "inf"}),
        (litellm, {"mode": "chat"}, {"max_input_tokens": 1e300}),
        (litellm, {"mode": "chat"}, {"input_cost_per_token": 1e303}),
        (xinference, {}, {"model_size_in_billions": "inf"}),
        (xinference, {}, {"model_size_in_billions": "nan"}),
        (xinference, {}, {"updated_at": 10**18}),
    ],
)
def test_a_number_that_nothing_can_hold_is_left_out_with_its_row(
    source: Any, usual: dict[str, Any], bad: dict[str, Any]
) -> None:
    rows: list[dict[str, Any]] = [{**usual}] * 40 + [{**usual, **bad}]
    if source is litellm:
        document: Any = {f"m{place}": {"litellm_provider": "x", **row} for place, row in enumerate(rows)}
    else:
        spec = {"model_format": "pytorch", "model_size_in_billions": 1}
        document = [{"model_name": f"m{n}", "model_specs": [{**spec, **row}], **row} for n, row in enumerate(rows)]
    reading = source.read(json.dumps(document).encode(), "a list")
    assert len(reading.rows) == 40
    assert "`m40`" in reading.notes[0]


def test_memory_without_end_is_left_out_of_recipes(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for number in range(40):
        (tmp_path / "models" / f"m{number}.yaml").write_text("model: {model_id: a/b}\n")
    bad = "model: {model_id: x/bad}\nvariants: {a: {precision: fp8, vram_minimum_gb: .inf}}\n"
    (tmp_path / "models" / "bad.yaml").write_text(bad)
    assert "bad.yaml" in recipes.read_directory(tmp_path).notes[0]


def test_a_single_bad_row_is_left_out_and_named_and_many_are_too_many() -> None:
    model = MODELS_DEV["groq"]["models"]["openai/gpt-oss-20b"]
    models = {f"m{place}": model for place in range(99)} | {"bad": model | {"limit": {"context": "long", "output": 1}}}
    reading = models_dev.read(json.dumps({"groq": {"name": "Groq", "models": models}}).encode(), "api.json")
    assert reading.notes == ("left out: `bad`: Expected `float`, got `str` - at `$.limit.context`",)
    models |= {f"bad{place}": models["bad"] for place in range(9)}
    with pytest.raises(ConfigError, match="10 of 109 rows are not as they should be"):
        models_dev.read(json.dumps({"groq": {"name": "Groq", "models": models}}).encode(), "api.json")
