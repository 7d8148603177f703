"""Web pages: the text that a person would see, headings, lists and tables kept apart."""

from __future__ import annotations

import re
import warnings
from typing import Any, cast

from bs4 import BeautifulSoup, Comment, Doctype, Tag, XMLParsedAsHTMLWarning
from bs4.element import NavigableString

from changeover.core.errors import DocumentError
from changeover.tools.documents.reading import Reading, in_places

MOST_DEPTH = 200
"""Elements within elements. What people write has a few dozen."""
_DROPPED = {"script", "style", "template", "noscript", "iframe", "object", "embed", "svg", "math", "head", "canvas"}
_BLOCKS = {
    "p",
    "div",
    "section",
    "article",
    "main",
    "header",
    "footer",
    "nav",
    "aside",
    "ul",
    "ol",
    "dl",
    "dt",
    "dd",
} | {
    *("table", "thead", "tbody", "tfoot", "blockquote", "pre", "figure", "figcaption", "form", "fieldset", "address"),
    *("body", "html", "hr", "details", "summary", "center"),
}
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_HIDING = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|(?<![-\w])opacity\s*:\s*0(?:\.0+)?\s*(?:;|$|!)"
    r"|font-size\s*:\s*(?:0*(?:\.0+)?(?:[a-z]+|%)?|[01](?:\.\d+)?p[xt])\s*(?:;|$|!)"
    r"|(?<![-\w])(?:left|top|text-indent|margin-left|margin-top)\s*:\s*-\d{3,}|clip\s*:\s*rect\(\s*0",
    re.IGNORECASE,
)
_NO_ROOM = re.compile(r"(?<![-\w])(?:max-)?(?:height|width)\s*:\s*[01](?:px)?\s*(?:;|$|!)", re.IGNORECASE)
_CUT_OFF = re.compile(r"overflow\s*:\s*hidden", re.IGNORECASE)
_WHITE = re.compile(
    r"(?<![-\w])color\s*:\s*(?:#fff(?:fff)?|white|transparent|rgba\([^)]*,\s*0\s*\))(?![-\w])", re.IGNORECASE
)
_SIMPLE_SELECTOR = re.compile(r"^(?:[\w-]+)?([.#])([\w-]+)$")
_TAG_START = re.compile(rb"<(/?)([a-zA-Z][a-zA-Z0-9]*)[^<>]*?(/?)>")
_SPACES = re.compile(r"\s+")
_VOID = {
    b"br",
    b"hr",
    b"img",
    b"input",
    b"meta",
    b"link",
    b"area",
    b"base",
    b"col",
    b"source",
    b"track",
    b"wbr",
    b"p",
    b"li",
}


def read(data: bytes, reading: Reading) -> None:
    """Read a web page. Nothing that it names is fetched, no script of it runs."""
    blocks, title = visible(data, reading)
    reading.title = title
    if not blocks:
        raise reading.empty()
    reading.sections(blocks)


def visible(data: bytes | str, reading: Reading) -> tuple[list[str], str | None]:
    """Blocks of text that a person would see, and the title. What is hidden is left out, and noted."""
    _check_depth(data if isinstance(data, bytes) else data.encode("utf-8", "replace"), reading)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        soup = BeautifulSoup(data, "lxml")
    title = soup.title.get_text(" ", strip=True)[:300] if soup.title is not None else None
    hidden = _Hidden(soup)
    writer = _Writer(hidden)
    writer.walk(soup)
    if hidden.texts:
        reading.note(f"text that a browser does not show was left out ({in_places(hidden.texts)})")
    if hidden.white:
        reading.note("it has white text, which nobody sees on a white page; it was read, and may be a trap")
    return writer.blocks(), title


def _check_depth(data: bytes, reading: Reading) -> None:
    """Count open elements before a tree is made of them."""
    depth = 0
    for closing, tag, alone in _TAG_START.findall(data):
        if alone or tag.lower() in _VOID:
            continue
        depth = max(0, depth - 1) if closing else depth + 1
        if depth > MOST_DEPTH:
            raise DocumentError(
                f"`{reading.name}` has elements nested more than {MOST_DEPTH:,} deep, as no page that people read has. "
                "Save its text, and send that."
            )


class _Hidden:
    """What of a page is not shown: by attributes, by its own style, by simple rules of its style sheets."""

    def __init__(self, soup: BeautifulSoup) -> None:
        self.texts = 0
        self.white = False
        self._names: set[str] = set()
        for sheet in soup.find_all("style"):
            for rule in sheet.get_text().split("}"):
                selectors, _, body = rule.rpartition("{")
                if _hiding(body):
                    self._names |= {
                        f"{found[1]}{found[2]}"
                        for each in selectors.split(",")
                        if (found := _SIMPLE_SELECTOR.match(each.strip())) is not None
                    }

    def hides(self, tag: Tag) -> bool:
        """Whether it is not shown."""
        attributes = cast("dict[str, Any]", tag.attrs)
        style = str(attributes.get("style", ""))
        classes: Any = attributes.get("class", [])
        names = {f".{each}" for each in (classes.split() if isinstance(classes, str) else classes)}
        names.add(f"#{attributes.get('id', '')}")
        hidden = "hidden" in attributes or _hiding(style) or not names.isdisjoint(self._names)
        if hidden and tag.get_text(strip=True):
            self.texts += 1
        elif style and _WHITE.search(style) is not None and not _on_ground(tag):
            self.white = True
        return hidden


def _hiding(style: str) -> bool:
    if _HIDING.search(style) is not None:
        return True
    return _NO_ROOM.search(style) is not None and _CUT_OFF.search(style) is not None


def _on_ground(tag: Tag) -> bool:
    """Whether it, or what it stands in, has a background of its own."""
    for each in (tag, *tag.parents):
        attributes = cast("dict[str, Any]", each.attrs)
        if "bgcolor" in attributes or "background" in str(attributes.get("style", "")).lower():
            return True
    return False


class _Writer:
    """Text in blocks."""

    def __init__(self, hidden: _Hidden) -> None:
        self._hidden = hidden
        self._done: list[str] = []
        self._open: list[str] = []

    def blocks(self) -> list[str]:
        """All of them."""
        self._end()
        return self._done

    def walk(self, tag: Tag) -> None:
        for child in tag.children:
            if isinstance(child, NavigableString):
                if not isinstance(child, (Comment, Doctype)):
                    self._open.append(child if tag.name == "pre" else _SPACES.sub(" ", child))
            elif isinstance(child, Tag) and child.name not in _DROPPED and not self._hidden.hides(child):
                self._element(child)

    def _element(self, tag: Tag) -> None:
        name = tag.name
        if name == "br":
            self._open.append("\n")
        elif name in _HEADINGS:
            self._end()
            self._open.append(_HEADINGS[name] + " ")
            self.walk(tag)
            self._end()
        elif name == "li":
            self._line("- ")
            self.walk(tag)
        elif name == "tr":
            self._line("")
            for cell in tag.find_all(["td", "th"], recursive=False):
                if not self._hidden.hides(cell):
                    self.walk(cell)
                    self._open.append("\t")
        elif name == "img":
            alternative = str(cast("dict[str, Any]", tag.attrs).get("alt", "")).strip()
            self._open.append(f"[picture: {alternative}]" if alternative else "")
        elif name in _BLOCKS:
            kept_together = name in {"thead", "tbody", "tfoot"}
            if not kept_together:
                self._end()
            self.walk(tag)
            if not kept_together:
                self._end()
        else:
            self.walk(tag)

    def _line(self, start: str) -> None:
        if "".join(self._open).strip():
            self._open.append("\n")
        self._open.append(start)

    def _end(self) -> None:
        lines = [" ".join(line.split(" ")).strip(" \t") for line in "".join(self._open).split("\n")]
        text = "\n".join(
            re.sub(r" {2,}| ?\t ?", lambda found: "\t" if "\t" in found[0] else " ", each) for each in lines
        )
        self._open = []
        if text.strip("- \n\t#"):
            self._done.append(text.strip("\n"))
