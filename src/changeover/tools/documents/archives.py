"""Office files are ZIP archives of XML: what is checked of one before any library opens it."""

from __future__ import annotations

import io
import zipfile
import zlib
from xml.parsers import expat

from changeover.core.errors import DocumentError

MOST_MEMBERS = 20_000
MOST_UNPACKED_BYTES = 1 << 30
MOST_XML_BYTES = 256 << 20
"""Of one XML member."""
BOMB_RATIO = 200
"""Unpacked to packed; text of office files packs 5 to 60 times."""
BOMB_BYTES = 16 << 20
"""A small archive may pack as well as it likes."""
_PROLOG_BYTES = 64 << 10


def members(data: bytes, name: str) -> list[zipfile.ZipInfo]:
    """What an archive says it holds.

    Raises:
        DocumentError: It is broken, encrypted, or unpacks to more than anybody needs; nothing was unpacked.
    """
    damaged = f"`{name}` is damaged: its archive cannot be opened. Save it again with the program that made it."
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, IndexError, OverflowError) as exc:
        raise DocumentError(damaged) from exc
    if len(infos) > MOST_MEMBERS:
        raise DocumentError(f"`{name}` holds {len(infos):,} files; at most {MOST_MEMBERS:,} are looked at.")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > MOST_UNPACKED_BYTES or (unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * len(data)):
        raise DocumentError(
            f"`{name}` unpacks from {len(data) / 1e6:,.2f} MB to {unpacked / 1e6:,.0f} MB, as no document does. "
            "It is refused unopened."
        )
    if any(info.flag_bits & 1 for info in infos):
        raise DocumentError(f"`{name}` is encrypted. Save a copy without a password, and send that.")
    if _overlap(infos):
        raise DocumentError(
            f"`{name}` has members that share their bytes, as no document does. It is refused unopened."
        )
    return infos


def _overlap(infos: list[zipfile.ZipInfo]) -> bool:
    """Whether members stand in each other's bytes: how a small archive unpacks to petabytes."""
    end = 0
    for info in sorted(infos, key=lambda each: each.header_offset):
        if info.header_offset < end:
            return True
        end = info.header_offset + 30 + len(info.filename.encode("utf-8", "replace")) + info.compress_size
    return False


def check_xml(data: bytes, infos: list[zipfile.ZipInfo], name: str) -> None:
    """Refuse XML that declares a document type: what entities are made of, and no office program writes.

    Every member is looked at: what is XML is said in the archive itself, and not by its name.

    Raises:
        DocumentError: A member does, is too large, or cannot be unpacked.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in infos:
            if info.file_size > MOST_XML_BYTES and info.filename.lower().endswith((".xml", ".rels", ".vml")):
                raise DocumentError(
                    f"`{name}` has {info.file_size / 1e6:,.0f} MB of text in one part; at most "
                    f"{MOST_XML_BYTES / 1e6:,.0f} MB are read. Split it."
                )
            try:
                with archive.open(info) as member:
                    declares = declares_type(member.read(_PROLOG_BYTES))
            except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError, zlib.error) as exc:
                raise DocumentError(
                    f"`{name}` is damaged: a part of it cannot be unpacked. Save it again with the program that made it."
                ) from exc
            if declares:
                raise DocumentError(
                    f"`{name}` declares entities in its XML, as no office program does. It is refused. Save it again "
                    "with the program that made it."
                )


class _TypeDeclaredError(Exception):
    """The prolog declares a document type."""


class _BodyBegunError(Exception):
    """The first element: the prolog is over."""


def declares_type(start: bytes) -> bool:
    """Whether XML declares a document type before its first element, in whichever encoding."""

    def declared(*_: object) -> None:
        raise _TypeDeclaredError

    def begun(*_: object) -> None:
        raise _BodyBegunError

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = declared
    parser.StartElementHandler = begun
    try:
        parser.Parse(start, False)
    except _TypeDeclaredError:
        return True
    except (_BodyBegunError, expat.ExpatError):
        return False
    return len(start) >= _PROLOG_BYTES  # nothing but a prolog in so much: what follows it was not seen
