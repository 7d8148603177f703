"""`changeover engines`, as somebody meets it outside of a project and in one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.commands import User


@pytest.fixture
def user(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setenv("CHANGEOVER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return User(tmp_path, capsys, ("engines",))


def test_every_kind_is_listed_with_what_it_lacks(user: User) -> None:
    kinds = {kind["name"]: kind for kind in user.json()}

    assert kinds["local"]["ready"]
    assert kinds["local"]["version"]
    assert kinds["echo"]["ready"]
    assert not kinds["vllm"]["ready"]
    assert "changeover engines install vllm" in str(kinds["vllm"]["missing"])
    assert kinds["openvino"]["weights"].startswith("gguf: ")


def test_the_list_need_not_be_named(user: User) -> None:
    status, out, _ = user.call()

    assert status == 0
    assert "✓ local" in out
    assert "kinds can run here" in out


def test_a_dry_run_shows_the_commands_and_runs_none(user: User) -> None:
    _, out, _ = user.call("install", "openvino", "vllm", "--dry-run")

    assert "openvino-genai==2026.4.1" in out
    assert "uninstall --yes torchaudio torchcodec" in out
    assert not (user.project / "cache" / "engines").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("install", "opnvino"), "Did you mean `openvino`?"),
        (("remove", "local"), "No engine named `local` has an environment of its own."),
    ],
)
def test_what_has_no_environment_is_refused(user: User, words: tuple[str, ...], says: str) -> None:
    status, _, err = user.call(*words)

    assert status != 0
    assert says in " ".join(err.split())


def test_removing_what_was_never_installed_says_so(user: User) -> None:
    assert user.json("remove", "ray") == {"ray": False}
