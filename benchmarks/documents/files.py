"""Files whose text is known: long ones of every kind, and pictures that were treated badly."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pptx
import reportlab
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen import canvas

SENTENCES = (
    "The quarterly report shows a revenue of 12,345.67 euro.",
    "Costs fell by 7.5 % against the year before.",
    "The board meets again on 4 March 2026 at 10:30.",
    "Invoice no. 2026-0815 is due within thirty days.",
    "Please send your questions to finance@example.org.",
    "Each party may end this contract at the end of a month.",
    "A deposit of $1,200 was paid (see annex B, clause 3).",
    "Quality control found four faults among 9,870 parts.",
)
LINES_EACH = 12
FONTS = ("Vera.ttf", "VeraBd.ttf", "VeraIt.ttf")
"""They come with reportlab."""
SIZES = (10, 13, 18, 26, 40)


@dataclass(frozen=True)
class Sample:
    """A file to be made."""

    name: str
    data: Callable[[], bytes]


@dataclass(frozen=True)
class Made:
    """A picture, and what it says."""

    treatment: str
    pixels: int
    text: str
    data: bytes


def samples(quick: bool) -> list[Sample]:
    """A long file of each kind."""
    pages = 40 if quick else 500
    scans = 2 if quick else 4
    return [
        Sample("text.pdf", lambda: _pdf(pages)),
        Sample("scan.pdf", lambda: _scans(scans)),
        Sample("text.docx", lambda: _word(pages * 4)),
        Sample("slides.pptx", lambda: _slides(min(pages, 200))),
        Sample("table.xlsx", lambda: _workbook(pages * 40)),
        Sample("page.html", lambda: _web(pages * 20)),
        Sample("mail.eml", lambda: _mail(pages)),
        Sample("table.csv", lambda: "".join(f"{n},tea,{n / 7:.2f}\n" for n in range(pages * 200)).encode()),
        Sample("text.txt", lambda: "\n\n".join(_lines(n, 8) for n in range(pages * 8)).encode()),
        Sample("photo.jpg", lambda: _saved(_page(26, FONTS[0], _lines(0, 30)), "JPEG", quality=85)),
    ]


def pictures(count: int) -> Iterator[Made]:
    """Pictures of known text: every size, font and treatment in turn."""
    treatments = list(TREATMENTS.items())
    for number in range(count):
        name, treated = treatments[number % len(treatments)]
        turn = number // len(treatments)
        pixels, font = SIZES[turn % len(SIZES)], FONTS[(number + turn) % len(FONTS)]
        text = _lines(number, LINES_EACH)
        yield Made(name, pixels, text, treated(_page(pixels, font, text), random.Random(number)))


def _lines(number: int, count: int) -> str:
    return "\n".join(SENTENCES[(number + each) % len(SENTENCES)] for each in range(count))


def _page(pixels: int, font: str, text: str) -> Image.Image:
    """Black on white, as wide as its lines."""
    face = ImageFont.truetype(str(Path(reportlab.__file__).parent / "fonts" / font), pixels)
    lines = text.split("\n")
    width = round(max(face.getlength(line) for line in lines)) + 4 * pixels
    image = Image.new("RGB", (width, round((len(lines) * 1.7 + 4) * pixels)), "white")
    for row, line in enumerate(lines):
        ImageDraw.Draw(image).text((2 * pixels, 2 * pixels + row * 1.7 * pixels), line, fill="black", font=face)
    return image


def _saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _plain(image: Image.Image, chance: random.Random) -> bytes:
    del chance
    return _saved(image)


def _askew(image: Image.Image, chance: random.Random) -> bytes:
    turned = image.rotate(chance.choice((-4, -2, 2, 4)), Image.Resampling.BICUBIC, expand=True, fillcolor="white")
    return _saved(turned)


def _turned(image: Image.Image, chance: random.Random) -> bytes:
    return _saved(image.rotate(chance.choice((90, 180, 270)), expand=True))


def _noisy(image: Image.Image, chance: random.Random) -> bytes:
    noise = Image.frombytes("L", image.size, chance.randbytes(image.width * image.height))
    return _saved(Image.blend(image, noise.convert("RGB"), 0.45))


def _faint(image: Image.Image, chance: random.Random) -> bytes:
    del chance
    return _saved(ImageEnhance.Contrast(image).enhance(0.15))


def _packed(image: Image.Image, chance: random.Random) -> bytes:
    blurred = image.filter(ImageFilter.GaussianBlur(chance.choice((0.6, 0.8, 1.0))))
    return _saved(blurred, "JPEG", quality=chance.choice((12, 20, 30)))


TREATMENTS: dict[str, Callable[[Image.Image, random.Random], bytes]] = {
    "as they are": _plain,
    "askew, 2° or 4°": _askew,
    "turned by a quarter or half": _turned,
    "noisy": _noisy,
    "faint": _faint,
    "blurred, JPEG of 12 to 30": _packed,
}


def _pdf(pages: int) -> bytes:
    file = io.BytesIO()
    drawn = canvas.Canvas(file, pagesize=A4)
    for page in range(pages):
        for row, line in enumerate(_lines(page, 40).split("\n")):
            drawn.drawString(72, 780 - 17 * row, line)
        drawn.showPage()
    drawn.save()
    return file.getvalue()


def _scans(pages: int) -> bytes:
    images = [_page(26, FONTS[0], _lines(number, 30)) for number in range(pages)]
    return _saved(images[0], "PDF", save_all=True, append_images=images[1:], resolution=150)


def _word(paragraphs: int) -> bytes:
    document = docx.Document()
    for number in range(paragraphs):
        document.add_paragraph(_lines(number, 6))
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _slides(count: int) -> bytes:
    presentation = pptx.Presentation()
    for number in range(count):
        slide: Any = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = SENTENCES[number % len(SENTENCES)]
        slide.placeholders[1].text = _lines(number, 5)
    file = io.BytesIO()
    presentation.save(file)
    return file.getvalue()


def _workbook(rows: int) -> bytes:
    workbook = openpyxl.Workbook(write_only=True)
    for name in ("Spring", "Autumn"):
        sheet = workbook.create_sheet(name)
        for number in range(rows):
            sheet.append([number, "tea", number / 7, SENTENCES[number % len(SENTENCES)]])
    file = io.BytesIO()
    workbook.save(file)
    return file.getvalue()


def _web(paragraphs: int) -> bytes:
    body = "".join(f"<div class=a><p>{_lines(number, 4)}</p></div>" for number in range(paragraphs))
    return f"<!doctype html><title>News</title><body>{body}</body>".encode()


def _mail(pages: int) -> bytes:
    message = EmailMessage()
    message["From"], message["Subject"] = "ana@example.org", "Minutes"
    message.set_content("\n\n".join(_lines(number, 4) for number in range(20)))
    message.add_attachment(_pdf(pages), maintype="application", subtype="pdf", filename="minutes.pdf")
    return message.as_bytes()
