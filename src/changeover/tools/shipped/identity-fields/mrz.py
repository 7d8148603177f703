"""Checks the machine-readable zone of an identity document.

Source: ICAO Doc 9303, parts 3 to 6: three lines of 30 characters, two of 36, or two of 44.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from typing import Any

WEIGHTS = (7, 3, 1)
SHAPES = {30: 3, 36: 2, 44: 2}
"""Characters of a line, and how many lines there are."""
BRACKETS = str.maketrans({"\u00ab": "<<", "\u2039": "<", "\uff1c": "<", "\u3008": "<"})
"""What OCR takes a filler for."""
LETTERS = str.maketrans("01258", "OIZSB")
DIGITS = str.maketrans("OQDIZSB", "0001258")
"""What OCR takes letters and digits for, where only the one or the other may stand."""


def check(text: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Whether the zone is valid, which check digits fail, what it says, and which fields differ from it."""
    lines = _zone(text)
    if lines is None:
        return {"mrz": "none", "failed": [], "zone": None, "differences": []}
    failed, zone = _read(lines)
    return {
        "mrz": "invalid" if failed else "valid",
        "failed": failed,
        "zone": zone,
        "differences": [] if failed else [key for key, value in zone.items() if _differs(value, fields.get(key))],
    }


def digit(text: str) -> str:
    """The check digit of a text: letters count from 10, the filler `<` is 0, weights are 7, 3, 1 in turn."""
    values = (0 if char == "<" else int(char, 36) for char in text)
    return str(sum(value * WEIGHTS[place % 3] for place, value in enumerate(values)) % 10)


def _zone(text: str) -> list[str] | None:
    """The lines of the zone, mended where OCR took the fillers for too many or too few."""
    plain = (re.sub(r"\s", "", line.translate(BRACKETS)).upper() for line in text.splitlines())
    lines = [line for line in plain if re.fullmatch(r"[A-Z0-9<]{24,50}", line)]
    for size, count in SHAPES.items():
        for start in range(len(lines) - count + 1):
            fitted = [_fit(line, size) for line in lines[start : start + count]]
            if all(len(line) == size for line in fitted) and fitted[0][0] in "PIACV" and "<" in "".join(fitted):
                return fitted
    return None


def _fit(line: str, size: int) -> str:
    runs = re.findall(r"<{3,}", line)
    if not runs or abs(len(line) - size) > 6:
        return line
    longest = max(runs, key=len)
    return line.replace(longest, "<" * max(1, len(longest) + size - len(line)), 1)


def _read(lines: list[str]) -> tuple[list[str], dict[str, str]]:
    """Names of the parts whose check digit is wrong, and what the zone says."""
    if len(lines) == 3:
        first, second, names = lines
        number, number_digit = first[5:14], first[14]
        birth, sex, expiry = second[0:7].translate(DIGITS), second[7], second[8:15].translate(DIGITS)
        nationality = second[15:18]
        whole, whole_digit = first[5:30] + birth + expiry + second[18:29], second[29]
        optional = None
    else:
        names, second = lines[0][5:], lines[1]
        number, number_digit, nationality = second[0:9], second[9], second[10:13]
        birth, sex, expiry = second[13:20].translate(DIGITS), second[20], second[21:28].translate(DIGITS)
        end = len(second) - 1
        whole, whole_digit = second[0:10] + birth + expiry + second[28:end], second[end]
        optional = second[28:43] if end == 43 else None
    digits = {
        "document_number": (number, number_digit),
        "date_of_birth": (birth[:6], birth[6]),
        "date_of_expiry": (expiry[:6], expiry[6]),
        "whole": (whole, whole_digit),
    }
    failed = [name for name, (part, wanted) in digits.items() if digit(part) != wanted.translate(DIGITS)]
    if optional is not None and digit(optional[:14]) != optional[14].replace("<", "0"):
        failed.insert(-1 if "whole" in failed else len(failed), "optional")
    surname, _, given = names.translate(LETTERS).strip("<").partition("<<")
    zone = {
        "document_number": number.strip("<"),
        "surname": surname.replace("<", " ").strip(),
        "given_names": given.replace("<", " ").strip(),
        "nationality": nationality.translate(LETTERS).strip("<"),
        "date_of_birth": _date(birth[:6], future=False),
        "sex": {"<": "X"}.get(sex, sex),
        "date_of_expiry": _date(expiry[:6], future=True),
    }
    return failed, zone


def _date(digits: str, *, future: bool) -> str:
    """The day that six digits mean; empty: none. A birth lies in the past, an expiry not more than 50 years ago."""
    if not digits.isdigit():
        return ""
    this_year = date.today().year  # noqa: DTZ011 - only its century matters
    year = this_year // 100 * 100 + int(digits[:2])
    if future and year < this_year - 50:
        year += 100
    if not future and year > this_year:
        year -= 100
    try:
        return date(year, int(digits[2:4]), int(digits[4:])).isoformat()
    except ValueError:
        return ""


def _differs(in_zone: str, read: Any) -> bool:
    return _bare(in_zone) != _bare(str(read or ""))


def _bare(text: str) -> str:
    """Capitals and figures, as the zone spells them: Ä is AE, é is E."""
    spelt = text.upper().translate(str.maketrans({"Ä": "AE", "Ö": "OE", "Ü": "UE", "ß": "SS", "Å": "AA", "Ø": "OE"}))
    return re.sub(r"[^A-Z0-9]", "", unicodedata.normalize("NFKD", spelt))
