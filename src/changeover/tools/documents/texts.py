"""Bytes that are text: in which encoding, and whether they are text at all."""

from __future__ import annotations

import codecs

from charset_normalizer import from_bytes

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_GUESSED_BYTES = 64 << 10
_KANA_SHARE = 0.25
_LIKELY = [
    "cp1252",
    "shift_jis",
    "cp932",
    "euc_jp",
    "gb18030",
    "big5",
    "euc_kr",
    "cp1251",
    "koi8_r",
    "cp1250",
    "cp1253",
]
_LOOKED_AT = 8 << 10
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\x1b\x08\x0b")


def encoding_of(data: bytes) -> str:
    """By its mark, by being UTF-8, else by which common encoding makes words of it."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    sixteen = _unmarked_utf16(data)
    if sixteen is not None:
        return sixteen
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=False)  # a cut may go through a letter
    except UnicodeDecodeError:
        japanese = _japanese(data[:_GUESSED_BYTES])
        if japanese is not None:
            return japanese
        found = from_bytes(data[:_GUESSED_BYTES], cp_isolation=_LIKELY).best()
        return "cp1252" if found is None else found.encoding
    return "utf-8"


def decoded(data: bytes) -> str:
    """Its text; what no encoding explains is shown as a replacement character."""
    encoding = encoding_of(data)
    return data.decode(encoding, "replace").removeprefix("\ufeff")


def looks_binary(data: bytes) -> bool:
    """Whether its first bytes hold what no text does."""
    start = data[:_LOOKED_AT]
    if encoding_of(start) in {"utf-16", "utf-32", "utf-16-le", "utf-16-be"}:
        return False
    return b"\0" in start or sum(each < 32 and each not in _TEXT_CONTROLS for each in start) > len(start) // 50


def _japanese(data: bytes) -> str | None:
    """Shift JIS and EUC by what only they make of bytes: much kana. Guessers take them for Chinese."""
    for encoding in ("cp932", "euc_jp"):
        text = codecs.getincrementaldecoder(encoding)("replace").decode(data, final=False)
        other = [letter for letter in text if letter > "\x7f"]
        kana = sum("\u3041" <= letter <= "\u30fe" for letter in other)
        if kana > len(other) * _KANA_SHARE and "\ufffd" not in other:
            return encoding
    return None


def _unmarked_utf16(data: bytes) -> str | None:
    """UTF-16 without a mark: every second byte of Western text is zero, and no other."""
    start = data[: _LOOKED_AT // 2 * 2]
    if len(start) < 8:
        return None
    even, odd = start[::2].count(0), start[1::2].count(0)
    if odd > len(start) * 0.35 and even == 0:
        return "utf-16-le"
    if even > len(start) * 0.35 and odd == 0:
        return "utf-16-be"
    return None
