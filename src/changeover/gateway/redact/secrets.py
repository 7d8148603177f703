"""What opens a door: keys, tokens and passwords. Also pictures and sound, which no rule can look into."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator

from changeover.gateway.redact.spans import NO_WORD, Span, Text, any_of, every

OURS = r"(?:co|engine)-[A-Za-z0-9_-]{40,64}"
"""Keys and engines' secrets of this system (see core/ids.py)."""

_SHAPES = re.compile(
    NO_WORD
    + "(?:"
    + "|".join(
        (
            OURS,
            r"sk-[A-Za-z0-9_-]{16,}",  # OpenAI and those who write like it
            r"[sprw]k_(?:live|test)_[A-Za-z0-9]{10,}",  # Stripe
            r"whsec_[A-Za-z0-9+/=]{20,}",
            r"gh[opsur]_[A-Za-z0-9]{30,}",
            r"github_pat_[A-Za-z0-9_]{22,}",
            r"gl(?:pat|ptt|rt|dt)-[A-Za-z0-9_-]{20,}",
            r"xox[abeprs]-[A-Za-z0-9-]{10,}",
            r"A(?:KIA|SIA|ROA|IDA|GPA)[A-Z0-9]{16}(?![A-Z0-9])",
            r"AIza[A-Za-z0-9_-]{35}",
            r"ya29\.[A-Za-z0-9_-]{20,}",
            r"(?:hf|npm|nvapi|dop_v1|shpat|gsk)[_-][A-Za-z0-9_-]{28,}",
            r"pypi-[A-Za-z0-9_-]{50,}",
            r"SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}",
            r"(?<!-)eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*+)?",  # JWT
            r"(?:[Bb]earer|BEARER)[ +][A-Za-z0-9._~+/-]{16,}=*",
        )
    )
    + ")",
    re.ASCII,
)
_BASIC = re.compile(NO_WORD + r"[Bb]asic ([A-Za-z0-9+/]{8,512}={0,2})(?![A-Za-z0-9+/=])", re.ASCII)
_PIN = re.compile(
    any_of(r"pin(?:[ _-]?code)?[^a-z0-9\n]{1,4}([0-9]{4,8})", r"cv[cv]2?[^a-z0-9\n]{1,4}([0-9]{3,4})") + r"(?![0-9])"
)
_HOOK = re.compile(r"(?<=hooks\.slack\.com/services/)[A-Za-z0-9/]{16,128}", re.ASCII)
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s\\:,-]*+", re.ASCII)
_AUTHORITY = re.compile(r"(?<=://)[^\s/?#\"'<>@]{1,256}+@(?:[^\s/?#\"'<>@]{0,256}@)?+", re.ASCII)
_LOGIN = re.compile(r"(?:(?<= -u )|(?<=--user ))[^\s:/\"']{1,64}:[^\s/\"'][^\s\"']{0,127}", re.ASCII)
_DATA = re.compile(r"data:[a-z]{1,20}/[a-z0-9.+-]{1,80};base64,[A-Za-z0-9+/=_-]*+", re.ASCII)
_BLOB = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{1024,}+={0,2}", re.ASCII)

_PASSWORD = (
    r"pass(?:word|wd|phrase|code)",
    r"pwd",
    r"pass[wv]ort",
    r"kennwort",
    r"mot de passe",
    r"contrase[nñ]a",
    r"senha",
    r"wachtwoord",
    r"has[lł]o",
    r"l[oö]senord",
    r"şifre",
    r"пароль",
    r"密[码碼]",
    r"パスワード",
    r"暗証番号",
    r"비밀번호",
)
_PASSWORD_NAME = re.compile(rf"(?:[a-z0-9 _-]{{0,40}})(?:{'|'.join(_PASSWORD)})")
_NAMED = (
    r"(?:api|access|account|auth|client|private|secret|shared|encryption|signing|master|session|refresh|bearer|admin)"
    r"[ _-]?(?:access[ _-]?)?(?:key|token|secret)",
    r"secret(?:[ _-]?key)?",
    r"(?:x-)?(?:auth[ _-]?)?token",
    r"authorization",
    r"api[ _-]?schlüssel",
    r"clé api",
    r"set-cookie",
    r"cookie",
)
_SIGNS = (
    *("co-", "engine-", "sk-", "k_live_", "k_test_", "whsec_", "gho_", "ghp_", "ghs_", "ghu_", "ghr_", "github_pat_"),
    *(
        "glpat-",
        "glptt-",
        "glrt-",
        "gldt-",
        "xox",
        "AKIA",
        "ASIA",
        "AROA",
        "AIDA",
        "AGPA",
        "AIza",
        "ya29.",
        "hf_",
        "hf-",
    ),
    *("npm_", "npm-", "nvapi", "dop_v1", "shpat", "gsk", "pypi-", "SG.", "eyJ", "earer", "EARER"),
)
"""Every shape has one of these in it: looking for them takes a tenth of the time that the shapes take."""
_PASSWORD_STEMS = (
    *("pass", "pwd", "kennwort", "contrase", "senha", "wachtwoord", "haslo", "hasło", "losenord", "lösenord", "şifre"),
    *("пароль", "密", "パスワード", "暗証番号", "비밀번호"),
)
_SECRET_STEMS = ("key", "token", "secret", "authorization", "schlüssel", "clé", "cookie")
WORDS = re.compile("|".join((r"(?<![a-z0-9])(?:pin|cv[cv])", *_PASSWORD, *_NAMED)))
"""What says that the value beside it is a secret; of lower-case texts."""

_BETWEEN = (
    r"[ _-]?(?:[a-z]{0,12}[0-9]{0,3})?[\\\"'`*]{0,4}\s{0,3}(?P<by>:=|=>|[:=は是为為]|is|ist|est|es|lautet|è)\s{0,3}"
)
_QUOTED = r"(?P<mark>\\?[\"'`])(?P<{0}>(?:(?!(?P=mark))[^\n]){{1,256}})(?P=mark)"
_GIVEN_PASSWORD = re.compile(
    any_of(*_PASSWORD)
    + _BETWEEN
    + rf"(?:{_QUOTED.format('quoted')}|(?P<bare>(?:(?![;&][a-z_ ]{{1,30}}=)[^\s\"'`]){{4,256}}))"
)
_GIVEN_SECRET = re.compile(
    any_of(*_NAMED)
    + r"[\\\"'`*]{0,4}\s{0,3}(?::=|=>|[:=]|is|ist)\s{0,3}"
    + rf"(?:{_QUOTED.format('quoted')}|(?P<bare>[^\s\"'`,;&]{{8,512}}))"
)
_NO_VALUE = re.compile(
    r"(?:\[[a-z ]{2,16} [0-9]+\]|[a-z_.]{1,64}[(\[]|\$|%|\{|<|\*{3,}|x{4,}|\.{3}|[a-z]{1,20}[;,)|\]]*$|"
    r"(?:self|os|env|config|settings|process|request|args|this|user|options|params)\.)"
)
"""Not a secret, though it stands where one would: a token of ours, a call, a place-holder, one word."""
_TRAILING = ".,;:)]}>。、"
_COMMON = frozenset(
    """
    str string none null true false int bytes optional any required must should will may changed reset incorrect wrong
    invalid empty expired missing forgotten protected hashed stored field input text hidden unknown the and for not same
    here never always leer falsch richtig erforderlich vergessen geändert oublié requis incorrecto
    """.split()  # noqa: SIM905 - words read better as a text
)


def is_password(name: str, value: str) -> bool:
    """Whether a member of a JSON object is a password by its name, and so is its whole value, spaces and all."""
    if len(name) > 64 or len(value) > 256 or not _PASSWORD_NAME.fullmatch(name.lower()):
        return False
    return _is_value(value.lower(), quoted=True)


def media(text: Text) -> Iterator[Span]:
    """Pictures, sound and files written out in base 64: who is in them, no rule can see."""
    if "base64," in text.plain:
        yield from every(_DATA, text.plain, "media")
    if len(text.plain) >= 1024:
        yield from every(_BLOB, text.plain, "media")


def private_keys(text: Text) -> Iterator[Span]:
    """PEM blocks, to their end."""
    if "PRIVATE KEY-----" in text.plain:
        yield from every(_PEM, text.plain, "secret")


def credentials(text: Text) -> Iterator[Span]:
    """User and password of an address such as `postgres://user:password@host`."""
    if "://" in text.plain and "@" in text.plain:
        for match in _AUTHORITY.finditer(text.plain):
            yield match.start(), match.end() - 1, "credentials"
    if "curl" in text.plain or "wget" in text.plain:
        yield from every(_LOGIN, text.plain, "credentials")


def known_shapes(text: Text) -> Iterator[Span]:
    """Keys that can be told by how they begin."""
    if any(sign in text.plain for sign in _SIGNS):
        yield from every(_SHAPES, text.plain, "secret")
    for match in _BASIC.finditer(text.plain):
        if _is_basic(match[1]):
            yield *match.span(), "secret"
    if "hooks.slack" in text.plain:
        yield from every(_HOOK, text.plain, "secret")


def passwords(text: Text) -> Iterator[Span]:
    """What stands behind `password:` and its like, in several languages."""
    for match in text.near_digits(_PIN, lower=True):
        yield *match.span(match.lastindex or 0), "password"
    if not any(stem in text.lower for stem in _PASSWORD_STEMS):
        return
    for match in _GIVEN_PASSWORD.finditer(text.lower):
        start, end = _value(match)
        value = text.lower[start:end]
        in_prose = match["by"].isalpha() and match["by"].isascii()
        if in_prose and match["quoted"] is None and not _mixed(value):
            continue  # "the password is stored"
        if _is_value(value, quoted=match["quoted"] is not None):
            yield start, end, "password"


def named(text: Text) -> Iterator[Span]:
    """What stands behind `api_key=` and its like, if it looks like a secret: eight characters, a digit among them."""
    if not any(stem in text.lower for stem in _SECRET_STEMS):
        return
    for match in _GIVEN_SECRET.finditer(text.lower):
        start, end = _value(match)
        value = text.lower[start:end]
        if end - start >= 8 and _mixed(value) and _is_value(value, quoted=match["quoted"] is not None):
            yield start, end, "secret"


def _is_basic(encoded: str) -> bool:
    """Whether it is a user and a password, and not the next word of a sentence."""
    try:
        return b":" in b64decode(encoded, validate=True)
    except ValueError:
        return False


def _value(match: re.Match[str]) -> tuple[int, int]:
    if match["quoted"] is not None:
        return match.span("quoted")
    start = match.start("bare")
    value = match["bare"].rstrip(_TRAILING).removesuffix("\\")
    return start, start + len(value)


def _is_value(value: str, *, quoted: bool) -> bool:
    if len(value) < 3 or value in _COMMON:
        return False
    found = _NO_VALUE.match(value)
    if found is None:
        return True
    # One plain word is a password where it is written as a value, and a name of a variable where it is code.
    return value.isalpha() and value not in _COMMON and (quoted or len(value) >= 6)


def _mixed(value: str) -> bool:
    return any(each.isdigit() for each in value) or any(each in "!#$%&*+@^~" for each in value[1:])
