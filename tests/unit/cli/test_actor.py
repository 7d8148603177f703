"""Histories tell people from the system that decides by itself."""

from __future__ import annotations

import pytest

from changeover.cli.frame import actor
from changeover.core.actors import NOBODY


@pytest.mark.parametrize(
    ("user", "named"), [("ana", "ana"), ("changeover", "user:changeover"), ("watch", "user:watch")]
)
def test_no_user_of_the_machine_is_named_like_the_system(
    user: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", user)
    assert actor() == named
    assert actor() not in NOBODY
