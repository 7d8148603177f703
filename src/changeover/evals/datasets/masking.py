"""Masking of personal data that has a shape: e-mail addresses, phone numbers, cards, IBANs, IP addresses.

Names and street addresses have none and stay: a person must read what was taken from traffic before it is passed on.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

_EMAIL = re.compile(r"[\w.%+-]+@[\w-]+(?:\.[\w-]+)+")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11,30}")
_CARD = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])")
_IP4 = re.compile(r"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9]|\.[0-9])")
_IP6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
_PHONES = (
    re.compile(r"(?<![\w+])(?:\+|00)[1-9][0-9]{0,2}[ \t().\-/]{0,3}[0-9](?:[ \t().\-/]{0,3}[0-9]){5,12}(?![0-9])"),
    re.compile(r"(?<![\w.,+-])\(?0[0-9]{1,5}\)?[ \t\-/.]{0,2}[0-9](?:[ \t\-/.]?[0-9]){4,10}(?![\w]|[.,][0-9])"),
    re.compile(r"(?<![\w.,+-])\(?[2-9][0-9]{2}\)?[ .\-]{1,2}[0-9]{3}[ .\-][0-9]{4}(?![\w]|[.,][0-9])"),
)
_DATE = re.compile(r"\(?[0-9]{1,2}([./-])[0-9]{1,2}\1[0-9]{2,4}(?![0-9])")


class Masker:
    """Masks the texts of one sample. The same address is the same placeholder throughout, such as `[email-1]`."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}
        self.counts: Counter[str] = Counter()
        """How many different ones of each kind were masked."""

    def text(self, text: str) -> str:
        """The text without what was recognised."""
        text = _EMAIL.sub(self._by("email"), text)
        text = _IBAN.sub(self._iban, text)
        text = _CARD.sub(self._by("card", is_card), text)
        text = _IP4.sub(self._by("ip", _is_ip), text)
        text = _IP6.sub(self._by("ip", _is_ip), text)
        for pattern in _PHONES:
            text = pattern.sub(self._by("phone", _is_phone), text)
        return text

    def value(self, value: Any) -> Any:
        """A JSON value with all its texts masked; keys stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in cast("list[Any]", value)]
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in cast("dict[str, Any]", value).items()}
        return value

    def _by(self, kind: str, holds: Callable[[str], bool] | None = None) -> Callable[[re.Match[str]], str]:
        def replace(match: re.Match[str]) -> str:
            found = match.group()
            return found if holds is not None and not holds(found) else self._placeholder(kind, found)

        return replace

    def _iban(self, match: re.Match[str]) -> str:
        """Capital words may follow an IBAN: it ends where its check digits are right."""
        found = match.group()
        for end in range(len(found), 14, -1):
            if found[end - 1] not in " -" and is_iban(found[:end]):
                return self._placeholder("iban", found[:end]) + found[end:]
        return found

    def _placeholder(self, kind: str, found: str) -> str:
        plain = "".join(char for char in found.casefold() if char.isalnum() or char in "@.:")
        if (kind, plain) not in self._known:
            self.counts[kind] += 1
            self._known[kind, plain] = f"[{kind}-{self.counts[kind]}]"
        return self._known[kind, plain]


def is_card(text: str) -> bool:
    """Whether digits are those of a payment card, by its check digit (Luhn, ISO/IEC 7812)."""
    digits = [int(char) for char in text if char.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_iban(text: str) -> bool:
    """Whether a text is an IBAN, by its check digits (ISO 7064, mod 97-10)."""
    plain = "".join(char for char in text if char.isalnum()).upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return ":" not in text or sum(bool(group) for group in text.split(":")) > 2  # not every `::` is an address


def _is_phone(text: str) -> bool:
    digits = [char for char in text if char.isdigit()]
    return _DATE.match(text) is None and 7 <= len(digits) <= 15 and len(set(digits)) > 2
