"""Files with some bytes changed: whatever comes of it, it is a document or a clear error, and the next file is read."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import documents as made

from changeover.core.errors import DocumentError
from changeover.tools.documents.processes import Readers
from changeover.tools.values import Document

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = {
    "a.pdf": made.pdf(["One page.", "Another page."]),
    "a.docx": made.docx(lambda document: [document.add_heading("Title"), document.add_table(2, 2)]),
    "a.pptx": made.pptx(lambda presentation: presentation.slides.add_slide(presentation.slide_layouts[1])),
    "a.xlsx": made.xlsx(lambda workbook: [workbook.active.append([n, "tea", 2.5]) for n in range(20)]),
    "a.html": b"<!doctype html><html><body><p>One</p><table><tr><td>1</td></tr></table></body></html>",
    "a.eml": made.mail(html="<p>Hi</p>", attached={"b.pdf": made.pdf(["in it"])}),
    "a.csv": b'a,b\n1,"x"\n2,"y"\n',
    "a.md": b"# T\n\n* **a**\n",
    "a.png": made.picture_file(made.picture(["word"], width=200)),
    "a.jpg": made.picture_file(made.picture(["word"], width=200), "JPEG"),
    "a.tif": made.picture_file(made.picture(["word"], width=200), "TIFF", compression="tiff_lzw"),
    "a.gif": made.picture_file(made.picture(["word"], width=200), "GIF"),
    "a.webp": made.picture_file(made.picture(["word"], width=200), "WEBP"),
    "a.bmp": made.picture_file(made.picture(["word"], width=200), "BMP"),
}
CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["set", "cut", "repeat", "drop"]), st.integers(0, 255)),
    min_size=1,
    max_size=6,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def readers() -> AsyncIterator[Readers]:
    async with made.opened() as readers:
        yield readers


def changed(data: bytes, changes: list[tuple[float, str, int]]) -> bytes:
    """Bytes set, cut off, repeated or dropped, at places that are shares of the whole."""
    for place, how, value in changes:
        at = int(place * len(data))
        if how == "set":
            data = data[:at] + bytes([value]) + data[at + 1 :]
        elif how == "cut" and value < 64:
            data = data[:at]
        elif how == "repeat":
            data = data[:at] + data[at : at + value] * 3 + data[at + value :]
        else:
            data = data[:at] + data[at + value :]
    return data


def changed_inside(data: bytes, changes: list[tuple[float, str, int]]) -> bytes:
    """An archive with one member changed, and packed again: its own checks find nothing wrong."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [each for each in archive.namelist() if archive.getinfo(each).file_size]
        chosen = names[int(changes[0][0] * (len(names) - 1))]
        return made.with_members(data, {chosen: changed(archive.read(chosen), changes)})


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
async def test_a_changed_file_is_read_or_refused(
    readers: Readers, name: str, changes: list[tuple[float, str, int]]
) -> None:
    within = name in {"a.docx", "a.pptx", "a.xlsx"} and changes[0][2] > 40
    data = changed_inside(GOOD[name], changes) if within else changed(GOOD[name], changes)

    answers = await asyncio.gather(made.read(readers, name, data, seconds=20, ocr="never"), return_exceptions=True)

    assert [each for each in answers if not isinstance(each, (Document, DocumentError))] == []
    assert [each for each in answers if isinstance(each, DocumentError) and f"`{name}`" not in each.message] == []
    assert "took longer" not in str(answers)
    assert (await made.read(readers, "next.txt", b"next")).text == "next"
