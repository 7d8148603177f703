"""Every text of the pages is written in every language, and no catalogue keeps one that no page has any more."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po

from changeover.console.languages import ENGLISH, LANGUAGES, counted, texts_in, translated

CONSOLE = Path(str(files("changeover.console")))
OTHERS = [language for language in LANGUAGES if language != ENGLISH]
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2)}
OPTIONS = {"extensions": "jinja2.ext.i18n", "silent": "false", "trimmed": "false"}


def texts_of_templates() -> dict[str, str]:
    """Every text of the templates, and where it stands."""
    found: dict[str, str] = {}
    for template in sorted((CONSOLE / "templates").rglob("*.html")):
        for _, message, _, _ in extract_from_file("jinja2.ext:babel_extract", template, KEYWORDS, (), OPTIONS):
            text = message if isinstance(message, str) else message[0]
            found.setdefault(text, str(template.relative_to(CONSOLE)))
    return found


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_of_the_pages_is_there_in(language: str) -> None:
    said = texts_in(language)
    missing = {text: where for text, where in texts_of_templates().items() if text not in said}
    assert not missing, "\n".join(f"{where}: {text!r}" for text, where in missing.items())


@pytest.mark.parametrize("language", OTHERS)
def test_a_text_and_its_translation_name_the_same_values_in(language: str) -> None:
    def values(text: str) -> set[str]:
        return {part.partition(")")[0] for part in text.split("%(")[1:]} | {"{}" * len(re.findall(r"\{\d?\}", text))}

    wrong = [
        text
        for text, said in texts_in(language).items()
        for form in ((said,) if isinstance(said, str) else said)
        if not values(form) - {"num"} <= values(text)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("language", OTHERS)
def test_no_text_is_translated_twice_in_different_words_in(language: str) -> None:
    seen: dict[str, tuple[str, str]] = {}
    twice: list[str] = []
    for file in sorted((CONSOLE / "locale" / language).glob("*.po")):
        with file.open("rb") as opened:
            for message in read_po(opened, locale=language):
                id = message.id if isinstance(message.id, str) else message.id[0]
                if id:
                    before = seen.setdefault(id, (str(message.string), file.name))
                    if before[0] != str(message.string):
                        twice.append(f"{id!r}: {before[0]} in {before[1]}, {message.string} in {file.name}")
    assert not twice, "\n".join(twice)


def test_what_nobody_translated_stays_english_and_counts_as_it_does() -> None:
    assert translated("ja", "nobody wrote this") == "nobody wrote this"
    assert (counted("en", "one", "many", 1), counted("en", "one", "many", 2)) == ("one", "many")
