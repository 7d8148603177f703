"""How to reach somebody: e-mail and IP addresses, telephone numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

from changeover.gateway.redact.spans import NO_MORE, NO_WORD, Span, Text, any_of, every

_LETTER = "A-Za-zÀ-ɏͰ-ӿ"
_EMAIL = re.compile(
    rf"(?<![{_LETTER}0-9._%+-])[{_LETTER}0-9_%+'][{_LETTER}0-9._%+'-]{{0,63}}+@"
    rf"(?:[{_LETTER}0-9](?:[{_LETTER}0-9-]{{0,62}})\.){{1,8}}(?:xn--[a-z0-9-]{{2,30}}|[{_LETTER}]{{2,24}})(?![{_LETTER}0-9])"
)
_AT = ("(at)", "[at]", "{at}")
_SPELT_EMAIL = re.compile(
    NO_WORD
    + r"[a-z0-9][a-z0-9._+-]{0,63} ?(?:\(at\)|\[at\]|\{at\}) ?[a-z0-9-]{1,63}"
    + r"(?: ?(?:\(dot\)|\[dot\]|\{dot\}|\(punkt\)|\.) ?[a-z0-9-]{1,63}){0,4} ?(?:\(dot\)|\[dot\]|\{dot\}|\(punkt\)| dot |\.) ?"
    + r"(?:com|net|org|info|io|edu|gov|eu|[a-z]{2})"
    + NO_MORE
)

_V4 = re.compile(
    r"(?<![A-Za-z0-9_.-])(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
    r"(?![A-Za-z0-9_-])(?!\.[0-9])",
    re.ASCII,
)
_V6 = re.compile(
    r"(?<![A-Za-z0-9:._])(?:[0-9a-fA-F]{0,4}:){2,7}(?:[0-9a-fA-F]{1,4}|[0-9.]{7,15})?(?![A-Za-z0-9:_])", re.ASCII
)
_A_VERSION = re.compile(r"(?:version|release|build|firmware|driver|v)\.?:? {0,2}$")
_OF_NOBODY = frozenset({"0.0.0.0", "127.0.0.1", "255.255.255.255"})

_TELEPHONE = (
    r"(?:tele)?(?:phone|fon|fono|foon|fone|fax)(?:[ _-]?(?:number|no|nr|nummer))?",
    r"tele?f?",
    r"mobile?(?:[ _-]?(?:phone|number|nr|no))?",
    r"cell(?:ulare|ular|phone)?",
    r"handy(?:nummer|nr)?",
    r"rufnummer",
    r"call (?:me|us|him|her|them)(?: back)?(?: at| on)?",
    r"(?:text|reach|ring) (?:me|us|him|her|them)(?: at| on)?",
    r"whats ?app",
    r"sms",
    r"t[ée]l(?:[ée]phone)?",
    r"portable",
    r"tel[ée]fono",
    r"m[óo]vil",
    r"celular",
    r"telem[óo]vel",
    r"telefoon(?:nummer)?",
    r"puhelin",
    r"telefon(?:o|u|nummer)?",
    r"电话|電話|手机|手機|携帯|携帯電話|连絡先|联系方式",
    r"전화(?:번호)?|휴대폰",
    r"тел(?:ефон)?|моб",
    r"هاتف|جوال",
)
WORDS = re.compile(any_of(*_TELEPHONE))
"""What says that the number beside it is a telephone's; of lower-case texts."""

_NUMBER = r"\(?\+?[0-9](?:[ ()./-]{0,3}[0-9]){5,14}"
_NEAR = re.compile(any_of(*_TELEPHONE) + r"[^0-9\n+(]{0,20}(?P<number>" + _NUMBER + r")(?![0-9])")
_ABROAD = re.compile(
    r"(?<![A-Za-z0-9+.,])(?P<number>(?:\+ ?|\(\+|00)[1-9](?:[ ()./-]{0,3}[0-9]){6,14})(?![0-9A-Za-z])", re.ASCII
)
_AT_HOME = re.compile(
    r"(?<![A-Za-z0-9_.,/+-])(?P<number>"
    r"\(?[2-9][0-9]{2}\)?[ .-]{1,2}[2-9]?[0-9]{2,3}[ .-][0-9]{4}|"  # North America
    r"0[1-9](?:[ .]?[0-9]{2}){4}|"  # France
    r"\(?01[567][0-9]\)?[ /-]{0,3}[0-9]{7,8}|"  # German mobiles
    r"07[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{3}|"  # British mobiles
    r"\(?0[1-9][0-9]{0,4}\)?(?:[ /-]{1,3}[0-9]{1,8}){1,4}|"
    r"[679][0-9]{2}(?: [0-9]{3}){2}(?= |$)"  # Spain, Portugal, Poland: nine digits in threes
    r")(?![0-9A-Za-z])(?![.,/-][0-9])",
    re.ASCII,
)
_A_DATE = re.compile(
    r"0[1-9][./-](?:0?[1-9]|1[0-2]|[12][0-9]|3[01])[./-][0-9]{2,4}(?![0-9])|0[1-9]-[0-9]{2}[ -][0-9]{4}$"
)
_AN_AMOUNT = re.compile(r" ?(?:[€$£¥%]|eur|usd|chf|gbp|jpy|units?|rows|kg|km|stück|円|元)")
_CODES = frozenset(
    f"{code}"
    for codes in ((20, 27), range(21, 27), (29,), range(30, 70), range(80, 83), range(84, 89), range(90, 100))
    for code in codes
) - {"28", "83", "89"}
"""How numbers of countries begin, but for 1 and 7."""


def emails(text: Text) -> Iterator[Span]:
    """E-mail addresses, spelt ones (`ada (at) example (dot) org`) too."""
    if "@" in text.plain:
        yield from every(_EMAIL, text.plain, "email")
    if any(mark in text.lower for mark in _AT):
        for match in _SPELT_EMAIL.finditer(text.lower):
            yield *match.span(), "email"


def addresses(text: Text) -> Iterator[Span]:
    """IP addresses, but for those that every machine has."""
    for match in text.near_digits(_V4):
        before = text.lower[max(match.start() - 12, 0) : match.start()]
        if match[0] not in _OF_NOBODY and not _A_VERSION.search(before):
            yield *match.span(), "ip"
    if "::" in text.plain or text.windows:
        for match in _V6.finditer(text.plain):
            if _is_v6(match[0]):
                yield *match.span(), "ip"


def _is_v6(found: str) -> bool:
    try:
        address = ip_address(found)
    except ValueError:
        return False
    # `a::b` is an address, and a name in some languages.
    groups = [group for group in found.split(":") if group]
    named = len(groups) < 3 and not any(each.isdigit() for each in found)
    return not (named or address.is_loopback or address.is_unspecified)


def phones(text: Text) -> Iterator[Span]:
    """Telephone numbers: international ones, those in a country's own grouping, and others beside a word that says so."""
    for match in text.near_digits(_NEAR, lower=True):
        digits = sum(each.isdigit() for each in match["number"])
        if digits >= 6 and not _day(match["number"]):
            yield *match.span("number"), "phone"
    for match in text.near_digits(_ABROAD):
        if _is_international(match["number"]) and not _AN_AMOUNT.match(text.lower, match.end()):
            yield *match.span("number"), "phone"
    for match in text.near_digits(_AT_HOME):
        number = match["number"]
        digits = sum(each.isdigit() for each in number)
        if 9 <= digits <= 12 and not _A_DATE.match(number) and not _AN_AMOUNT.match(text.lower, match.end()):
            yield *match.span("number"), "phone"


def _day(number: str) -> bool:
    return re.fullmatch(r"[0-9]{1,4}[./-][0-9]{1,2}[./-][0-9]{1,4}", number) is not None


def _is_international(number: str) -> bool:
    if re.fullmatch(r"\+[0-9]+\.[0-9]+", number):
        return False  # a coordinate or another decimal number
    digits = re.sub(r"[^0-9]", "", number)
    if not number.startswith(("+", "(")):
        digits = digits[2:]
    if digits[0] in "17":
        return len(digits) == 11
    return 9 <= len(digits) <= 15 and digits[:2] in _CODES
