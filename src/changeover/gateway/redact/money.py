"""Accounts and cards, each proved by its check digits."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stdnum import luhn

from changeover.gateway.redact.spans import NO_WORD, Span, Text

_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}
"""Characters of an account number by country, as SWIFT's registry lists them."""
_IBAN = re.compile(NO_WORD + r"([A-Za-z]{2})[0-9]{2}(?=[ -]?[A-Za-z0-9]{4})", re.ASCII)
_WHOLE = {
    length: re.compile(rf"(?:[A-Za-z0-9][ -]?){{{length - 1}}}[A-Za-z0-9](?![A-Za-z0-9])", re.ASCII)
    for length in set(_LENGTHS.values())
}
_CARD = re.compile(
    r"(?<![A-Za-z0-9_.,/-])(?=[2-6])(?:"
    r"[0-9]{4}(?P<a>[ -]?)[0-9]{4}(?P=a)[0-9]{4}(?P=a)[0-9]{4}(?:(?P=a)[0-9]{1,3})?|"
    r"3[47][0-9]{2}(?P<b>[ -]?)[0-9]{6}(?P=b)[0-9]{5}|"
    r"3[0689][0-9]{2}(?P<c>[ -]?)[0-9]{6}(?P=c)[0-9]{4}|"
    r"4[0-9]{12}" + r")" + r"(?![A-Za-z0-9_/])(?!-[0-9A-Za-z])(?![.,][0-9])",
    re.ASCII,
)
_ISSUERS = re.compile(
    r"4|5[0-8]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|3[47]|3(?:0[0-5]|[689])|35(?:2[89]|[3-8])|6(?:011|2|304|4[4-9]|5|7|0|1|3)"
)


def ibans(text: Text) -> Iterator[Span]:
    """International account numbers whose length and check digits are right, in any grouping."""
    for begin in text.near_digits(_IBAN):
        length = _LENGTHS.get(begin[1].upper())
        whole = None if length is None else _WHOLE[length].match(text.plain, begin.start())
        if whole is not None and _is_iban(re.sub(r"[ -]", "", whole[0])):
            yield *whole.span(), "iban"


def _is_iban(number: str) -> bool:
    """Whether the remainder is right: ISO 7064, mod 97-10."""
    return int("".join(str(int(each, 36)) for each in number[4:] + number[:4])) % 97 == 1


def cards(text: Text) -> Iterator[Span]:
    """Payment cards: known issuers, written in one piece or as on the card, with the right last digit."""
    for match in text.near_digits(_CARD):
        digits = re.sub(r"[ -]", "", match[0])
        if _ISSUERS.match(digits) and luhn.is_valid(digits) and len(set(digits)) > 1:
            yield *match.span(), "card"
