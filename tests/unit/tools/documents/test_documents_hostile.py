"""Files that are broken, not what they claim, or made to do harm: each gets a clear answer, and the next file is read."""

from __future__ import annotations

import gzip
import re
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from tests.support import documents as made

from changeover.core.errors import DocumentError
from changeover.tools.documents.processes import Readers

pytestmark = pytest.mark.asyncio(loop_scope="module")

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 504
WORD = made.docx(lambda document: document.add_paragraph("A word."))
EXCEL = made.xlsx(lambda workbook: workbook.active.append(["tea", 3]))
SLIDES = made.pptx(lambda presentation: presentation.slides.add_slide(presentation.slide_layouts[0]))
PNG = made.picture_file(made.picture())
BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "{}">]><a>&b;</a>'.format("lol" * 100)


def ole(entry: str) -> bytes:
    return OLE + entry.encode("utf-16-le") + b"\0" * 512


def wide_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def looping_pages() -> bytes:
    """A PDF whose page tree holds itself."""
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[2 0 R 2 0 R]/Count 1000000000>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    )


def looping_tiff() -> bytes:
    """A TIFF whose first directory is followed by itself, without a picture in it."""
    return b"II*\0" + struct.pack("<IHHHII", 8, 1, 256, 3, 1, 5) + struct.pack("<I", 8)


def overlapping() -> bytes:
    """An archive whose members share their bytes."""
    data = bytearray(made.archive({"[Content_Types].xml": "<a/>", "word/document.xml": "b" * 500}, zipfile.ZIP_STORED))
    entry = data.rfind(b"PK\x01\x02")
    data[entry + 42 : entry + 46] = struct.pack("<I", 10)
    return bytes(data)


def locked() -> bytes:
    """An archive whose members are flagged as encrypted."""
    data = bytearray(WORD)
    for found in re.finditer(b"PK\x01\x02", WORD):
        data[found.start() + 8] |= 1
    return bytes(data)


def lying() -> bytes:
    """An archive with a member that unpacks to more than it says."""
    data = bytearray(made.with_members(WORD, {"word/styles.xml": "<w>" + "a" * 5_000_000}))
    for found in re.finditer(b"PK\x01\x02", bytes(data)):
        start = found.start()
        length = struct.unpack("<H", data[start + 28 : start + 30])[0]
        if data[start + 46 : start + 46 + length] == b"word/styles.xml":
            data[start + 24 : start + 28] = struct.pack("<I", 100)
    return bytes(data)


def garbled() -> bytes:
    """A Word document whose text does not unpack."""
    with zipfile.ZipFile(made.io.BytesIO(WORD)) as archive:
        at = archive.getinfo("word/document.xml").header_offset + 60
    return WORD[:at] + b"\xff" * 40 + WORD[at + 40 :]


def deep_word() -> bytes:
    xml = made.member(WORD, "word/document.xml")
    deep = "<w:sdt><w:sdtContent>" * 3_000 + "</w:sdtContent></w:sdt>" * 3_000
    return made.with_members(WORD, {"word/document.xml": xml.replace("<w:body>", "<w:body>" + deep)})


def parts_in_parts(depth: int) -> bytes:
    head = "From: a@example.org\nSubject: deep\nMIME-Version: 1.0\n"
    parts = "".join(f'Content-Type: multipart/mixed; boundary="b{each}"\n\n--b{each}\n' for each in range(depth))
    return (head + parts).encode()


def many_parts(count: int) -> bytes:
    head = 'From: a@example.org\nSubject: wide\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n\n'
    return (head + "--b\nContent-Type: text/plain\n\nx\n" * count + "--b--\n").encode()


def endless_sheet() -> bytes:
    xml = made.member(EXCEL, "xl/worksheets/sheet1.xml")
    far = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    return made.with_members(EXCEL, {"xl/worksheets/sheet1.xml": xml.replace("</sheetData>", far + "</sheetData>")})


Bad = tuple[str, Callable[[], bytes], str]
BAD: list[Bad] = [
    ("empty.pdf", lambda: b"", "is empty"),
    ("huge.txt", lambda: b"a" * ((8 << 20) + 1), r"has 8\.4 MB; at most 8\.4 MB"),
    ("locked.pdf", lambda: made.pdf(["secret"], password="pw"), "encrypted: it opens only with a password"),
    ("header.pdf", lambda: b"%PDF-1.7\n", "is damaged: it cannot be read as a PDF"),
    ("noise.pdf", lambda: b"%PDF-1.7\n" + bytes(range(256)) * 40, "is damaged"),
    ("loop.pdf", looping_pages, "is damaged|pages; at most"),
    ("long.pdf", lambda: made.pdf(["x"] * 501), "has 501 pages; at most 500 are read"),
    ("old.doc", lambda: ole("WordDocument"), r"\.doc\)\. Save it as \.docx"),
    ("old.xls", lambda: ole("Workbook"), r"\.xls\)\. Save it as \.xlsx"),
    ("old.ppt", lambda: ole("PowerPoint Document"), r"\.ppt\)\. Save it as \.pptx"),
    ("note.msg", lambda: ole("__substg1.0_0037001F"), r"Outlook message \(\.msg\)"),
    ("locked.docx", lambda: ole("EncryptedPackage"), "encrypted with a password"),
    ("any.ole", lambda: OLE, "an old Office file"),
    ("run.exe", lambda: b"MZ\x90\0" + b"\0" * 200, "a program for Windows"),
    ("invoice.pdf", lambda: b"\x7fELF\2\1\1" + b"\0" * 200, "is a program"),
    ("module.txt", lambda: b"\0asm\1\0\0\0", "is a program"),
    ("files.zip", lambda: made.archive({"a.txt": "a", "b.docx": WORD}), "is a ZIP archive. Unpack it"),
    ("no.zip", lambda: made.archive({}), "is a ZIP archive"),
    (
        "bomb.docx",
        lambda: made.with_members(WORD, {"word/big.bin": b"\0" * 30_000_000}),
        "unpacks from .* refused unopened",
    ),
    ("shared.docx", overlapping, "members that share their bytes"),
    (
        "many.docx",
        lambda: made.with_members(WORD, {f"x/{n}": b"" for n in range(20_001)}),
        "at most 20,000 are looked at",
    ),
    ("flags.docx", locked, "is encrypted. Save a copy without a password"),
    ("lies.docx", lying, "is damaged"),
    ("half.docx", lambda: WORD[: len(WORD) // 2], "is damaged: its archive cannot be opened"),
    ("garbled.docx", garbled, "is damaged"),
    ("hollow.docx", lambda: made.archive({"[Content_Types].xml": "<a/>", "word/document.xml": "<a/>"}), "is damaged"),
    ("lost.docx", lambda: made.with_members(WORD, {"_rels/.rels": None}), "is damaged"),
    ("laughs.docx", lambda: made.with_members(WORD, {"word/document.xml": BOMB}), "declares entities"),
    (
        "laughs16.docx",
        lambda: made.with_members(
            WORD, {"word/styles.xml": BOMB.replace('"1.0"', '"1.0" encoding="UTF-16"').encode("utf-16")}
        ),
        "declares entities",
    ),
    ("laughs.xlsx", lambda: made.with_members(EXCEL, {"xl/sharedStrings.xml": BOMB}), "declares entities"),
    ("laughs.pptx", lambda: made.with_members(SLIDES, {"ppt/presentation.xml": BOMB}), "declares entities"),
    ("deep.docx", deep_word, "is damaged|nested too deeply"),
    ("blank.docx", lambda: made.docx(lambda document: None), "holds no text"),
    ("blank.pptx", lambda: made.pptx(lambda presentation: None), "holds no text"),
    ("blank.xlsx", lambda: made.xlsx(lambda workbook: None), "holds no text"),
    ("far.xlsx", endless_sheet, "more than 200,000 rows in a sheet"),
    ("binary.xlsb", lambda: made.archive({"[Content_Types].xml": "<a/>", "xl/workbook.bin": b"1"}), r"\.xlsb\)"),
    (
        "text.odt",
        lambda: made.archive({"mimetype": "application/vnd.oasis.opendocument.text"}, zipfile.ZIP_STORED),
        "an OpenDocument text",
    ),
    ("book.epub", lambda: made.archive({"mimetype": "application/epub+zip"}, zipfile.ZIP_STORED), "a book"),
    ("rich.rtf", lambda: b"{\\rtf1 hello}", "Rich Text Format. Save it as .docx"),
    ("print.ps", lambda: b"%!PS-Adobe-3.0\n", "a PostScript file"),
    ("packed.gz", lambda: gzip.compress(b"text"), r"packed file \(gzip\)"),
    ("packed.7z", lambda: b"7z\xbc\xaf\x27\x1c" + b"\0" * 40, "a 7z archive"),
    ("packed.rar", lambda: b"Rar!\x1a\7\0", "a RAR archive"),
    ("files.tar", lambda: b"a.txt" + b"\0" * 252 + b"ustar" + b"\0" * 250, "a tar archive"),
    ("song.mp3", lambda: b"ID3\4\0\0\0\0\0\0", "a sound recording. Send its transcript"),
    ("talk.wav", lambda: b"RIFF\0\0\0\0WAVEfmt ", "a sound recording"),
    ("film.mp4", lambda: b"\0\0\0\x18ftypisom" + b"\0" * 40, "a video"),
    ("film.mkv", lambda: b"\x1aE\xdf\xa3" + b"\0" * 40, "a video"),
    ("photo.heic", lambda: b"\0\0\0\x18ftypheic" + b"\0" * 40, "Save it as JPEG"),
    ("data.db", lambda: b"SQLite format 3\0" + b"\0" * 84, "a database. Export the table as CSV"),
    ("data.parquet", lambda: b"PAR1" + b"\0" * 40, "a table in Parquet"),
    ("art.psd", lambda: b"8BPS\0\1" + b"\0" * 40, "a Photoshop picture"),
    ("letters.ttf", lambda: b"\0\1\0\0\0" + b"\0" * 40, "is a font"),
    ("mail.asc", lambda: b"-----BEGIN PGP MESSAGE-----\n\nabc\n", "encrypted with PGP"),
    ("noise.txt", lambda: bytes(range(256)) * 8, "is no document"),
    ("zeros.txt", lambda: b"\0" * 4_000, "is no document"),
    ("wide.png", lambda: wide_png(100_000, 100_000), "100,000 × 100,000 pixels; at most 120 million"),
    ("dot.png", lambda: made.picture_file(made.Image.new("RGB", (1, 1))), "nothing can stand in it"),
    ("half.png", lambda: PNG[: len(PNG) // 2], "is damaged: it cannot be read as a picture"),
    ("header.png", lambda: wide_png(100, 100), "is damaged"),
    ("broken.jpg", lambda: b"\xff\xd8\xff\xe0" + b"\1" * 100, "is damaged"),
    ("loop.tif", looping_tiff, "is damaged"),
    ("deep.html", lambda: b"<!doctype html><body>" + b"<div>" * 100_000, "nested more than 200 deep"),
    ("scripts.html", lambda: b"<!doctype html><script>alert(1)</script>", "holds no text"),
    ("deep.eml", lambda: parts_in_parts(5_000), "parts within parts"),
    ("wide.eml", lambda: many_parts(2_000), "more than 1,000 parts"),
    ("quote.csv", lambda: b"a,b\n1,2\n" + b'"' + b"x,y\n" * 60_000, "field larger than"),
    ("space.txt", lambda: b" \n" * 1_000, "holds no text"),
    ("long.txt", lambda: b"word and word\n\n" * 80_000, "more than 1,000,000 characters"),
    ("one-word.txt", lambda: b"x" * 2_000_000, "more than 1,000,000 characters"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def readers() -> AsyncIterator[Readers]:
    async with made.opened() as readers:
        await made.read(readers, "first.txt", b"The first file.")
        yield readers


@pytest.mark.parametrize(("name", "data", "answer"), BAD, ids=[name for name, _, _ in BAD])
async def test_a_bad_file_is_refused_in_a_sentence_and_the_process_reads_on(
    readers: Readers, name: str, data: Callable[[], bytes], answer: str
) -> None:
    process = readers.processes

    with pytest.raises(DocumentError, match=answer) as refused:
        await made.read(readers, name, data())

    assert refused.value.message.startswith(f"`{name}`")
    assert len(refused.value.message) < 300
    assert readers.processes == process
    assert (await made.read(readers, "next.txt", b"The next file.")).text == "The next file."
