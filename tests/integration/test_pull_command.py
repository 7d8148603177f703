"""`changeover pull` in a project, from a hub on this machine: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.checkpoints import SHARDS, checkpoint
from tests.support.fake_hub import FakeHub, Fault, Repository, fake_hub
from tests.unit.library.gguf_builder import build

from changeover.cli.main import run_command
from changeover.library.artifacts import digest_of_files
from changeover.library.catalogue import Catalogue
from changeover.library.pull import artifact_path, present

NAME = "maker/tiny"
CARD = """\
[[cards]]
id = "tiny"
display_name = "Tiny"
family = "tiny"
vendor = "Maker"
repositories = ["{repositories}"]
sources = [{{ facts = ["everything"], at = "a test", grade = "run", checked = 2026-11-30 }}]
"""
CODE = {"config.json": b'{"auto_map": {"AutoModel": "modeling_tiny.Tiny"}}', "modeling_tiny.py": b"import os\n"}


@dataclass
class World:
    hub: FakeHub
    repository: Repository
    project: Path
    cache: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> tuple[int, str, str]:
        status = run_command(["pull", "tiny", *arguments])
        shown = self.capsys.readouterr()
        return status, shown.out, " ".join(shown.err.split())

    def first(self, *arguments: str) -> tuple[int, str, str]:
        return self.run("--online", "--revision", self.repository.head, *arguments)

    def catalogue(self) -> Catalogue:
        return Catalogue.load(self.project / "library")

    def kept(self) -> list[str]:
        return sorted(file.name for file in self.cache.rglob("*") if file.is_file())

    def pins(self) -> list[Path]:
        return sorted((self.project / "library").glob("pulled/*"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Generator[World]:
    project, cache = tmp_path / "project", tmp_path / "cache"
    (project / "library").mkdir(parents=True)
    monkeypatch.chdir(project)
    monkeypatch.setenv("CHANGEOVER_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "200")
    with fake_hub() as hub:
        repository = hub.add(NAME, checkpoint(**{"pytorch_model.bin": b"\x80\x04K\x01.", "onnx/model.onnx": b"x"}))
        (project / "changeover.toml").write_text(
            f'name = "test"\n[sources]\nhub_endpoint = "{hub.address}"\ntimeout_s = 2\n'
        )
        (project / "library" / "tiny.toml").write_text(CARD.format(repositories=NAME))
        yield World(hub, repository, project, cache, capsys)


def test_a_card_with_only_a_repository_says_how_it_is_pulled(world: World) -> None:
    status, _, said = world.run()
    assert status == 1
    assert "pull it at a commit with `changeover pull tiny --online --revision COMMIT`" in said


def test_offline_the_way_is_said_and_nobody_is_asked(world: World) -> None:
    status, _, said = world.run("--revision", world.repository.head)
    assert (status, world.hub.requests) == (1, [])
    assert "this project is offline. Pull with `--online`" in said


def test_a_branch_is_refused_and_its_commit_named(world: World) -> None:
    status, _, said = world.run("--online", "--revision", "main")
    assert status == 1
    assert "`main` of `maker/tiny` is no commit" in said
    assert f"--revision {world.repository.head}" in said
    assert world.kept() == []


def test_the_first_pull_pins_every_file_and_the_card_has_it_from_then_on(world: World) -> None:
    status, printed, said = world.first("--json")
    assert status == 0, said
    document: dict[str, Any] = json.loads(printed)
    taken = {name: data for name, data in checkpoint().items()}
    directory = Path(document["path"])
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == taken
    assert (document["model"], document["format"], document["quantisation"]) == ("tiny", "safetensors", "F32")
    assert [file["path"] for file in document["files"]] == sorted(taken)
    assert "refused: pytorch_model.bin (pickle runs code when it is read)" in said
    assert "not taken: onnx/model.onnx" in said
    [pin] = world.pins()
    assert document["pinned_in"] == str(pin)
    [artifact] = world.catalogue().card("tiny").artifacts
    assert artifact.sha256 == document["sha256"] == digest_of_files(artifact.files)
    assert present(artifact, world.cache)
    assert not world.hub.asked("pytorch_model.bin")


def test_small_files_are_fetched_once_by_the_first_pull(world: World) -> None:
    assert world.first()[0] == 0
    for name in ("config.json", "tokenizer.json", "LICENSE", *SHARDS):
        assert len(world.hub.asked(f"resolve/.*/{name}$")) == 1, name
    assert not list(world.cache.rglob("first-*"))


def test_a_later_pull_is_pinned_and_refuses_what_the_hub_gives_instead(world: World) -> None:
    assert world.first()[0] == 0
    [artifact] = world.catalogue().card("tiny").artifacts
    shard = artifact_path(artifact, world.cache) / SHARDS[0]
    shard.write_bytes(b"damaged")
    world.hub.fail("/large/", Fault(flip=4000), times=9)
    status, _, said = world.run("--online")
    assert status == 1
    assert "the card says" in said
    assert SHARDS[0] not in world.kept()


def test_the_same_commit_again_is_the_pinned_one(world: World) -> None:
    assert world.first()[0] == 0
    asked = len(world.hub.requests)
    assert world.first()[0] == 0
    assert len(world.hub.requests) == asked
    assert len(world.pins()) == 1


def test_another_commit_becomes_another_artifact_behind_the_first(world: World) -> None:
    assert world.first()[0] == 0
    world.repository.commit(checkpoint(elements=100))
    assert world.first()[0] == 0
    assert len(world.catalogue().card("tiny").artifacts) == 2


def test_a_builds_name_is_asked_for_and_one_file_is_what_the_embedded_engine_loads(world: World) -> None:
    builds = {"tiny-Q4_K_M.gguf": build(weights=bytes(300) + bytes(range(256))), "tiny-Q8_0.gguf": build()}
    world.repository.commit({**builds, "README.md": b"# tiny\n"})
    status, _, said = world.first()
    assert (status, "Name one: `--quantisation Q4_K_M | Q8_0`" in said) == (1, True)
    status, printed, said = world.first("--quantisation", "q8_0", "--json")
    assert status == 0, said
    document = json.loads(printed)
    assert (document["quantisation"], document["files"]) == ("Q8_0", [])
    assert Path(document["path"]).read_bytes() == builds["tiny-Q8_0.gguf"]
    assert Path(document["path"]).name == "model.gguf"
    source = tomllib.loads(world.pins()[0].read_text())["artifacts"][0]["artifact"]["sources"][0]
    assert source == {
        "repository": NAME,
        "revision": world.repository.head,
        "file": "tiny-Q8_0.gguf",
        "hub": "huggingface",
    }


def test_nothing_but_pickle_is_refused_by_name(world: World) -> None:
    world.repository.commit({"pytorch_model.bin": b"\x80\x04K\x01.", "config.json": b"{}"})
    status, _, said = world.first()
    assert status == 1
    assert "has only pickle (`pytorch_model.bin`), which runs code when it is read" in said
    assert not world.hub.asked("resolve")


def test_code_is_shown_and_refused_and_nothing_of_it_is_kept(world: World) -> None:
    world.repository.commit(checkpoint(**CODE))
    status, _, said = world.first()
    assert status == 1
    assert "config.json: auto_map.AutoModel → modeling_tiny.Tiny" in said
    assert "10 bytes modeling_tiny.py" in said
    assert "nobody has approved just that" in said
    assert (world.kept(), world.pins()) == ([], [])
    assert not world.hub.asked("/large/")


def test_without_code_the_weights_come_alone(world: World) -> None:
    world.repository.commit(checkpoint(**CODE))
    status, _, said = world.first("--without-code")
    assert status == 0, said
    assert "modeling_tiny.py" not in world.kept()


def approve(world: World, sha256: str) -> None:
    (world.project / "policy.toml").write_text(
        'on_unknown_licence = "allow"\n'
        f'[[approved_code]]\nmodel = "tiny"\nsha256 = "{sha256}"\nby = "ana"\non = 2026-11-30\nreason = "read it"\n'
    )


def test_approved_code_is_fetched_and_any_other_is_not(world: World) -> None:
    world.repository.commit(checkpoint(**CODE))
    said = world.first()[2]
    sha256 = said.split(" the whole list")[0].split()[-1]
    approve(world, "0" * 64)
    status, _, said = world.first()
    assert (status, "What was approved on 2026-11-30 is another list of files." in said) == (1, True)
    approve(world, sha256)
    status, _, said = world.first()
    assert status == 0, said
    assert "was approved by ana on 2026-11-30: read it" in said
    assert "modeling_tiny.py" in world.kept()
    (world.project / "policy.toml").unlink()
    status, _, said = world.run()
    assert (status, "nobody has approved just that" in said) == (1, True)


def test_code_that_changes_after_it_was_approved_is_refused_where_the_hub_states_no_digest(world: World) -> None:
    files = checkpoint(**CODE)
    world.repository.commit(files)
    world.repository.facts["siblings"] = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
    approve(world, world.first()[2].split(" the whole list")[0].split()[-1])
    world.hub.fail("modeling_tiny.py", Fault(flip=0), skip=1)
    status, _, said = world.first()
    assert (status, "`modeling_tiny.py` changed while it was fetched" in said) == (1, True)
    assert (world.kept(), world.pins()) == ([], [])


def test_what_the_policy_does_not_let_be_used_is_not_fetched(world: World) -> None:
    (world.project / "policy.toml").write_text('refused_vendors = ["Maker"]\n')
    status, _, said = world.first()
    assert (status, world.hub.requests) == (1, [])
    assert "Maker" in said


def test_code_of_another_repository_is_never_approved(world: World) -> None:
    world.repository.commit(checkpoint(**{"config.json": b'{"auto_map": {"AutoModel": "someone/else--modeling.X"}}'}))
    status, _, said = world.first()
    assert status == 1
    assert "has code of another repository run (`someone/else`)" in said


def test_a_small_file_that_is_not_what_the_hub_says_is_refused(world: World) -> None:
    world.hub.fail("resolve/.*/tokenizer.json", Fault(flip=2), times=3)
    status, _, said = world.first()
    assert status == 1
    assert "`tokenizer.json` of `maker/tiny` is not what the hub says of it" in said
    assert world.pins() == []
    assert world.kept() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"sha": "x", "siblings": []}',
        b"[" * 100_000,
        b'{"sha": "%s", "siblings": [{"rfilename": "../x", "size": 1}]}',
    ],
)
def test_a_hub_that_answers_nonsense_is_refused(world: World, body: bytes) -> None:
    said = body.replace(b"%s", world.repository.head.encode())
    world.hub.fail("/api/models/", Fault(status=200, body=said), times=9)
    status, _, error = world.first()
    assert status == 1
    assert "The hub's list of the files of `maker/tiny` cannot be read. Nothing is fetched" in error
    assert (world.kept(), world.pins()) == ([], [])


def test_a_pin_for_no_card_is_refused_with_its_file(world: World) -> None:
    assert world.first()[0] == 0
    [pin] = world.pins()
    pin.write_text(pin.read_text().replace('card = "tiny"', 'card = "tinny"'))
    status, _, said = world.run()
    assert status == 2
    assert "`card`: no card named `tinny`. Did you mean `tiny`?" in said


def test_a_source_of_a_kind_that_the_card_has_not_is_refused(world: World) -> None:
    assert world.first()[0] == 0
    status, _, said = world.run("--from", "mirror")
    assert status == 1
    assert "`tiny` has no source of the kind `mirror`. It has: hub." in said


def test_outside_a_project_the_shipped_cards_are_pulled_from(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["pull", "smollm2-135m-instruct", "--from", "mirror"]) == 1
    assert "has no source of the kind `mirror`. It has: package." in capsys.readouterr().err
