"""Reading pictures: scans, photos that lie askew, receipts, faxes. Figures are those of the models that ship."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from rapidfuzz.distance import Levenshtein
from tests.support import documents as made

from changeover.tools.documents.processes import Readers

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "\n".join(made.PROSE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def readers() -> AsyncIterator[Readers]:
    async with made.opened() as readers:
        yield readers


def errors(text: str, true: str = TEXT) -> float:
    """Characters to change, as a share of those that are true; blank space does not count."""
    read, known = re.sub(r"\s+", "", text), re.sub(r"\s+", "", true)
    return Levenshtein.distance(read, known) / len(known)


async def test_a_picture_is_read_line_by_line(readers: Readers) -> None:
    document = await made.read(readers, "page.png", made.picture_file(made.picture()))

    page = document.pages[0]
    assert (document.kind, page.label, page.ocr) == ("image", "p. 1", True)
    assert page.confidence is not None
    assert page.confidence > 0.9
    assert errors(page.text) < 0.02
    assert page.text.split("\n")[0] == made.PROSE[0]


async def test_a_scan_in_a_pdf_is_read_and_a_page_with_text_is_not_read_twice(readers: Readers) -> None:
    document = await made.read(readers, "scan.pdf", made.scanned_pdf([made.picture()]))
    text = await made.read(readers, "text.pdf", made.pdf([TEXT]))

    assert errors(document.text) < 0.02
    assert (document.pages[0].ocr, text.pages[0].ocr) == (True, False)


async def test_a_scan_is_left_alone_where_no_ocr_is_wanted(readers: Readers) -> None:
    document = await made.read(readers, "scan.pdf", made.scanned_pdf([made.picture()]), ocr="never")
    photo = await made.read(readers, "photo.png", made.picture_file(made.picture()), ocr="never")

    assert [page.text for page in document.pages + photo.pages] == ["", ""]
    assert "OCR was not asked for" in document.notes[0]
    assert "OCR was not asked for" in photo.notes[0]


@pytest.mark.parametrize("degrees", [180, 270, 3])
async def test_a_picture_that_lies_askew_is_read(readers: Readers, degrees: int) -> None:
    turned = made.picture(made.PROSE[:2]).rotate(degrees, expand=True, fillcolor="white")

    document = await made.read(readers, "turned.jpg", made.picture_file(turned, "JPEG", quality=80))

    assert errors(document.text, "".join(made.PROSE[:2])) < 0.05


async def test_a_photo_is_turned_as_its_camera_says(readers: Readers) -> None:
    turned = made.picture(made.PROSE[:2]).rotate(90, expand=True)
    exif = made.Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side

    document = await made.read(readers, "photo.jpg", made.picture_file(turned, "JPEG", exif=exif))

    assert errors(document.text, "".join(made.PROSE[:2])) < 0.05


async def test_every_frame_of_a_fax_is_a_page(readers: Readers) -> None:
    frames = [made.picture([line]).convert("1") for line in made.PROSE[:2]]

    document = await made.read(
        readers, "fax.tif", made.picture_file(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    )

    assert [page.label for page in document.pages] == ["p. 1", "p. 2"]
    assert max(errors(page.text, line) for page, line in zip(document.pages, made.PROSE, strict=False)) < 0.05


async def test_a_long_receipt_is_read_to_its_end(readers: Readers) -> None:
    lines = [f"Item {number} costs {number},50" for number in range(1, 36)]
    document = await made.read(readers, "receipt.png", made.picture_file(made.picture(lines, size=30, width=400)))

    assert [line for line in document.text.split("\n") if line] == lines


async def test_an_empty_picture_says_so(readers: Readers) -> None:
    document = await made.read(readers, "blank.png", made.picture_file(made.Image.new("RGB", (300, 200), "white")))

    assert document.text == ""
    assert document.notes == ["no text was found on p. 1"]


async def test_letters_on_nothing_are_read(readers: Readers) -> None:
    picture = made.picture(made.PROSE[:1]).convert("RGBA")
    picture.putalpha(picture.convert("L").point(lambda value: 255 - value))

    document = await made.read(readers, "logo.png", made.picture_file(picture))

    assert errors(document.text, made.PROSE[0]) < 0.05
