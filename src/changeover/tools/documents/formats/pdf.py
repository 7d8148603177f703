"""PDF, by PDFium: the text of each page, and pictures of those that have none for OCR."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from changeover.core.errors import DocumentError
from changeover.tools.documents.ocr import MOST_SIDE, Recogniser, missing_ocr
from changeover.tools.documents.reading import Reading

FEW_CHARS = 100
"""A page with less text is a scan where a picture covers most of it: programs print their names on scans."""
COVERED = 0.5
"""Of a page, by one picture."""
SCAN_DPI = 200
_PASSWORD = 4
_HYPHEN = re.compile(r"\ufffe(?:\r?\n)?")
"""At the end of a line, in a word that goes on in the next."""
_TINY_POINTS = 1.5


def read(data: bytes, reading: Reading) -> None:
    """Read a PDF, page by page."""
    try:
        document = pdfium.PdfDocument(data)
        pages = len(document)
    except pdfium.PdfiumError as exc:
        if getattr(exc, "err_code", None) == _PASSWORD:
            raise DocumentError(
                f"`{reading.name}` is encrypted: it opens only with a password. Save a copy without it, and send that."
            ) from exc
        raise reading.broken("a PDF") from exc
    if pages == 0:
        raise reading.broken("a PDF", "it has no pages")
    reading.expect(pages)
    title = (document.get_metadata_dict().get("Title") or "").strip()[:300]
    reading.title = None if title.lower() in {"", "untitled", "(anonymous)"} else title
    unread = _Unread()
    for index in range(pages):
        _read_page(document, index, reading, unread)
        reading.progress(index + 1, pages)
    document.close()
    unread.tell(reading, pages)


class _Unread:
    """Pages of which nothing was read, and why."""

    def __init__(self) -> None:
        self.pictures: list[str] = []
        self.damaged: list[str] = []

    def tell(self, reading: Reading, pages: int) -> None:
        """Note them; a file of nothing else is refused."""
        if len(self.damaged) == pages:
            raise reading.broken("a PDF", "none of its pages opens")
        if self.damaged:
            reading.note(f"pages that are damaged were not read: {_listed(self.damaged)}")
        if self.pictures:
            reason = missing_ocr() if reading.ocr != "never" else "OCR was not asked for"
            if len(self.pictures) == pages and reading.ocr != "never":
                raise DocumentError(f"`{reading.name}` is a scan: its pages are pictures. {reason}")
            reading.note(f"pages that are pictures were not read ({reason}): {_listed(self.pictures)}")


def _listed(labels: list[str]) -> str:
    shown = ", ".join(labels[:10])
    return shown if len(labels) <= 10 else f"{shown} and {len(labels) - 10} more"


def _read_page(document: Any, index: int, reading: Reading, unread: _Unread) -> None:
    label = _label(document, index)
    try:
        page = document[index]
        raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY)  # what is filled into forms becomes text
        page.close()
        page = document[index]
        textpage = page.get_textpage()
        text = _HYPHEN.sub("", textpage.get_text_range())
    except pdfium.PdfiumError:
        unread.damaged.append(label)
        reading.page(label, "")
        return
    try:
        if _hides_text(page):
            reading.note(
                "it has text that nobody sees on a page (white, tiny or invisible); it was read, and may be a trap"
            )
        scanned = _is_scan(page, len(text.strip()))
        if reading.ocr == "never" or not (scanned or reading.ocr == "always"):
            if scanned:
                unread.pictures.append(label)
            reading.page(label, text)
            return
        recogniser = Recogniser.instance()
        if recogniser is None:
            unread.pictures.append(label)
            reading.page(label, text)
            return
        seen = recogniser.read(_picture(page))
        if seen.text or not text.strip():
            reading.page(label, seen.text, ocr=True, confidence=seen.confidence)
        else:
            reading.page(label, text)
    finally:
        textpage.close()
        page.close()


def _label(document: Any, index: int) -> str:
    """As printed where the file says so: `p. iv`."""
    printed = (document.get_page_label(index) or "").strip()
    return f"p. {printed[:20]}" if printed.isprintable() and printed else f"p. {index + 1}"


def _is_scan(page: Any, chars: int) -> bool:
    """Whether what it says is in a picture, or drawn as lines."""
    if chars == 0:
        return raw.FPDFPage_CountObjects(page) > 0
    if chars >= FEW_CHARS:
        return False
    width, height = page.get_size()
    for item in page.get_objects(max_depth=2, filter=[raw.FPDF_PAGEOBJ_IMAGE]):
        left, bottom, right, top = item.get_bounds()
        if (right - left) * (top - bottom) > COVERED * width * height:
            return True
    return False


def _picture(page: Any) -> Any:
    width, height = page.get_size()
    scale = min(SCAN_DPI / 72, MOST_SIDE / max(width, height, 1))
    return page.render(scale=scale, may_draw_forms=False).to_pil().convert("RGB")


def _hides_text(page: Any) -> bool:
    """Whether it has text that a reader of the page cannot see, other than the hidden text that lies over a scan."""
    hidden = pictures = False
    for item in page.get_objects(max_depth=2, filter=[raw.FPDF_PAGEOBJ_TEXT, raw.FPDF_PAGEOBJ_IMAGE]):
        if item.type == raw.FPDF_PAGEOBJ_IMAGE:
            pictures = True
        elif not hidden:
            hidden = _hidden_text(item)
    return hidden and not pictures


def _hidden_text(item: Any) -> bool:
    if raw.FPDFTextObj_GetTextRenderMode(item) == raw.FPDF_TEXTRENDERMODE_INVISIBLE:
        return True
    size = ctypes.c_float()
    matrix = item.get_matrix()
    if raw.FPDFTextObj_GetFontSize(item, size) and 0 < size.value * max(abs(matrix.d), abs(matrix.b)) < _TINY_POINTS:
        return True
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    if not raw.FPDFPageObj_GetFillColor(item, red, green, blue, alpha):
        return False
    return alpha.value == 0 or min(red.value, green.value, blue.value) >= 250
