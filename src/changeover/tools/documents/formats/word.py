"""Word documents, by python-docx: paragraphs, headings, lists and tables in their order, and what hides in them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, cast

from docx.opc.part import PartFactory
from docx.oxml import parse_xml
from docx.oxml.ns import qn
from docx.package import Package
from docx.parts.document import DocumentPart

from changeover.tools.documents.archives import check_xml, members
from changeover.tools.documents.formats.numbering import Numbering
from changeover.tools.documents.reading import Reading, in_places

_TEXT, _TAB, _BREAK, _RETURN, _HYPHEN = (qn(f"w:{name}") for name in ("t", "tab", "br", "cr", "noBreakHyphen"))
_RENDERED_BREAK, _RUN, _PARAGRAPH, _TABLE = (qn(f"w:{name}") for name in ("lastRenderedPageBreak", "r", "p", "tbl"))
_ROW, _CELL, _PROPERTIES, _VANISH, _DELETED = (qn(f"w:{name}") for name in ("tr", "tc", "rPr", "vanish", "del"))
_MOVED_AWAY, _COLOUR, _SIZE, _VALUE, _TYPE = (qn(f"w:{name}") for name in ("moveFrom", "color", "sz", "val", "type"))
_BEFORE = qn("w:pageBreakBefore")
_CONTAINERS = frozenset(qn(f"w:{name}") for name in ("sdt", "sdtContent", "customXml", "ins", "moveTo", "smartTag"))
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_ALSO_WORD = (
    "application/vnd.ms-word.document.macroEnabled.main+xml",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml",
    "application/vnd.ms-word.template.macroEnabledTemplate.main+xml",
)
"""What files with macros and templates say that they are. Inside they are as others; python-docx knows only those."""
PartFactory.part_type_for.update(dict.fromkeys(_ALSO_WORD, DocumentPart))
_PAGE = "\f"
"""Where a page ends, in text under way."""
_TINY_HALF_POINTS = 4


def read(data: bytes, reading: Reading) -> None:
    """Read a Word document. Word stores no pages: those that its last layout left are kept, else there are sections."""
    infos = members(data, reading.name)
    check_xml(data, infos, reading.name)
    names = {info.filename for info in infos}
    if any(name.endswith("vbaProject.bin") for name in names):
        reading.note("its macros were ignored")
    document: Any = cast("DocumentPart", Package.open(io.BytesIO(data)).main_document_part).document
    reading.title = (document.core_properties.title or "").strip()[:300] or None
    walker = _Walker(document)
    blocks = [*_edges(document, "header"), *walker.blocks(document.element.body), *walker.footnotes()]
    blocks += _edges(document, "footer")
    if walker.hidden:
        reading.note(f"hidden text was left out ({in_places(walker.hidden)})")
    if walker.faint:
        reading.note("it has white or tiny text, which nobody sees on a white page; it was read, and may be a trap")
    if walker.deleted:
        reading.note("text that tracked changes delete was left out")
    if "word/comments.xml" in names:
        reading.note("its comments were not read")
    text = "\n\n".join(blocks)
    if not text.strip(" \n\t\f"):
        raise reading.empty()
    if _PAGE not in text:
        reading.sections(blocks)
        return
    pages = [page.strip("\n") for page in text.split(_PAGE)]
    reading.expect(len(pages))
    for number, page in enumerate(pages, start=1):
        reading.page(f"p. {number}", page)
        reading.progress(number, len(pages))


def _edges(document: Any, which: str) -> list[str]:
    """Headers or footers, each once."""
    seen: dict[str, None] = {}
    for section in document.sections:
        edge = getattr(section, which)
        if not edge.is_linked_to_previous:
            text = "\n".join(each.text.strip() for each in edge.paragraphs if each.text.strip())
            if text:
                seen[text] = None
    return list(seen)


def _notes_of(blob: bytes) -> Any:
    return parse_xml(blob)


class _Walker:
    """Goes through a document's XML, and counts what it does not show."""

    def __init__(self, document: Any) -> None:
        self.hidden = self.faint = 0
        self.deleted = False
        self._document = document
        self._numbering = Numbering(document)
        self._began = False

    def blocks(self, parent: Any) -> Iterator[str]:
        """Paragraphs and tables of an element, in their order."""
        for child in parent.iterchildren():
            if child.tag == _PARAGRAPH:
                text = self._paragraph(child)
                if text.strip(" \n\t"):
                    yield text
            elif child.tag == _TABLE:
                text = self._table(child)
                if text.strip(" \n\t"):
                    yield text
            elif child.tag in _CONTAINERS:
                yield from self.blocks(child)

    def footnotes(self) -> Iterator[str]:
        """Footnotes, one after the other."""
        for relation in self._document.part.rels.values():
            if relation.is_external or not relation.reltype.endswith("/footnotes"):
                continue
            for note in _notes_of(relation.target_part.blob).iterchildren(qn("w:footnote")):
                text = " ".join(self.blocks(note)).strip()
                if text:
                    yield f"[{note.get(qn('w:id'))}] {text}"

    def _paragraph(self, paragraph: Any) -> str:
        text = "".join(self._pieces(paragraph))
        properties = paragraph.pPr
        starts_page = self._began and properties is not None and properties.find(_BEFORE) is not None
        if not text.strip():
            return _PAGE if starts_page or _PAGE in text else ""
        self._began = True
        lead = len(text) - len(text.lstrip(_PAGE))
        return (_PAGE if starts_page and not lead else "") + text[:lead] + self._numbering.mark(paragraph) + text[lead:]

    def _pieces(self, element: Any) -> Iterator[str]:
        for child in element.iterchildren():
            tag = child.tag
            if tag == _TEXT:
                yield (child.text or "").replace(_PAGE, " ")
            elif tag == _TAB:
                yield "\t"
            elif tag == _RETURN:
                yield "\n"
            elif tag == _HYPHEN:
                yield "-"
            elif tag == _RENDERED_BREAK:
                yield _PAGE if self._began else ""
            elif tag == _BREAK:
                # A rendered break follows an explicit one where Word laid the document out: they are one.
                yield ("" if _rendered_next(child) else _PAGE) if child.get(_TYPE) == "page" else "\n"
            elif tag in {_DELETED, _MOVED_AWAY}:
                self.deleted = True
            elif tag == _RUN and self._vanishes(child):
                self.hidden += 1
            elif tag != _FALLBACK and tag != _PROPERTIES and isinstance(tag, str):
                yield from self._nested(child)

    def _nested(self, child: Any) -> Iterator[str]:
        if child.tag == _PARAGRAPH:  # of a text box
            yield "\n"
        yield from self._pieces(child)

    def _vanishes(self, run: Any) -> bool:
        properties = run.find(_PROPERTIES)
        if properties is None:
            return False
        vanish = properties.find(_VANISH)
        if vanish is not None and vanish.get(_VALUE) not in {"0", "false", "off"}:
            return True
        colour, size = properties.find(_COLOUR), properties.find(_SIZE)
        white = colour is not None and (colour.get(_VALUE) or "").upper() in {"FFFFFF", "FEFEFE"}
        tiny = size is not None and (size.get(_VALUE) or "").isdigit() and int(size.get(_VALUE)) <= _TINY_HALF_POINTS
        self.faint += white or tiny
        return False

    def _table(self, table: Any) -> str:
        rows: list[str] = []
        for row in table.iterchildren(_ROW):
            cells = [" / ".join(self.blocks(cell)).replace("\n", " ") for cell in _cells(row)]
            rows.append("\t".join(cells))
        text = "\n".join(rows)
        # A page ends between rows, not in them.
        return "\n".join(_PAGE * (_PAGE in row) + row.replace(_PAGE, " ") for row in text.split("\n"))


def _cells(row: Any) -> Iterator[Any]:
    for child in row.iterchildren():
        if child.tag == _CELL:
            yield child
        elif child.tag in _CONTAINERS:
            yield from _cells(child)


def _rendered_next(mark: Any) -> bool:
    """Whether the text after a break begins with the break that Word's layout left."""
    run = mark.getparent()
    paragraph = run.getparent()
    following = [*mark.itersiblings(), *run.itersiblings()]
    if paragraph is not None:
        after = paragraph.getnext()
        following += [] if after is None else [after]
    for element in following:
        for each in element.iter(_TEXT, _RENDERED_BREAK):
            return each.tag == _RENDERED_BREAK
    return False
