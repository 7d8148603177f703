"""Where the library is read from: the project here, or the cards as they ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from changeover.app.library_files import LibraryFiles
from changeover.core.errors import ConfigError
from changeover.core.settings import SETTINGS_FILE


def test_outside_of_a_project_it_is_the_library_as_it_ships(tmp_path: Path) -> None:
    files = LibraryFiles.at(tmp_path)
    assert (files.project, files.policy(), files.marks()) == (None, None, ())
    assert files.catalogue().cards()


def test_below_a_project_with_wrong_settings_nothing_is_read_as_if_there_were_none(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text("unknown_key = 1\n")
    below = tmp_path / "tasks"
    below.mkdir()
    with pytest.raises(ConfigError, match="unknown_key"):
        LibraryFiles.at(below)


def test_an_artifact_that_was_pinned_since_the_last_look_is_seen(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text('name = "p"\n')
    pinned = tmp_path / "library" / "pulled"
    pinned.mkdir(parents=True)
    files = LibraryFiles.at(tmp_path)
    before = files.marks()
    assert files.marks() == before
    (pinned / "some-model.toml").write_text("")
    assert files.marks() != before
