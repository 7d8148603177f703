"""How the pages become a site: `make docs`. Nothing is loaded from elsewhere, so the site works from its files alone.

Sphinx reads this file; the pages stay plain Markdown, as a repository shows them. What the navigation has, and in which
order, is what `docs/README.md` lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import join, normpath, splitext
from typing import Any

ROOT = Path(__file__).parents[2]
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")

project = "Changeover"
author = "the Changeover authors"
project_copyright = "the Changeover authors, Apache-2.0"
[version] = re.findall(r'^__version__ = "(.+)"$', (ROOT / "src/changeover/__init__.py").read_text(), re.MULTILINE)
release = version

extensions = ["myst_parser"]
root_doc = "docs/README"
include_patterns = ["*.md", "docs/*.md", "docs/**/*.md"]
exclude_patterns = [
    ".*",
    "site",
    "tests",
    "src",
    "benchmarks",
    "scripts",
    "docs/sphinx",
    "**/node_modules",
    "**/__pycache__",
]

myst_heading_anchors = 4
myst_enable_extensions = ["strikethrough"]
suppress_warnings = ["misc.highlighting_failure"]
"""A block that shows an excerpt, with `…` where something is left out, is shown without colours."""

html_theme = "furo"
html_title = f"Changeover {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["extra"]
html_copy_source = False
html_show_sphinx = False
html_search_language = "en"
html_show_search_summary = False
"""A summary is fetched from the page found, which a browser refuses where the site is opened from its files."""
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """The sections of the index, and the pages that each lists."""
    _, *parts = HEADING.split(text)
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        yield title, list(dict.fromkeys(target for _, target, _ in LINK.findall(body) if target.endswith(".md")))


def navigation(text: str) -> str:
    """The index with what makes it the navigation of the site; each page stands where it is listed first."""
    placed: set[str] = set()
    parts = [text]
    for title, pages in sections(text):
        new = [page for page in pages if page not in placed]
        placed.update(new)
        entries = "\n".join(splitext(page)[0] for page in new)
        if new:
            parts.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{entries}\n```")
    return "\n\n".join(parts)


def without_sources(docname: str, text: str) -> str:
    """Links to folders of the repository, and to pages inside its code, become their names: a site has no page for them."""

    def named(link: re.Match[str]) -> str:
        path = normpath(join(docname, "..", link[2]))
        inside_code = path.startswith(("src/", "tests/")) and path.endswith(".md")
        return f"{link[1]} (`{path}`)" if inside_code or (ROOT / path).is_dir() else link[0]

    return LINK.sub(named, text)


def _read(_app: Any, docname: str, source: list[str]) -> None:
    source[0] = without_sources(docname, source[0])
    if docname == root_doc:
        source[0] = navigation(source[0])


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
