from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from tests.unit.library.gguf_builder import METADATA, STRING, build

from changeover.core.errors import ArtifactError, ConfigError
from changeover.serving.backends import BACKENDS, Launch, describe
from changeover.serving.plan import EnginePlan
from changeover.serving.profiles import profile_of_part


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(build())
    return path


@pytest.fixture
def projector(tmp_path: Path) -> Path:
    path = tmp_path / "mmproj.gguf"
    path.write_bytes(build({**METADATA, "general.architecture": (STRING, "clip")}))
    return path


def plan(weights: Path, **options: object) -> EnginePlan:
    said: dict[str, object] = {"slots": 2, **options}
    return EnginePlan(deployment="d", backend="local", model="m", artifact=weights, options=said)  # pyright: ignore[reportArgumentType]


def test_a_projector_gives_a_deployment_eyes_and_makes_it_another_bundle(weights: Path, projector: Path) -> None:
    seeing, blind = describe(plan(weights, projector=str(projector))), describe(plan(weights))

    assert seeing.flags["projector"] == sha256(projector.read_bytes()).hexdigest()
    assert "projector" not in blind.flags
    assert profile_of_part(seeing).has == ("vision",)
    assert profile_of_part(blind).has == ()


def test_the_engine_is_told_where_it_is_and_computes_an_image_in_one_piece(weights: Path, projector: Path) -> None:
    launch, blind = (
        BACKENDS["local"].launch(plan(weights, projector=str(projector))),
        BACKENDS["local"].launch(plan(weights)),
    )

    assert isinstance(launch, Launch)
    assert isinstance(blind, Launch)
    assert launch.config["projector"] == str(projector)
    assert "projector" not in blind.config
    assert launch.config["settings"] == {**blind.config["settings"], "n_batch": 512}  # pyright: ignore[reportGeneralTypeIssues]


def test_what_an_operator_says_of_its_eyes_stands(weights: Path, projector: Path) -> None:
    part = describe(plan(weights, projector=str(projector), profile={"lacks": ["vision"]}))

    assert (profile_of_part(part).has, profile_of_part(part).lacks) == ((), ("vision",))


def test_a_file_that_is_no_projector_never_reaches_the_engine(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "junk.gguf").write_bytes(b"GGUF and then nothing of the kind")

    for name, kind, words in (
        (str(weights), ConfigError, "`model.gguf` holds a model \\(llama\\) and no projector"),
        (str(tmp_path / "missing.gguf"), ConfigError, "there is no file"),
        ("mmproj.gguf", ConfigError, "is not an absolute path"),
        (str(tmp_path / "junk.gguf"), ArtifactError, "junk"),
    ):
        with pytest.raises(kind, match=words):
            BACKENDS["local"].launch(plan(weights, projector=name))
