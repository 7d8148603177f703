"""PowerPoint presentations, by python-pptx: each slide with its tables and its notes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from pptx.opc.package import PartFactory
from pptx.package import Package
from pptx.parts.presentation import PresentationPart

from changeover.tools.documents.archives import check_xml, members
from changeover.tools.documents.reading import Reading

_SHOW_WITH_MACROS = "application/vnd.ms-powerpoint.slideshow.macroEnabled.main+xml"
"""What such a file says that it is; python-pptx does not know it. Inside it is as others."""
PartFactory.part_type_for[_SHOW_WITH_MACROS] = PresentationPart
_DEEPEST_GROUP = 20


def read(data: bytes, reading: Reading) -> None:
    """Read a presentation. What a slide's shapes say is given from top to bottom."""
    infos = members(data, reading.name)
    check_xml(data, infos, reading.name)
    if any(info.filename.endswith("vbaProject.bin") for info in infos):
        reading.note("its macros were ignored")
    presentation: Any = Package.open(io.BytesIO(data)).main_document_part.presentation
    slides = list(presentation.slides)
    if not slides:
        raise reading.empty()
    reading.expect(len(slides))
    reading.title = (presentation.core_properties.title or "").strip()[:300] or None
    hidden: list[str] = []
    said = pictures = 0
    for number, slide in enumerate(slides, start=1):
        if slide.element.get("show") in {"0", "false"}:
            hidden.append(str(number))
        shapes = list(_flat(slide.shapes, 0))
        pictures += sum(shape.shape_type == 13 for shape in shapes)
        blocks = [text for shape in sorted(shapes, key=_place) if (text := _text(shape, slide.shapes.title)).strip()]
        notes = slide.notes_slide.notes_text_frame.text.strip() if _has_notes(slide) else ""
        if notes:
            blocks.append(f"Notes: {notes}")
        said += len(blocks)
        reading.page(f"slide {number}", "\n\n".join(blocks))
        reading.progress(number, len(slides))
    if not said:
        raise reading.empty()
    if hidden:
        reading.note(f"slides that are hidden were read too: {', '.join(hidden[:20])}")
    if pictures:
        reading.note(f"text in its {pictures} pictures was not read")


def _has_notes(slide: Any) -> bool:
    return bool(slide.has_notes_slide) and slide.notes_slide.notes_text_frame is not None


def _flat(shapes: Any, depth: int) -> Iterator[Any]:
    for shape in shapes:
        if hasattr(shape, "shapes") and depth < _DEEPEST_GROUP:
            yield from _flat(shape.shapes, depth + 1)
        else:
            yield shape


def _place(shape: Any) -> tuple[int, int]:
    """From the top, in steps of a quarter inch: what stands side by side goes from left to right."""
    return ((shape.top or 0) // 228_600, shape.left or 0)


def _text(shape: Any, title: Any) -> str:
    if getattr(shape, "has_table", False):
        return "\n".join(
            "\t".join(" ".join(cell.text.split()) for cell in row.cells if not cell.is_spanned)
            for row in shape.table.rows
        )
    if getattr(shape, "has_chart", False):
        return _chart(shape.chart)
    if not getattr(shape, "has_text_frame", False):
        return ""
    lines = [
        ("  " * paragraph.level + "- " if paragraph.level else "") + paragraph.text.replace("\v", "\n")
        for paragraph in shape.text_frame.paragraphs
        if paragraph.text.strip()
    ]
    if title is not None and shape.shape_id == title.shape_id:
        return "# " + " ".join(lines)
    return "\n".join(lines)


def _chart(chart: Any) -> str:
    """A chart's figures as a table."""
    lines = [
        f"Chart: {chart.chart_title.text_frame.text}"
        if chart.has_title and chart.chart_title.has_text_frame
        else "Chart"
    ]
    for plot in chart.plots:
        lines.append("\t".join(["", *(str(each) for each in plot.categories)]))
        lines += [
            "\t".join([str(series.name), *("" if each is None else f"{each:g}" for each in series.values)])
            for series in plot.series
        ]
    return "\n".join(lines)
