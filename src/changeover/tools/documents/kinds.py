"""What a file is, by its content. Its name and its declared type may be wrong, or made to deceive."""

from __future__ import annotations

import re
import zipfile
from typing import Literal

from changeover.core.errors import DocumentError
from changeover.tools.documents.archives import members
from changeover.tools.documents.texts import decoded, looks_binary

Kind = Literal["pdf", "docx", "pptx", "xlsx", "html", "markdown", "email", "csv", "image", "text"]

CALLED: dict[Kind, str] = {
    "pdf": "a PDF",
    "docx": "a Word document",
    "pptx": "a PowerPoint presentation",
    "xlsx": "an Excel workbook",
    "html": "a web page",
    "markdown": "Markdown text",
    "email": "an e-mail",
    "csv": "a table as text (CSV)",
    "image": "a picture",
    "text": "plain text",
}
_ENDINGS: dict[str, Kind] = {
    **dict.fromkeys(("pdf",), "pdf"),
    **dict.fromkeys(("docx", "docm", "dotx", "dotm"), "docx"),
    **dict.fromkeys(("pptx", "pptm", "ppsx", "ppsm", "potx"), "pptx"),
    **dict.fromkeys(("xlsx", "xlsm", "xltx", "xltm"), "xlsx"),
    **dict.fromkeys(("html", "htm", "xhtml"), "html"),
    **dict.fromkeys(("md", "markdown"), "markdown"),
    **dict.fromkeys(("eml", "mht", "mhtml"), "email"),
    **dict.fromkeys(("csv", "tsv"), "csv"),
    **dict.fromkeys(("png", "jpg", "jpeg", "webp", "tif", "tiff", "bmp", "gif"), "image"),
    **dict.fromkeys(("txt", "text", "log"), "text"),
}
_PLAIN: frozenset[Kind] = frozenset({"text", "markdown", "csv"})
"""Nothing tells these apart but habits of writing, so a name that fits is believed."""

_AS_PDF = "Save it as a PDF, and send that."
_UNPACK = "Unpack it, and send the documents that are in it."
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"MZ", "a program for Windows. Programs are not read."),
    (0, b"\x7fELF", "a program. Programs are not read."),
    *(
        (0, magic, "a program. Programs are not read.")
        for magic in (b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
    ),
    (0, b"\0asm", "a program. Programs are not read."),
    (0, b"{\\rtf", "a document in Rich Text Format. Save it as .docx, and send that."),
    (0, b"%!PS", f"a PostScript file. {_AS_PDF}"),
    (0, b"\xc5\xd0\xd3\xc6", f"a PostScript file. {_AS_PDF}"),
    (0, b"AT&TFORM", f"a DjVu document. {_AS_PDF}"),
    (0, b"ITSF", f"a Windows help file. {_AS_PDF}"),
    (0, b"\x1f\x8b", f"a packed file (gzip). {_UNPACK}"),
    (0, b"BZh", f"a packed file (bzip2). {_UNPACK}"),
    (0, b"\xfd7zXZ\0", f"a packed file (xz). {_UNPACK}"),
    (0, b"\x28\xb5\x2f\xfd", f"a packed file (zstd). {_UNPACK}"),
    (0, b"7z\xbc\xaf\x27\x1c", f"a 7z archive. {_UNPACK}"),
    (0, b"Rar!", f"a RAR archive. {_UNPACK}"),
    (0, b"MSCF", f"a cabinet archive. {_UNPACK}"),
    (257, b"ustar", f"a tar archive. {_UNPACK}"),
    (32769, b"CD001", f"an image of a disc. {_UNPACK}"),
    (0, b"ID3", "a sound recording. Send its transcript."),
    (0, b"OggS", "a sound recording. Send its transcript."),
    (0, b"fLaC", "a sound recording. Send its transcript."),
    (0, b"MThd", "a piece of music (MIDI). Send text."),
    (8, b"WAVE", "a sound recording. Send its transcript."),
    (8, b"AVI ", "a video. Send its transcript."),
    (0, b"\x1aE\xdf\xa3", "a video. Send its transcript."),
    (0, b"FLV\x01", "a video. Send its transcript."),
    (0, b"\0\0\x01\xba", "a video. Send its transcript."),
    (0, b"SQLite format 3\0", "a database. Export the table as CSV, and send that."),
    (0, b"PAR1", "a table in Parquet. Export it as CSV, and send that."),
    (0, b"8BPS", "a Photoshop picture. Save it as PNG, and send that."),
    (0, b"\0\0\x01\0", "an icon. Save it as PNG, and send that."),
    (0, b"\xff\x0a", "a JPEG XL picture. Save it as PNG or JPEG, and send that."),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture. Save it as PNG or JPEG, and send that."),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture. Save it as PNG or JPEG, and send that."),
    (0, b"wOF", "a font. Fonts are not read."),
    (0, b"\0\x01\0\0\0", "a font. Fonts are not read."),
    (0, b"OTTO", "a font. Fonts are not read."),
    (0, b"-----BEGIN PGP MESSAGE", "encrypted with PGP. Decrypt it, and send that."),
)
_PICTURES: tuple[tuple[int, bytes], ...] = (
    (0, b"\x89PNG\r\n\x1a\n"),
    (0, b"\xff\xd8\xff"),
    (0, b"GIF87a"),
    (0, b"GIF89a"),
    (0, b"II*\0"),
    (0, b"MM\0*"),
    (0, b"II+\0"),
    (0, b"MM\0+"),
    (8, b"WEBP"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_INSIDE_OLE = (
    ("EncryptedPackage", "is encrypted with a password. Save a copy without it, and send that."),
    ("WordDocument", "is a Word document of before 2007 (.doc). Save it as .docx, and send that."),
    ("Workbook", "is an Excel workbook of before 2007 (.xls). Save it as .xlsx, and send that."),
    ("PowerPoint Document", "is a PowerPoint presentation of before 2007 (.ppt). Save it as .pptx, and send that."),
    ("__substg1.0_", "is an Outlook message (.msg). Save it as .eml or as a PDF, and send that."),
)
_OFFICE: tuple[tuple[str, Kind], ...] = (
    ("word/document", "docx"),
    ("ppt/presentation", "pptx"),
    ("xl/workbook", "xlsx"),
)
_OTHER_ZIPS = (
    (b"application/vnd.oasis.opendocument.text", "an OpenDocument text. Save it as .docx or PDF, and send that."),
    (b"application/vnd.oasis.opendocument.spreadsheet", "an OpenDocument table. Save it as .xlsx, and send that."),
    (b"application/vnd.oasis.opendocument.presentation", "OpenDocument slides. Save them as .pptx, and send that."),
    (b"application/epub+zip", f"a book (EPUB). {_AS_PDF}"),
)
_HEADERS = re.compile(
    r"\A(?:From [^\n]+\n)?(?:[A-Za-z][A-Za-z0-9-]{0,60}:[^\n]*\n(?:[ \t][^\n]*\n)*)+(?:\n|\Z)",
)
_MAIL_HEADERS = re.compile(
    r"^(from|to|cc|subject|date|message-id|mime-version|received|return-path|content-type|reply-to|delivered-to):",
    re.IGNORECASE | re.MULTILINE,
)
_HTML = re.compile(
    r"\A\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).){0,4000}-->\s*)*<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_TAGS = re.compile(r"</(?:p|div|table|span|ul|ol|h[1-6]|a|td)>", re.IGNORECASE)
_MARKDOWN = (
    re.compile(r"^#{1,6} \S", re.MULTILINE),
    re.compile(r"^(?:```|~~~)", re.MULTILINE),
    re.compile(r"\[[^\]\n]{1,200}\]\([^)\s]{1,500}\)"),
    re.compile(r"\*\*[^*\n]{1,200}\*\*"),
    re.compile(r"^\|.*\|[ \t]*\n\|[ :|-]+\|", re.MULTILINE),
)
_LOOKED_AT = 64 << 10


def recognised(data: bytes, name: str) -> Kind:
    """What a file is.

    Raises:
        DocumentError: It is of a kind that is not read; says which, and what to do instead.
    """
    if data.startswith(b"PK\x03\x04") or data.startswith(b"PK\x05\x06"):
        return _of_archive(data, name)
    if data.startswith(_OLE):
        raise DocumentError(f"`{name}` {_inside_ole(data)}")
    if any(data[at : at + len(magic)] == magic for at, magic in _PICTURES):
        return "image"
    if data.startswith(b"BM") and data[6:10] == b"\0\0\0\0":
        return "image"
    if data.startswith(b"%PDF-"):
        return "pdf"
    for at, magic, what in _SIGNATURES:
        if data[at : at + len(magic)] == magic and not (magic == b"MZ" and not looks_binary(data)):
            raise DocumentError(f"`{name}` is {what}")
    if data[4:8] == b"ftyp":
        picture = data[8:12] in {b"heic", b"heix", b"mif1", b"avif", b"msf1"}
        raise DocumentError(
            f"`{name}` is "
            + (
                "a picture as HEIC or AVIF. Save it as JPEG, and send that."
                if picture
                else "a video. Send its transcript."
            )
        )
    if b"%PDF-" in data[:1024]:
        return "pdf"
    if looks_binary(data):
        raise DocumentError(
            f"`{name}` is no document: its bytes are neither text nor a kind of file that is read. Save it as a PDF, "
            "and send that."
        )
    return _of_text(decoded(data[:_LOOKED_AT]), name)


def mislabelled(kind: Kind, name: str) -> str | None:
    """What to tell a reader where a file's name claims what it is not."""
    claimed = _claimed(name)
    if claimed is None or claimed == kind or {claimed, kind} <= _PLAIN:
        return None
    return f"its name claims {CALLED[claimed]}; by its content it is {CALLED[kind]}, and was read as one"


def _claimed(name: str) -> Kind | None:
    return _ENDINGS.get(name.rsplit(".", 1)[-1].lower()) if "." in name else None


def _inside_ole(data: bytes) -> str:
    for entry, what in _INSIDE_OLE:
        if entry.encode("utf-16-le") in data:
            return what
    return "is an old Office file that is not read. Save it as .docx, .xlsx, .pptx or PDF, and send that."


def _of_archive(data: bytes, name: str) -> Kind:
    infos = members(data, name)
    names = {info.filename for info in infos}
    if "[Content_Types].xml" in names:
        if "xl/workbook.bin" in names:
            raise DocumentError(f"`{name}` is a binary Excel workbook (.xlsb). Save it as .xlsx, and send that.")
        for start, kind in _OFFICE:
            if any(each.startswith(start) and each.endswith(".xml") for each in names):
                return kind
    stored = infos[0] if infos and infos[0].filename == "mimetype" else None
    if stored is not None and stored.compress_type == zipfile.ZIP_STORED:
        for mime, what in _OTHER_ZIPS:
            if mime in data[:200]:
                raise DocumentError(f"`{name}` is {what}")
    raise DocumentError(f"`{name}` is a ZIP archive. {_UNPACK}")


def _of_text(text: str, name: str) -> Kind:
    claimed = _claimed(name)
    start = text.lstrip("\ufeff \t\r\n").replace("\r\n", "\n")
    if _HTML.match(start) or (claimed == "html" and _TAGS.search(start)):
        return "html"
    head = start.split("\n\n", 1)[0] + "\n\n"
    if _HEADERS.match(head) and len(set(each.lower() for each in _MAIL_HEADERS.findall(head))) >= 2:
        return "email"
    if len(_TAGS.findall(start)) >= 5 and start.startswith("<"):
        return "html"
    if claimed in _PLAIN:
        return claimed
    if sum(bool(pattern.search(start)) for pattern in _MARKDOWN) >= 2:
        return "markdown"
    return "csv" if _is_table(start) else "text"


def _is_table(text: str) -> bool:
    """Whether every line has the same few separators."""
    lines = [line for line in text.split("\n")[:50] if line.strip()]
    if len(lines) < 3:
        return False
    whole = lines[:-1] if len(text) >= _LOOKED_AT else lines
    for separator in "\t;,|":
        counts = {re.sub(r'"[^"]*"', "", line).count(separator) for line in whole}
        if len(counts) == 1 and counts.pop() >= (1 if separator in "\t;" else 2):
            return True
    return False
