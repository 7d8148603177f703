"""Texts of the pages in other languages: catalogues of gettext, one file for each part of the console."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

from babel.messages.pofile import read_po
from starlette.requests import Request

ENGLISH = "en"
LANGUAGES: Mapping[str, str] = {ENGLISH: "English", "ja": "日本語"}
"""By their codes: how each calls itself."""
COOKIE = "changeover_language"
SENTENCES = "said_"
"""How the names of catalogues begin that hold patterns of finished sentences."""


def language_of(request: Request) -> str:
    """The language that a reader chose, or that their browser asks for first among ours."""
    chosen = request.cookies.get(COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    for wish in request.headers.get("accept-language", "").split(","):
        code = wish.partition(";")[0].strip().partition("-")[0].lower()
        if code in LANGUAGES:
            return code
    return ENGLISH


@cache
def texts_in(language: str) -> Mapping[str, str | tuple[str, ...]]:
    """What each text says in a language; several forms where it counts something. Empty for the language they are written in."""
    return dict(_messages(language, said=False))


@cache
def sentences_in(language: str) -> Mapping[str, str]:
    """What each pattern of a sentence that another room writes says in a language; see `said`."""
    return {pattern: text for pattern, text in _messages(language, said=True) if isinstance(text, str)}


def _messages(language: str, *, said: bool) -> Iterator[tuple[str, str | tuple[str, ...]]]:
    directory = files("changeover.console") / "locale" / language
    if language == ENGLISH or not directory.is_dir():
        return
    for file in sorted(directory.iterdir(), key=lambda each: each.name):
        if not file.name.endswith(".po") or file.name.startswith(SENTENCES) != said:
            continue
        with file.open("rb") as opened:
            catalogue = read_po(opened, locale=language)
        for message in catalogue:
            id = message.id if isinstance(message.id, str) else message.id[0]
            if id and message.string:
                yield id, message.string if isinstance(message.string, str) else tuple(message.string)


def translated(language: str, text: str) -> str:
    """A text in a language; itself where nobody wrote it there."""
    found = texts_in(language).get(text, text)
    return found if isinstance(found, str) else found[0]


def counted(language: str, one: str, many: str, number: int) -> str:
    """The form of a text that goes with a number."""
    found = texts_in(language).get(one)
    if found is None:
        return one if number == 1 else many
    return found if isinstance(found, str) else found[0 if number == 1 or len(found) == 1 else -1]
