"""What `make docs` makes a site of: each page has one place in the navigation, and nothing is loaded from elsewhere."""

from __future__ import annotations

import re
import runpy
import tomllib
from posixpath import join, normpath

from tests.support.pages import ROOT, repository

SPHINX = ROOT / "docs" / "sphinx"
CONF = runpy.run_path(str(SPHINX / "conf.py"))


def test_every_page_has_one_place_in_the_navigation() -> None:
    index = CONF["root_doc"]
    trees = CONF["navigation"]((ROOT / f"{index}.md").read_text()).split("```{toctree}\n")[1:]
    placed = [
        normpath(join(index, "..", line)) for tree in trees for line in tree.split("```")[0].split("\n\n")[1].split()
    ]
    parts = [page.relative_to(ROOT) for page in repository() if page.suffix == ".md"]
    pages = {str(part.with_suffix("")) for part in parts if len(part.parts) == 1 or part.parts[0] == "docs"}
    assert len(placed) == len(set(placed))
    assert set(placed) == pages - {index}


def test_links_to_what_has_no_page_become_names() -> None:
    named = CONF["without_sources"]
    assert (
        named("docs/guides/x", "[cards](../../src/changeover/library/data)") == "cards (`src/changeover/library/data`)"
    )
    assert named("README", "[docs](docs/README.md)") == "[docs](docs/README.md)"
    assert named("README", "[far](https://example.org/a)") == "[far](https://example.org/a)"


def test_the_site_is_pinned_and_names_no_other_place() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["docs"]
    pinned = (SPHINX / "requirements.txt").read_text()
    for requirement in declared:
        name = re.split(r"[<>=!~ ]", requirement)[0]
        assert re.search(rf"^{name}==\S+ \\$", pinned, re.MULTILINE), f"{name}: run `make lock`"
    ours = [file for file in SPHINX.rglob("*") if file.suffix in (".css", ".html")]
    assert [file.name for file in ours if re.search(r"(?:https?:)?//[\w.-]+\.\w+", file.read_text())] == []
