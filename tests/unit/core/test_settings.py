from pathlib import Path

import pytest

from changeover.core.errors import ConfigError
from changeover.core.settings import open_project


def test_a_project_is_found_from_a_directory_inside_it(tmp_path: Path) -> None:
    (tmp_path / "changeover.toml").write_text('name = "bank"\n')
    inside = tmp_path / "tasks" / "deep"
    inside.mkdir(parents=True)
    project = open_project(inside)
    assert project.root == tmp_path
    assert project.store_url == f"sqlite:///{tmp_path}/.changeover/changeover.db"


def test_outside_a_project_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="changeover init"):
        open_project(tmp_path)


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "changeover.toml").write_text('name = "bank"\n')
    monkeypatch.setenv("CHANGEOVER_CACHE", str(tmp_path / "cache"))
    assert open_project(tmp_path).cache == tmp_path / "cache"
