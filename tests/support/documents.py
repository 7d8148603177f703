"""Files of every kind that is read, made on the spot; good ones, and the parts of bad ones."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Any

from docx import Document as new_docx
from openpyxl import Workbook
from PIL import Image, ImageDraw, ImageFont
from pptx import Presentation
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen import canvas

from changeover.tools.documents.processes import Readers
from changeover.tools.documents.reader import Limits
from changeover.tools.values import Document, File

LIMITS = Limits(most_bytes=8 << 20, most_pages=500, most_chars=1_000_000, seconds=60)
MEMORY_MIB = 1_024

PROSE = (
    "The quarterly report shows a revenue of 12,345 euro",
    "Costs fell by seven percent against last year",
    "The board meets again on the fourth of March",
    "Please send your questions to the finance team",
)


@asynccontextmanager
async def opened(count: int = 1, memory_mib: int = MEMORY_MIB) -> AsyncIterator[Readers]:
    """Readers that are closed in the end."""
    readers = Readers(count, memory_mib)
    try:
        yield readers
    finally:
        await readers.close()


async def read(readers: Readers, name: str, data: bytes, **changed: Any) -> Document:
    """Read a file within limits of the tests."""
    ocr = changed.pop("ocr", "auto")
    limits = Limits(**{each: changed.get(each, getattr(LIMITS, each)) for each in LIMITS.__struct_fields__})
    return await readers.read(File(name=name, data=data), limits, ocr=ocr)


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    """What something writes into a file."""
    file = io.BytesIO()
    save(file)
    return file.getvalue()


def pdf(pages: Sequence[str], *, password: str | None = None, title: str | None = None) -> bytes:
    """A PDF, a text on each page."""
    file = io.BytesIO()
    drawn = canvas.Canvas(file, pagesize=A4, encrypt=password)
    if title:
        drawn.setTitle(title)
    for page in pages:
        for number, line in enumerate(page.split("\n")):
            drawn.drawString(72, 760 - 16 * number, line)
        drawn.showPage()
    drawn.save()
    return file.getvalue()


def scanned_pdf(pictures: Sequence[Image.Image]) -> bytes:
    """A PDF whose pages are pictures."""
    return saved(
        lambda file: pictures[0].save(file, "PDF", save_all=True, append_images=list(pictures[1:]), resolution=150)
    )


def docx(build: Callable[[Any], object]) -> bytes:
    """A Word document."""
    document = new_docx()
    build(document)
    return saved(document.save)


def pptx(build: Callable[[Any], object]) -> bytes:
    """A presentation."""
    presentation = Presentation()
    build(presentation)
    return saved(presentation.save)


def xlsx(build: Callable[[Any], object]) -> bytes:
    """A workbook."""
    workbook = Workbook()
    build(workbook)
    return saved(workbook.save)


def mail(
    text: str = "Dear all,\n\nsee below.", html: str | None = None, attached: dict[str, bytes] | None = None
) -> bytes:
    """An e-mail."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Ana <ana@example.org>", "ben@example.org", "Minutes of May"
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
    for name, content in (attached or {}).items():
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


def picture(lines: Sequence[str] = PROSE, size: int = 30, width: int = 1000) -> Image.Image:
    """Black lines on white."""
    drawn = Image.new("RGB", (width, 60 + len(lines) * size * 2), "white")
    font = ImageFont.load_default(size)
    for number, line in enumerate(lines):
        ImageDraw.Draw(drawn).text((40, 30 + number * size * 2), line, fill="black", font=font)
    return drawn


def picture_file(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """A picture, as a file."""
    return saved(lambda file: image.save(file, form, **options))


def archive(members: dict[str, bytes | str], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return file.getvalue()


def with_members(data: bytes, changed: dict[str, bytes | str | None]) -> bytes:
    """An archive with members put in, replaced, or (None) left out."""
    with zipfile.ZipFile(io.BytesIO(data)) as read_from:
        kept: dict[str, bytes | str] = {
            name: read_from.read(name) for name in read_from.namelist() if name not in changed
        }
    return archive({**kept, **{name: content for name, content in changed.items() if content is not None}})


def member(data: bytes, name: str) -> str:
    """A member of an archive, as text."""
    with zipfile.ZipFile(io.BytesIO(data)) as read_from:
        return read_from.read(name).decode()
