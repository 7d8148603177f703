"""Plans of deployments: one for every card, here, on other hardware and at hosts; nothing in them is made up."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.cards import card, catalogue
from tests.unit.library.gguf_builder import build

from changeover.app.planning import DeployPlan, Ground, Wish, engine_named, plan_deployment
from changeover.app.planning.here import command_of
from changeover.app.planning.there import served_name, suggested
from changeover.cli.deploying import options_of
from changeover.cli.plan_view import plan_lines
from changeover.core.errors import ConfigError, UnknownModelError
from changeover.core.sizes import GIB
from changeover.library.artifacts import Artifact, ArtifactFile, digest_of_files
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.fit.detect import Detected, Found
from changeover.library.licences.licensing import Licensing
from changeover.library.licences.policy import Policy
from changeover.library.pull import Silent, pull
from changeover.library.running import EngineSupport, Hosted
from changeover.serving.backends import BACKENDS, Backend, Capabilities, Launch, Missing
from changeover.serving.eviction import Need, Tenant
from changeover.serving.homes import Homes
from changeover.serving.options import OPTIONS, BackendName, OpenAIOptions
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan
from changeover.serving.tuned import KeptTuning, Tuning

SHIPPED = Catalogue.load()
GPU = SHIPPED.accelerator("rtx-4090")
BACKEND: Sequence[BackendName] = ("vllm", "openvino", "transformers", "ray")


class Installed:
    """An engine that needs nothing, or one thing."""

    capabilities = Capabilities()

    def __init__(self, *missing: Missing) -> None:
        self._missing = missing

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        return self._missing

    def describe(self, plan: EnginePlan) -> EnginePart:
        raise AssertionError("nothing is described before its weights are here")

    def launch(self, plan: EnginePlan) -> Launch:
        return Launch(argv=("warden",), config={"argv": ["serve", "--port", "{port}"]}, start_s=100)


def ground(library: Catalogue = SHIPPED, *, installed: Sequence[BackendName] = (), **more: Any) -> Ground:
    backends: dict[BackendName, Backend] = {name: BACKENDS[name] for name in ("local", "openai", "echo")}
    backends |= {name: Installed() for name in installed}
    policy = more.pop("policy", None)
    return Ground(
        catalogue=library,
        licensing=Licensing(library, policy, date(2026, 11, 30)),
        budget=more.pop("budget", 8 * GIB),
        cache=more.pop("cache", Path("/nowhere")),
        backends=backends,
        **more,
    )


def gguf(size: int = GIB, **more: Any) -> Artifact:
    return Artifact.model_validate(
        {
            "format": "gguf",
            "quantisation": "Q4_1",
            "size_bytes": size,
            "sha256": "a" * 64,
            "sources": [{"path": "/weights/model.gguf"}],
            **more,
        }
    )


def safetensors(size: int = GIB) -> Artifact:
    files = (ArtifactFile(path="model.safetensors", size_bytes=size, sha256="b" * 64),)
    digest = digest_of_files(files)
    return Artifact(format="safetensors", quantisation="bf16", size_bytes=size, sha256=digest, files=files)


def small(id: str = "small", **more: Any) -> Card:
    return card(id, parameters_b=1.0, modalities_out=("text",), **more)


def held(name: str, gib: int, need: Need = "incumbent") -> Tenant:
    return Tenant(name=name, bytes=gib * GIB, need=need)


def plan_of(wish: Wish, *cards: Card, **more: Any) -> DeployPlan:
    return plan_deployment(wish, ground(catalogue(*cards), **more))


def kinds(plan: DeployPlan) -> list[str]:
    return [each.kind for each in plan.missing]


# Every card.


@pytest.mark.parametrize(
    "on", [None, "h200x8", "h100x16", "kunlun-p800x8", "rtx-4090", "ascend-910bx8", "apple-unified"]
)
def test_every_card_has_a_plan_with_a_command_or_with_what_is_missing(on: str | None) -> None:
    there = ground()
    for each in SHIPPED.cards():
        plan = plan_deployment(Wish(model=each.id, on=on), there)
        assert plan.command or plan.missing, each.id
        assert plan.ok == (not plan.missing), each.id
        assert all(lack.what and lack.remedy for lack in plan.missing), each.id
        assert json.loads(json.dumps(plan.document()))["model"] == each.id
        if on is not None:
            assert plan.engine_plan is None, f"{each.id}: nothing of it is started here"


@pytest.mark.parametrize("on", ["h200x8", "kunlun-p800x8", "rtx-4090", "ascend-910bx8"])
def test_a_command_for_other_hardware_is_of_an_engine_and_a_repository_that_somebody_named(on: str) -> None:
    there = ground()
    for each in SHIPPED.cards():
        plan = plan_deployment(Wish(model=each.id, on=on), there)
        if plan.command is None:
            continue
        recipes = [recipe for recipe in each.recipes if recipe.engine == plan.engine]
        named = [*each.repositories, "FILE.gguf", f"REPOSITORY-IN-{(plan.quantisation or '').upper()}"]
        documented = any(recipe.command.split()[:2] == plan.command.split()[:2] for recipe in recipes)
        assert documented or any(name in plan.command for name in named), (each.id, plan.command)
        accelerator = SHIPPED.accelerator(re.sub(r"x\d+$", "", on))
        assert plan.engine in {support.engine for support in accelerator.engines}, each.id


def test_every_open_card_of_the_mission_that_has_a_recipe_has_a_command_on_hardware_that_is_found_for_it() -> None:
    there = ground()
    for each in SHIPPED.cards():
        if not any(recipe.engine == "vllm" for recipe in each.recipes):
            continue
        hardware = suggested(each, SHIPPED)
        assert hardware is not None, each.id
        plan = plan_deployment(Wish(model=each.id, on=hardware), there)
        assert plan.ok, (each.id, plan.missing)
        assert plan.attach is not None
        assert plan.attach.startswith("changeover deploy "), each.id


# This machine.


def test_gguf_weights_without_an_accelerator_go_to_the_embedded_engine() -> None:
    plan = plan_of(Wish(model="small"), small(artifacts=(gguf(),)))
    assert (plan.ok, plan.engine, plan.quantisation) == (True, "local", "Q4_1")
    assert "embedded engine" in plan.why
    assert "openvino (not installed)" in plan.alternatives
    assert plan.weights is not None
    assert (plan.weights.bytes, plan.weights.here) == (GIB, False)
    assert plan.weights.source == "the file /weights/model.gguf"
    assert plan.ready_s == 50, "30 s, and 20 s for each GiB"
    assert plan.command == "changeover deploy small --engine local"
    assert plan.process is None, "the weights are not here to make it from"


def test_another_engine_that_loads_what_the_first_cannot_is_chosen() -> None:
    model = small(
        artifacts=(safetensors(),), engines=(EngineSupport(engine="vllm"), EngineSupport(engine="transformers"))
    )
    here = replace(ground(catalogue(model), installed=("transformers",)), cache=Path("/nowhere"))
    plan = plan_deployment(Wish(model="small"), here)
    assert plan.engine == "transformers"
    assert kinds(plan) == ["weights"], "it has no source"


def test_on_an_accelerator_its_own_engine_is_chosen_and_its_memory_counted() -> None:
    model = small(artifacts=(safetensors(), gguf()), engines=(EngineSupport(engine="vllm"),))
    found = Detected((Found(accelerator=GPU, count=1, how="test"),), ())
    plan = plan_of(Wish(model="small"), model, installed=("vllm",), detected=found)
    assert plan.engine == "local", "safetensors have no source here"
    plan = plan_of(Wish(model="small", engine="vllm"), model, installed=("vllm",), detected=found)
    assert plan.has_bytes is not None
    assert 20 * GIB < plan.has_bytes < 24 * GIB
    assert plan.layout is not None
    assert "--tensor-parallel-size 1" in plan.flags


def test_what_an_engine_lacks_is_said_with_its_own_remedy() -> None:
    model = small(artifacts=(gguf(),))
    here = ground(catalogue(model))
    lacking = {**here.backends, "openvino": Installed(Missing(what="the package `x`", remedy="Install `x`."))}
    plan = plan_deployment(Wish(model="small", engine="openvino"), replace(here, backends=lacking))
    assert [(each.what, each.remedy) for each in plan.missing] == [("the package `x`", "Install `x`.")]
    plan = plan_deployment(Wish(model="small", engine="ollama"), here)
    assert plan.missing[0].remedy == "Install it: `changeover engines install ollama`."


def test_too_little_memory_names_what_would_fit_and_where_it_would() -> None:
    plan = plan_deployment(Wish(model="deepseek-r1"), ground())
    memory = next(each for each in plan.missing if each.kind == "memory")
    assert "8.0 GiB" in memory.what
    assert "8 × H200" in memory.remedy
    assert "--on h200x8" in memory.remedy
    less = plan_deployment(Wish(model="qwen2.5-coder-1.5b-instruct"), ground(budget=4 * GIB // 3))
    assert "Would fit: " in less.missing[0].remedy
    assert "qwen2.5-coder-0.5b-instruct" in less.missing[0].remedy


def test_memory_that_others_hold_is_named_with_what_to_stop() -> None:
    model = small(artifacts=(gguf(),))
    plan = plan_of(Wish(model="small"), model, budget=4 * GIB, held=[held("a", 1), held("big", 2), held("small", 1)])
    assert kinds(plan) == ["room"]
    assert "beside 3.0 GiB that run" in plan.missing[0].what
    assert "`changeover undeploy big`" in plan.missing[0].remedy
    assert plan_of(Wish(model="small"), model, budget=4 * GIB, held=[held("small", 3)]).ok, "it takes its own place"


def test_what_nobody_needs_is_unloaded_for_it_as_the_fleet_will_do() -> None:
    model = small(artifacts=(gguf(),))
    plan = plan_of(Wish(model="small"), model, budget=4 * GIB, held=[held("a", 1), held("rests", 2, "none")])
    assert plan.ok
    assert [note for note in plan.notes if "`rests`" in note] == [
        "Nobody needs `rests` now: unloaded for it, and loaded again when asked for."
    ]


def test_threads_that_tuning_found_are_taken_and_stated_unless_others_were_asked_for() -> None:
    model = small(artifacts=(gguf(),))
    found = Tuning(machine="m", slots=4, threads=1, quantisation="Q4_1", fastest="Q4_1", trials=())
    kept = {("small", "local"): KeptTuning(tuning=found, measured_at=datetime(2026, 11, 30, tzinfo=UTC))}
    for common, threads, says in (({}, 1, "1, tuned 2026-11-30"), ({"threads": 2}, 2, "2")):
        plan = plan_of(Wish(model="small", common=common), model, tunings=kept)
        assert plan.engine_plan is not None
        assert (plan.engine_plan.options["threads"], plan.threads) == (threads, says)
        assert any(f"threads    {says}" in line.plain for line in plan_lines(plan, 100))
    assert plan_of(Wish(model="small"), model).threads is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"options": {"context_tokens": "abc"}}, "`options` of `local`: `context_tokens` = `abc`"),
        ({"options": {"slotts": 2}}, "`slotts`: unknown key. Did you mean `slots`?"),
        ({"options": 5}, "`options` are those of the engine that Ray runs"),
    ],
)
def test_options_for_rays_replicas_are_checked_before_anything_is_planned(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(Wish(model="small", engine="ray", options=options), small(artifacts=(gguf(),)), installed=("ray",))
    assert says in caught.value.message


def test_what_somebody_calls_a_model_moves_no_cursor() -> None:
    options = {"base_url": "http://h/v1", "model": "a\x1b[31mb"}
    plan = plan_deployment(Wish(model="far", engine="openai", options=options), ground())
    assert not any("\x1b" in line.plain for line in plan_lines(plan, 100))


def test_a_profile_that_cannot_be_is_refused_by_the_plan() -> None:
    with pytest.raises(ConfigError, match=r"profile: `has`: expected"):
        plan_deployment(Wish(model="any", engine="echo", options={"profile": {"has": 5}}), ground())


def test_a_licence_that_the_policy_refuses_is_missing_wherever_it_would_run() -> None:
    refused = ground(policy=Policy(refused_vendors=("Z.ai (Zhipu)",)), variables=frozenset({"ZHIPU_API_KEY"}))
    for more in ({}, {"on": "h200x8"}, {"engine": "openai"}):
        plan = plan_deployment(Wish(model="glm-4.6", **more), refused)  # pyright: ignore[reportArgumentType]
        assert plan.missing[0].kind == "licence", more
        assert plan.missing[0].remedy == "`changeover licences glm-4.6` says more."


def test_a_model_that_writes_no_text_has_no_engine_of_ours() -> None:
    plan = plan_deployment(Wish(model="hunyuan-image-3.0"), ground())
    assert (plan.engine, kinds(plan)) == (None, ["engine"])
    assert "vllm-omni" in plan.missing[0].remedy


def test_weights_that_are_here_give_the_command_line_of_the_process(tmp_path: Path) -> None:
    weights = build()
    (tmp_path / "model.gguf").write_bytes(weights)
    source = [{"path": str(tmp_path / "model.gguf")}]
    artifact = gguf(len(weights), sha256=hashlib.sha256(weights).hexdigest(), sources=source)
    pull(artifact, tmp_path / "cache", Silent())
    model = small(artifacts=(artifact,))
    here = ground(catalogue(model), installed=("llama-server",), cache=tmp_path / "cache")
    plan = plan_deployment(Wish(model="small"), here)
    assert plan.process is not None
    assert plan.process.endswith("-m changeover.serving.engines.local")
    assert plan.weights is not None
    assert plan.weights.here
    foreign = plan_deployment(Wish(model="small", engine="llama-server"), here)
    assert foreign.process == "serve --port '{port}'", "without the warden that keeps it"
    assert foreign.ready_s is not None
    assert foreign.ready_s >= 130, "what it takes before it reads weights comes on top"


def test_weights_of_another_form_are_made_of_those_that_the_card_has(tmp_path: Path) -> None:
    model = small(artifacts=(gguf(quantisation="Q4_K_M"),), engines=(EngineSupport(engine="vllm"),))
    bare = Homes(managed=tmp_path)
    plan = plan_of(Wish(model="small", engine="vllm"), model, installed=("vllm",), homes=bare)
    assert plan.weights is not None
    assert (plan.weights.format, plan.quantisation) == ("gguf", "BF16")
    assert plan.weights.to_make is not None
    assert plan.weights.to_make.startswith("BF16 safetensors, about 3.")
    assert plan.engine_plan is not None
    assert plan.engine_plan.making is not None
    assert [each.what for each in plan.missing] == ["what makes BF16 safetensors of its GGUF file"]
    assert "`changeover engines install transformers`" in plan.missing[0].remedy
    unpinned = plan_of(Wish(model="small", engine="vllm"), small(repositories=("o/small",)), installed=("vllm",))
    assert kinds(unpinned) == ["weights"]
    assert any("Nobody verified that vllm runs it" in each for each in unpinned.notes)


# What is asked for.


def test_an_option_that_an_engine_does_not_have_is_refused_with_those_that_it_has() -> None:
    model = small(artifacts=(gguf(),))
    with pytest.raises(ConfigError, match=r"`--engine ollama` has no `--threads`. Its options, .*`flags`"):
        plan_of(Wish(model="small", engine="ollama", common={"threads": 2}), model)
    with pytest.raises(ConfigError, match=r"`slts`: unknown key. Did you mean `slots`"):
        plan_of(Wish(model="small", options={"slts": 2}), model)
    plan = plan_of(Wish(model="small", options={"embeddings": True}), model)
    assert plan.engine == "local", "those that do not know the option are left out"


def test_replicas_are_rays_of_the_engine_that_was_named() -> None:
    model = small(artifacts=(gguf(),))
    wish = Wish(model="small", engine="openvino", replicas=3, common={"slots": 2}, options={"cache_gib": 2})
    plan = plan_of(wish, model, installed=("ray",))
    assert plan.engine == "ray"
    assert plan.engine_plan is not None
    assert plan.engine_plan.options == {
        "engine": "openvino",
        "replicas": 3,
        "options": {"context_tokens": 4096, "slots": 2, "cache_gib": 2},
    }
    one = plan_of(Wish(model="small", engine="openvino", common={"slots": 2}), model, installed=("openvino",))
    assert plan.needs_bytes == 3 * (one.needs_bytes or 0), "each has its own weights and context"
    by_hand = Wish(model="small", engine="ray", replicas=2, options={"engine": "local", "cores": 0.5})
    options = by_hand.replicated().options
    assert options == {"engine": "local", "cores": 0.5, "replicas": 2}
    with pytest.raises(ConfigError, match="not of `ollama`"):
        Wish(model="small", engine="ollama", replicas=2).replicated()
    assert Wish(model="small", engine="ollama").replicated().engine == "ollama"


def test_the_command_of_a_plan_says_all_that_was_asked() -> None:
    options: Mapping[str, Any] = {"profile": {"reasoning": "think", "dropped": ["a b"]}, "embeddings": True, "x": 0.5}
    wish = Wish(model="small", name="other", common={"slots": 2}, options=options)
    parts = shlex.split(command_of(wish, "local"))
    assert parts[:7] == ["changeover", "deploy", "small", "--engine", "local", "--name", "other"]
    assert parts[7:9] == ["--slots", "2"]
    assert options_of(parts[10::2]) == options


def test_names_that_are_nothing_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean `vllm`"):
        engine_named("vlm")
    assert {engine_named(name) for name in OPTIONS} == set(OPTIONS)
    with pytest.raises(UnknownModelError, match="Did you mean `small`"):
        plan_of(Wish(model="smal"), small())
    with pytest.raises(UnknownModelError, match="h300"):
        plan_deployment(Wish(model="gpt-oss-20b", on="h300x8"), ground())


# Other hardware.


def test_the_engine_that_was_named_runs_there_by_its_own_command() -> None:
    sglang = plan_deployment(Wish(model="glm-4.5-air", on="h200x8", engine="sglang"), ground())
    assert sglang.engine == "sglang"
    assert sglang.command is not None
    assert "sglang.launch_server" in sglang.command
    kunlun = plan_deployment(Wish(model="qianfan-vl-70b", on="kunlun-p800x8", engine="vllm"), ground())
    assert kunlun.engine == "vllm-kunlun", "the accelerator's own edition"
    unknown = plan_deployment(Wish(model="glm-4.6", on="h200x8", engine="ollama"), ground())
    assert unknown.undecided
    assert "whether ollama runs on" in unknown.missing[0].what
    with pytest.raises(ConfigError, match="`ray` is not started by hand"):
        plan_deployment(Wish(model="glm-4.6", on="h200x8", engine="ray"), ground())


def test_a_limit_that_is_documented_is_said_where_memory_alone_would_do() -> None:
    plan = plan_deployment(Wish(model="kimi-k2-instruct", on="h200x8"), ground())
    assert kinds(plan) == ["memory"]
    assert plan.missing[0].what.startswith("other hardware than h200x8: ")
    assert "16 cards in 2 nodes" in plan.missing[0].remedy


def test_a_server_becomes_a_deployment_under_the_name_that_it_serves() -> None:
    plan = plan_deployment(Wish(model="deepseek-v3.1", on="h200x8", name="market"), ground())
    assert plan.attach == "changeover deploy ds31 --engine openai --url http://SERVER:PORT/v1 --name market"
    assert served_name("ollama run gpt-oss:20b", SHIPPED.card("gpt-oss-20b")) == "gpt-oss:20b"
    assert plan_deployment(Wish(model="hunyuan3d-omni", on="h200"), ground()).attach is None, "it speaks no such API"


# Hosts.


def test_a_closed_model_is_planned_at_its_host_under_a_dated_name() -> None:
    plan = plan_deployment(Wish(model="qwen3-max"), ground(variables=frozenset({"DASHSCOPE_API_KEY"})))
    assert plan.ok, plan.missing
    assert plan.engine_plan is not None
    options = plan.engine_plan.options_as(OpenAIOptions)
    assert options.base_url == "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"
    assert (options.model, options.api_key_env) == ("qwen3-max-2026-01-23", "DASHSCOPE_API_KEY")
    assert any("qwen3-max-2025-09-23" in each for each in plan.notes)
    mainland = plan_deployment(Wish(model="qwen3-max", host="mainland"), ground())
    assert mainland.address == "https://dashscope.aliyuncs.com/compatible-mode/v1"
    assert kinds(mainland) == ["key"]
    assert "`DASHSCOPE_API_KEY`" in mainland.missing[0].what
    older = plan_deployment(Wish(model="qwen3-max", options={"model": "qwen3-max-2025-09-23"}), ground())
    assert older.served_as == "qwen3-max-2025-09-23"


@pytest.mark.parametrize(
    ("model", "address", "served", "variable"),
    [
        ("kimi-k2-instruct-0905", "https://api.moonshot.ai/v1", "kimi-k2-0905-preview", "MOONSHOT_API_KEY"),
        ("glm-4.6", "https://api.z.ai/api/paas/v4", "glm-4.6", "ZHIPU_API_KEY"),
        ("minimax-m2", "https://api.minimax.io/v1", "MiniMax-M2", "MINIMAX_API_KEY"),
    ],
)
def test_an_open_model_is_asked_at_its_host_where_that_is_asked_for(
    model: str, address: str, served: str, variable: str
) -> None:
    here = ground(variables=frozenset({variable}))
    plan = plan_deployment(Wish(model=model, engine="openai"), here)
    assert (plan.ok, plan.address, plan.served_as, plan.key_variable) == (True, address, served, variable)
    row = SHIPPED.card(model).hosted[0]
    assert any("is an alias" in each for each in plan.notes) == (row.pin == "alias")
    assert plan_deployment(Wish(model=model), here).engine != "openai", "nothing leaves this machine unasked"


def test_an_id_that_answers_with_another_model_is_not_taken_for_the_card() -> None:
    here = ground(variables=frozenset({"DEEPSEEK_API_KEY"}))
    plan = plan_deployment(Wish(model="deepseek-r1", engine="openai"), here)
    assert kinds(plan) == ["model"]
    assert "V4" in plan.missing[0].what
    assert "changeover deploy deepseek-reasoner --engine openai" in plan.missing[0].remedy


def test_what_nobody_verified_of_a_host_is_asked_for() -> None:
    plan = plan_deployment(Wish(model="qianfan-vl-8b", engine="openai"), ground())
    assert kinds(plan) == ["model", "key"]
    assert plan.engine_plan is None
    told = Wish(model="qianfan-vl-8b", engine="openai", key_variable="QF", options={"model": "vl-8b"})
    assert plan_deployment(told, ground(variables=frozenset({"QF"}))).ok
    for unhosted in ("gpt-oss-20b", "hunyuan-image-3.0"):
        plan = plan_deployment(Wish(model=unhosted, engine="openai"), ground())
        assert (kinds(plan), "--url" in plan.missing[0].remedy) == (["address"], True)
    addressless = small(hosted=(Hosted(host="H", id="small", pin="alias"),))
    assert "address" in kinds(plan_of(Wish(model="small", engine="openai"), addressless))


def test_a_dated_name_at_a_host_is_judged_by_the_licence_of_its_card() -> None:
    refused = ground(policy=Policy(refused_vendors=("Alibaba",)), variables=frozenset({"DASHSCOPE_API_KEY"}))
    plan = plan_deployment(Wish(model="qwen3-max"), refused)
    assert kinds(plan) == ["licence"]
    assert "`qwen3-max`" in plan.missing[0].what


def test_an_address_that_is_given_is_taken_for_any_name() -> None:
    wish = Wish(model="anything", engine="openai", url="http://127.0.0.1:9/v1", name="mine", key_variable="K")
    plan = plan_deployment(wish, ground(variables=frozenset({"K"})))
    assert plan.ok
    assert plan.engine_plan is not None
    assert plan.engine_plan.options == {
        "base_url": "http://127.0.0.1:9/v1",
        "model": "anything",
        "api_key_env": "K",
    }
    with pytest.raises(ConfigError, match="needs `--url`"):
        plan_deployment(Wish(model="anything", engine="openai"), ground())


def test_what_is_to_be_stopped_for_it_holds_no_memory() -> None:
    model = small(artifacts=(gguf(),))
    full = ground(catalogue(model), budget=4 * GIB, held=[held("big", 3)])
    assert kinds(plan_deployment(Wish(model="small"), full)) == ["room"]
    assert plan_deployment(Wish(model="small"), full.without("big")).ok


def test_kunlun_cards_are_for_kunluns_engine_and_gguf_stays_on_the_processor() -> None:
    model = small(artifacts=(gguf(),), engines=(EngineSupport(engine="vllm-kunlun"),))
    p800 = SHIPPED.accelerator("kunlun-p800")
    here = ground(
        catalogue(model), detected=Detected((Found(accelerator=p800, count=8, how="test"),), ("xpu-smi failed",))
    )
    plan = plan_deployment(Wish(model="small"), here)
    assert (plan.engine, plan.has_bytes) == ("local", 8 * GIB)
    assert "computes on the processor" in plan.why
    assert "xpu-smi failed" in plan.notes
    kunlun = plan_deployment(Wish(model="small", engine="kunlun"), here)
    assert kunlun.has_bytes is not None
    assert kunlun.has_bytes > 80 * GIB, "of its cards"
    vllm = plan_deployment(Wish(model="small", engine="vllm"), here)
    assert vllm.has_bytes == 8 * GIB, "nobody says that the plain one runs on them"
