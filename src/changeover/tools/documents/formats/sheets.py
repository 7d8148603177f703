"""Excel workbooks, by openpyxl: one page for each sheet, a line for each row, a tab between cells."""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from typing import Any

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from changeover.core.errors import DocumentError
from changeover.tools.documents.archives import check_xml, members
from changeover.tools.documents.formats.tables import row_of
from changeover.tools.documents.reading import Reading

MOST_ROWS = 200_000
"""Of one sheet; rows that hold nothing count, at the end too."""
MOST_CELLS = 2_000_000
"""Of all sheets."""
_CHUNK = 1 << 20
_WITHOUT_VALUE = re.compile(rb"</f>\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>|<f[^<>]*/>\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>")
_AS_TEXT = re.compile(r'"[^"]*"|\\.')
"""What of a number's format is drawn as it stands: a percent sign that is, multiplies nothing by 100."""
_MIDNIGHT = datetime.time()


def read(data: bytes, reading: Reading) -> None:
    """Read a workbook: the values that it kept when it was saved. No formula is computed, no link followed."""
    infos = members(data, reading.name)
    check_xml(data, infos, reading.name)
    names = {info.filename for info in infos}
    if any(name.endswith("vbaProject.bin") for name in names):
        reading.note("its macros were ignored")
    if any(name.startswith("xl/externalLinks/") for name in names):
        reading.note("it refers to other workbooks, which were not fetched")
    missing = _without_values(data, infos)
    if missing:
        reading.note(f"{missing:,} formulas have no value: open it in Excel, save it, and send it again")
    try:
        workbook: Any = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    except InvalidFileException as exc:
        raise reading.broken("an Excel workbook") from exc
    sheets = [each for each in workbook.worksheets if hasattr(each, "iter_rows")]
    reading.expect(len(sheets))
    reading.title = (workbook.properties.title or "").strip()[:300] or None
    cells = chars = 0
    for number, sheet in enumerate(sheets, start=1):
        if sheet.sheet_state != "visible":
            reading.note(f"sheet {sheet.title} is hidden; it was read too")
        text, count = _sheet(sheet, reading, MOST_CELLS - cells)
        cells += count
        chars += len(text)
        reading.page(f"sheet {sheet.title}"[:100], text)
        reading.progress(number, len(sheets))
    workbook.close()
    if not chars and not missing:
        raise reading.empty()


def _sheet(sheet: Any, reading: Reading, most_cells: int) -> tuple[str, int]:
    """Text of a sheet, and how many cells it has."""
    sheet.reset_dimensions()  # what it claims of its size may be anything
    lines: list[str] = []
    cells = chars = empty = 0
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells += len(row)
        line = row_of([_shown(cell) for cell in row])
        chars += len(line) + 1
        if number > MOST_ROWS or cells > most_cells:
            raise DocumentError(
                f"`{reading.name}` has more than {MOST_ROWS:,} rows in a sheet, or {MOST_CELLS:,} cells together; "
                "these are the most that are read. Save the part that matters as a workbook of its own."
            )
        if reading.chars + chars > reading.limits.most_chars:
            reading.page(sheet.title, "\n".join([*lines, line]))  # tells that it is too much
        if not line:
            empty += 1
            continue
        lines += [""] * min(empty, 1) * bool(lines)
        empty = 0
        lines.append(line)
    return "\n".join(lines), cells


def _shown(cell: Any) -> str:
    """A value as people would write it."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime.datetime):
        return str(value.date()) if value.time() == _MIDNIGHT else value.isoformat(" ", "minutes")
    if isinstance(value, (int, float)):
        form = str(cell.number_format or "")
        if "%" in _AS_TEXT.sub("", form):
            return f"{value * 100:.10g}%"
        return f"{value:.15g}{'%' if '%' in form else ''}"
    return str(value)


def _without_values(data: bytes, infos: list[zipfile.ZipInfo]) -> int:
    """Formulas that were written by a program and never computed."""
    count = 0
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in infos:
            if not info.filename.startswith("xl/worksheets/") or not info.filename.endswith(".xml"):
                continue
            with archive.open(info) as member:
                held = b""
                while chunk := member.read(_CHUNK):
                    text = held + chunk
                    cut = text.rfind(b"</c>") + 4
                    count += len(_WITHOUT_VALUE.findall(text[:cut]))
                    held = text[cut:] if len(text) - cut < _CHUNK else b""
    return count
