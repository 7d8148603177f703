"""The console still looks like its pictures in the docs, which `python -m docs.pictures` takes.

A page may differ in how letters are drawn, and not in where things are and which colour they have.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from docs.pictures.likeness import CHANGED, difference, measured, pictured
from docs.pictures.scene import SHOTS, Scene, Shot, scene
from PIL import Image
from tests.support import browser

pytestmark = pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("pictures") / "project") as it:
        if (here := measured(it.browser)) != pictured():
            pytest.skip(f"the pictures were taken with other fonts: {pictured()}, and here {here}")
        yield it


@pytest.mark.parametrize("shot", SHOTS, ids=[shot.name for shot in SHOTS])
def test_a_page_looks_like_its_picture(made: Scene, shot: Shot) -> None:
    found = difference(Image.open(shot.file), made.taken(shot))
    assert found < CHANGED, f"{found:.1%} of it differ: look at it, then `make pictures`"


def test_a_page_without_its_style_sheets_looks_like_no_picture(made: Scene) -> None:
    shot = SHOTS[0]
    assert difference(Image.open(shot.file), made.taken(shot, without="**/tasks.css")) > CHANGED
    assert difference(Image.open(shot.file), made.taken(shot, without="**/base.css")) > 3 * CHANGED
