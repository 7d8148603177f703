"""Who somebody is: numbers that states give to people, and dates of birth. Names and postal addresses are not found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from stdnum.be import nn
from stdnum.br import cpf
from stdnum.ch import ssn as ahv
from stdnum.cn import ric
from stdnum.cz import rc
from stdnum.de import idnr
from stdnum.dk import cpr
from stdnum.ee import ik
from stdnum.es import dni, nie
from stdnum.fi import hetu
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.in_ import aadhaar
from stdnum.it import codicefiscale
from stdnum.jp import in_ as my_number
from stdnum.kr import rrn
from stdnum.mx import curp
from stdnum.no import fodselsnummer
from stdnum.pl import pesel
from stdnum.se import personnummer
from stdnum.tr import tckimlik

from changeover.gateway.redact.spans import Span, Text, any_of

Check = Callable[[str], bool]


def _always(_: str) -> bool:
    return True


def _swedish(number: str) -> bool:
    return personnummer.is_valid(number.replace(" ", "-"))


_SHAPES: Mapping[str, tuple[str, tuple[Check, ...]]] = {
    "ssn": (r"(?!000|666)[0-8][0-9]{2}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}", (_always,)),
    "cpf": (r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", (cpf.is_valid,)),
    "ahv": (r"756\.?[0-9]{4}\.?[0-9]{4}\.?[0-9]{2}", (ahv.is_valid,)),
    "nir": (
        r"[12] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
        (nir.is_valid,),
    ),
    "ric": (r"[1-9][0-9]{16}[0-9Xx]", (ric.is_valid,)),
    "rrn": (r"[0-9]{6}-[1-8][0-9]{6}", (rrn.is_valid,)),
    "bis": (r"(?:19|20)?[0-9]{6}[-+][0-9]{4}", (_swedish, cpr.is_valid)),
    "hetu": (r"[0-3][0-9][01][0-9]{3}[-+A-FU-Y][0-9]{3}[0-9A-Y]", (hetu.is_valid,)),
    "rc": (r"[0-9]{6}/[0-9]{3,4}", (rc.is_valid,)),
    "nn": (r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}", (nn.is_valid,)),
    "dni": (r"[0-9]{8}-?[A-HJ-NP-TV-Z]", (dni.is_valid,)),
    "steuer": (r"[1-9][0-9] [0-9]{3} [0-9]{3} [0-9]{3}", (idnr.is_valid,)),
    "fours": (r"[0-9]{4}(?P<gap>[ -])[0-9]{4}(?P=gap)[0-9]{4}", (my_number.is_valid, aadhaar.is_valid)),
    "eleven": (
        r"[0-9]{11}",
        (idnr.is_valid, pesel.is_valid, tckimlik.is_valid, fodselsnummer.is_valid, nn.is_valid, ik.is_valid),
    ),
    "norway": (r"[0-3][0-9]{5} [0-9]{5}", (fodselsnummer.is_valid,)),
    "nhs": (r"[0-9]{3} [0-9]{3} [0-9]{4}", (nhs.is_valid,)),
    "nino": (
        r"(?![DFIQUV])[A-Z](?![DFIQUVO])[A-Z](?P<g> ?)[0-9]{2}(?P=g)[0-9]{2}(?P=g)[0-9]{2}(?P=g)[A-D]",
        (_always,),
    ),
    "nie": (r"[XYZ]-?[0-9]{7}-?[A-Z]", (nie.is_valid,)),
    "fiscale": (
        r"[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]",
        (codicefiscale.is_valid,),
    ),
    "curp": (r"[A-Z]{4}[0-9]{6}[HM][A-Z]{5}[0-9A-Z][0-9]", (curp.is_valid,)),
}
"""How numbers of persons are written, and who can tell a right one."""

_START = re.compile(r"[0-9A-Z](?<![A-Za-z0-9_.,/-][0-9A-Z])(?=[0-9A-Z]|-[0-9]{7}| [0-9]{2} [0-9]{2})", re.ASCII)
"""Where a number may begin: found first and by itself, for it is the only cheap part."""
_NUMBER = re.compile(
    "(?:"
    + "|".join(f"(?P<{name}>{shape})" for name, (shape, _) in _SHAPES.items())
    + r")(?![A-Za-z0-9_])(?![.,/-][0-9])",
    re.ASCII,
)

_PAPERS = (
    r"(?:national|tax|taxpayer|citizen|personal|resident)[ _-]?(?:id(?:entification|entity)?)(?:[ _-]?(?:number|no|nr))?",
    r"passport(?:[ _-]?(?:number|no|nr))?",
    r"reisepass(?:nummer|-?nr)?|pass(?:nummer|-?nr)",
    r"(?:personal)?ausweis(?:nummer|-?nr)?",
    r"(?:id|identity)[ _-]?card(?:[ _-]?(?:number|no))?",
    r"driv(?:er'?s|ing)[ _-]licen[cs]e(?:[ _-]?(?:number|no))?",
    r"führerschein(?:nummer|-?nr)?",
    r"ssn",
    r"social[ _-]security(?:[ _-]?(?:number|no))?",
    r"sozialversicherungs(?:nummer|-?nr)",
    r"steuer(?:nummer|-?nr|-?id(?:entifikationsnummer|nr)?)",
    r"national insurance(?: number| no)?",
    r"nino",
    r"nhs(?: number| no)?",
    r"numéro de sécurité sociale",
    r"carte d'identité",
    r"passeport",
    r"bsn|burgerservicenummer",
    r"my[ _-]?number|マイナンバー|個人番号|旅券番号|免許証番号",
    r"aadhaar",
    r"pan(?= ?(?:card|number|no)?:? ?[a-z]{5}[0-9])(?: card| number| no)?",
    r"sin(?= ?(?:number|no)?:? ?[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{3})",
    r"tfn",
    r"dni|nie|nif",
    r"pasaporte|passaporto|paspoort(?:nummer)?|paszport",
    r"codice fiscale",
    r"cpf",
    r"pesel",
    r"personnummer|cpr|fødselsnummer",
    r"oib",
    r"身份证(?:号码?)?|护照(?:号码?)?|주민등록번호|여권번호",
    r"инн|снилс|паспорт",
)
_BORN = (
    r"(?:date|day|place and date)[ _-]of[ _-]birth",
    r"birth[ _-]?(?:date|day)",
    r"born(?: on| in)?",
    r"d\.?o\.?b\.?",
    r"geb(?:oren(?: am)?|\.|urtstag|urtsdatum)",
    r"\* ?(?=[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4})",
    r"née? le|date de naissance|naissance",
    r"nacid[oa](?: el)?|fecha de nacimiento",
    r"nat[oa] il|data di nascita",
    r"nascid[oa] em|data de nascimento",
    r"geboren op|geboortedatum",
    r"data urodzenia|urodzon[yaą]",
    r"född|født|syntynyt|fødselsdato",
    r"生年月日|誕生日|出生日期|生日|생년월일|дата рождения|родил(?:ся|ась)|doğum tarihi",
)
WORDS = re.compile("|".join((any_of(*_PAPERS), any_of(*(word for word in _BORN if not word.startswith(r"\*"))))))
"""What says that the value beside it is a person's number or date of birth; of lower-case texts."""

_MONTH = r"(?:jan|feb|fév|m[aäe]r|märz|apr|avr|abr|ma[iyg]|jun|jui|jul|giu|lug|aug|ago|aoû|sep|set|okt|oct|out|ott|nov|dec|dez|dic|déc|gen|ene)[^\W\d]{0,9}\.?"
_DATE = (
    r"(?:[0-9]{1,4} ?[./-] ?[0-9]{1,2} ?[./-] ?[0-9]{1,4}|"
    rf"[0-9]{{1,2}}(?:\.|st|nd|rd|th|er|º)? (?:of |de |di )?{_MONTH}(?: de| of)?,? ?[0-9]{{2,4}}|"
    rf"{_MONTH} [0-9]{{1,2}}(?:st|nd|rd|th)?,? [0-9]{{4}}|"
    r"[0-9]{4}[年년] ?[0-9]{1,2}[月월] ?[0-9]{1,2}[日일]?|(?:19|20)[0-9]{6})"
)
_BIRTH = re.compile(any_of(*_BORN) + r"[^0-9\n]{0,16}?(?P<date>" + _DATE + r")(?![0-9])")
_GROUP = r"[a-z]{0,3}[0-9][a-z0-9]{0,19}"
_PAPER = re.compile(
    any_of(*_PAPERS)
    + r"[\"'`]{0,2}(?:[:=#(.は]| ?(?:ist|is|est|es|号|番号|no|nr|number|n°|on file|of [a-z]{2,12})(?![a-z])){0,3}[ \"'`]{0,3}"
    + rf"(?P<number>{_GROUP}(?:[ ./-](?:[a-z]{{1,2}}[ ./-])?{_GROUP}){{0,5}})(?![a-z0-9])"
)


def births(text: Text) -> Iterator[Span]:
    """Dates beside a word that says somebody was born then."""
    for match in text.near_digits(_BIRTH, lower=True):
        yield *match.span("date"), "birth date"


def national(text: Text) -> Iterator[Span]:
    """Numbers that a state's check digits prove."""
    end = 0
    for begin in text.near_digits(_START):
        if begin.start() < end:
            continue
        match = _NUMBER.match(text.plain, begin.start())
        if match is None or len(set(match[0])) < 4:
            continue
        name = next(name for name in _SHAPES if match[name] is not None)
        if any(check(match[0]) for check in _SHAPES[name][1]):
            end = match.end()
            yield *match.span(), "id"


def named(text: Text) -> Iterator[Span]:
    """Numbers beside a word such as `passport`: at least five digits, whatever their check digit."""
    for match in text.near_digits(_PAPER, lower=True):
        if sum(each.isdigit() for each in match["number"]) >= 5:
            yield *match.span("number"), "id"
