"""Looks through the site that was built: every link leads to a file and a place in it, and nothing is loaded from elsewhere.

python docs/sphinx/links.py site

Sphinx has warned of what the pages themselves get wrong; this sees what a browser will: navigation, pictures, styles, scripts,
anchors, and whether a search finds each page.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src"}
"""What a browser fetches by itself."""


class Page(HTMLParser):
    """The links and the places of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        if place := given.get("id") or given.get("name"):
            self.places.add(place)
        if target := given.get(LOADED.get(tag, "")):
            self.loads.append(target)
        if tag == "a" and (target := given.get("href")):
            self.links.append(target)


def wrong(site: Path) -> Iterator[str]:
    """One line for everything that leads nowhere."""
    pages = {file: Page(file.read_text()) for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        where = file.relative_to(site)
        yield from (f"{where}: loads {each} from elsewhere" for each in page.loads if urlsplit(each).netloc)
        for target in (*page.links, *page.loads):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            there = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not there.is_file():
                yield f"{where}: {target} is not there"
            elif parts.fragment and there in pages and unquote(parts.fragment) not in pages[there].places:
                yield f"{where}: {target} has no such place"
    index = (site / "searchindex.js").read_text()
    found = set(re.findall(r'"([^"]+)"', re.findall(r'"?docnames"?:\s*\[(.*?)\]', index)[0]))
    written = {str(file.relative_to(site).with_suffix("")) for file in pages}
    made = {"genindex", "search", "index"}
    yield from (f"{name}: a search does not find it" for name in sorted(written - found - made))


if __name__ == "__main__":
    faults = list(wrong(Path(sys.argv[1]).resolve()))
    print("\n".join(faults), end="\n" if faults else "")
    sys.exit(bool(faults))
