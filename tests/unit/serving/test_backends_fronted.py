"""OpenVINO and transformers as backends: what they say of themselves, lack, and how they are started."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.cards import card

from changeover.core.errors import ArtifactError, EngineError
from changeover.core.settings import EngineHome, EngineSettings
from changeover.library.artifacts import Artifact
from changeover.serving.backends import Launch, OpenVINOBackend, TransformersBackend
from changeover.serving.deployments import plan_for_card
from changeover.serving.homes import Homes
from changeover.serving.options import BackendName
from changeover.serving.plan import EnginePlan

QWEN = "qwen2.5-coder-0.5b-instruct"


def homes(tmp_path: Path, **packages: str) -> Homes:
    """An environment in which packages are installed, as far as anybody looks."""
    site = tmp_path / "home" / "lib" / "python3.12" / "site-packages"
    for name, version in packages.items():
        folder = site / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    python = EngineHome(python=str(tmp_path / "home" / "bin" / "python"))
    return Homes(declared={"openvino": python, "transformers": python})


def gguf(tmp_path: Path, **metadata: int | str) -> Path:
    """A file with a header and no tensors."""
    values = {"general.architecture": "qwen2", "qwen2.context_length": 2048, **metadata}
    body = b""
    for key, value in values.items():
        body += struct.pack("<Q", len(key)) + key.encode()
        if isinstance(value, int):
            body += struct.pack("<II", 4, value)
        else:
            body += struct.pack("<IQ", 8, len(value)) + value.encode()
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(values)) + body)
    return path


def checkpoint(tmp_path: Path, **config: object) -> Path:
    path = tmp_path / "weights"
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"max_position_embeddings": 8192, "eos_token_id": 7, **config}))
    (path / "model.safetensors").write_bytes(b"weights")
    (path / "tokenizer.json").write_text("{}")
    (path / "chat_template.jinja").write_text("{{ messages }}")
    return path


def plan(backend: BackendName, path: Path, *, quantisation: str | None = None, **options: Any) -> EnginePlan:
    return EnginePlan(
        deployment="d", backend=backend, model=QWEN, artifact=path, quantisation=quantisation, options=options
    )


def worker(launch: Launch) -> dict[str, Any]:
    return cast("dict[str, Any]", launch.config["worker"])


def test_openvino_describes_a_file_without_starting_anything(tmp_path: Path) -> None:
    part = OpenVINOBackend(homes(tmp_path, openvino_genai="2026.4.1.0")).describe(
        plan("openvino", gguf(tmp_path), quantisation="Q8_0", slots=2)
    )
    assert (part.engine, part.engine_version) == ("OpenVINO (openvino-genai)", "2026.4.1.0")
    assert part.flags == {"context_tokens": 2048, "slots": 2, "device": "CPU", "batched_tokens": 512}
    assert part.profile["tool_calls"] == "hermes"


def test_openvino_starts_a_front_with_a_worker_in_its_own_environment(tmp_path: Path) -> None:
    path = gguf(tmp_path, **{"tokenizer.ggml.eos_token_id": 5, "tokenizer.ggml.eot_token_id": 9})
    backend = OpenVINOBackend(homes(tmp_path, openvino_genai="2026.4.1.0"))
    launch = backend.launch(plan("openvino", path, threads=3, cache_gib=2, context_tokens=9000))
    python, flag, script, module = cast("tuple[str, ...]", launch.config["argv"])
    assert (python, flag) == (str(tmp_path / "home" / "bin" / "python"), "-P")
    assert Path(script).is_file()
    assert module == "changeover.serving.engines.openvino"
    assert worker(launch) == {
        "artifact": str(path),
        "context_tokens": 2048,
        "ends": (5, 9),
        "special_text": True,  # marks of tool calls are looked for in the text
        "device": "CPU",
        "slots": 4,
        "threads": 3,
        "cache_gib": 2,
        "batched_tokens": 512,
    }


@pytest.mark.parametrize(
    ("quantisation", "reads"), [("Q8_0", True), ("q4_1", True), ("Q4_K_M", False), ("Q5_0", False)]
)
def test_openvino_says_which_weights_it_does_not_read(tmp_path: Path, quantisation: str, reads: bool) -> None:
    backend = OpenVINOBackend(homes(tmp_path, openvino_genai="2026.4.1.0"))
    missing = backend.missing(plan("openvino", gguf(tmp_path), quantisation=quantisation))
    assert not missing if reads else quantisation in missing[0].what


def test_openvino_reads_what_is_made_for_it(tmp_path: Path) -> None:
    source = Artifact(format="gguf", quantisation="Q4_K_M", size_bytes=100, sha256="ab" * 32)
    made = plan_for_card(card("m", artifacts=(source,)), tmp_path, EngineSettings(), backend="openvino")

    assert made.quantisation == "Q8_0 from Q4_K_M"
    assert OpenVINOBackend(homes(tmp_path, openvino_genai="2026.4.1.0")).missing(made) == []


def test_what_openvino_has_made_itself_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    backend = OpenVINOBackend(homes(tmp_path, openvino_genai="2026.4.1.0"))
    assert not backend.missing(plan("openvino", checkpoint(tmp_path), quantisation="INT4"))


def test_transformers_describes_a_checkpoint_with_the_version_of_torch(tmp_path: Path) -> None:
    backend = TransformersBackend(homes(tmp_path, transformers="5.23.0", torch="2.13.0"))
    part = backend.describe(plan("transformers", checkpoint(tmp_path, text_config={"max_position_embeddings": 1024})))
    assert (part.engine, part.engine_version) == ("transformers", "5.23.0")
    assert part.flags == {"context_tokens": 1024, "device": "cpu", "dtype": "auto", "torch": "2.13.0"}
    assert part.weights_digest is not None
    assert part.tokenizer_digest is not None
    assert part.chat_template_digest is not None
    assert part.profile == {"tool_calls": "hermes"}  # that it holds to no schema is plain for this kind of engine


def test_a_file_and_a_directory_without_a_template_are_asked_for_text_that_goes_on(tmp_path: Path) -> None:
    backend = TransformersBackend(homes(tmp_path, transformers="5.23.0", torch="2.13.0"))
    base = {"endpoints": ["completions"]}.items()
    file, directory = gguf(tmp_path), checkpoint(tmp_path)

    assert backend.describe(plan("transformers", file)).profile.items() >= base
    chats = gguf(tmp_path, **{"tokenizer.chat_template": "{{ messages }}"})
    assert "endpoints" not in backend.describe(plan("transformers", chats)).profile
    (directory / "chat_template.jinja").unlink()
    assert backend.describe(plan("transformers", directory)).profile.items() >= base


def test_transformers_has_one_thread_unless_it_is_given_more(tmp_path: Path) -> None:
    backend = TransformersBackend(homes(tmp_path, transformers="5.23.0", torch="2.13.0"))
    path = checkpoint(tmp_path)
    launch = backend.launch(plan("transformers", path))
    assert (launch.environment["OMP_NUM_THREADS"], worker(launch)["threads"]) == ("1", 1)
    assert backend.launch(plan("transformers", path, threads=2)).environment["OMP_NUM_THREADS"] == "2"


def test_what_is_not_installed_is_missing_and_named(tmp_path: Path) -> None:
    nothing = homes(tmp_path, torch="2.13.0")
    assert [each.what.split("`")[1] for each in OpenVINOBackend(nothing).missing(None)] == ["openvino-genai"]
    assert [each.what.split("`")[1] for each in TransformersBackend(nothing).missing(None)] == ["transformers"]
    with pytest.raises(EngineError, match="changeover engines install openvino"):
        OpenVINOBackend(nothing).describe(plan("openvino", gguf(tmp_path)))


def test_a_network_that_openvino_does_not_read_is_said_before_it_fails_five_starts(tmp_path: Path) -> None:
    backend = OpenVINOBackend(homes(tmp_path, openvino_genai="2026.4.1.0"))
    gemma = gguf(tmp_path, **{"general.architecture": "gemma3", "gemma3.context_length": 2048})

    assert ["gemma3" in each.what for each in backend.missing(plan("openvino", gemma, quantisation="Q8_0"))] == [True]
    assert backend.missing(plan("openvino", gguf(tmp_path), quantisation="Q8_0")) == []


def test_a_directory_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    backend = TransformersBackend(homes(tmp_path, transformers="5.23.0", torch="2.13.0"))
    with pytest.raises(ArtifactError, match=r"no config\.json"):
        backend.launch(plan("transformers", tmp_path))
    with pytest.raises(ArtifactError, match="is not there"):
        backend.launch(plan("transformers", tmp_path / "nowhere"))


def test_other_weights_are_another_digest(tmp_path: Path) -> None:
    backend = TransformersBackend(homes(tmp_path, transformers="5.23.0", torch="2.13.0"))
    path = checkpoint(tmp_path)
    before = backend.describe(plan("transformers", path))
    (path / "model.safetensors").write_bytes(b"others")
    after = backend.describe(plan("transformers", path))
    assert before.weights_digest != after.weights_digest
    assert before.tokenizer_digest == after.tokenizer_digest
