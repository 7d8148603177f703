"""What `make docs` makes a site of: each page has one place in the navigation, and nothing is loaded from elsewhere."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
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


def test_a_link_that_leads_nowhere_and_what_is_loaded_from_elsewhere_are_named(tmp_path: Path) -> None:
    links = runpy.run_path(str(SPHINX / "links.py"))
    (tmp_path / "searchindex.js").write_text('Search.setIndex({"docnames": ["one"], "titles": []})')
    (tmp_path / "one.html").write_text('<a href="two.html#there">x</a><a href="https://example.org">x</a><p id="here">')
    (tmp_path / "two.html").write_text('<p id="there"></p><a href="one.html#here">x</a>')
    assert list(links["wrong"](tmp_path)) == ["two: a search does not find it"]
    (tmp_path / "two.html").write_text(
        '<img src="https://example.org/a.png"><a href="one.html#gone">x</a><a href="three.html">x</a>'
    )
    assert list(links["wrong"](tmp_path)) == [
        "one.html: two.html#there has no such place",
        "two.html: loads https://example.org/a.png from elsewhere",
        "two.html: one.html#gone has no such place",
        "two.html: three.html is not there",
        "two: a search does not find it",
    ]


def test_the_site_is_pinned_and_names_no_other_place() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["docs"]
    pinned = (SPHINX / "requirements.txt").read_text()
    for requirement in declared:
        name = re.split(r"[<>=!~ ]", requirement)[0]
        assert re.search(rf"^{name}==\S+ \\$", pinned, re.MULTILINE), f"{name}: run `make lock`"
    ours = [file for file in SPHINX.rglob("*") if file.suffix in (".css", ".html")]
    assert [file.name for file in ours if re.search(r"(?:https?:)?//[\w.-]+\.\w+", file.read_text())] == []
