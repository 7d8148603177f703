"""By which words people ask for what cards name: `words.toml`, read once."""

from __future__ import annotations

from functools import cache
from importlib import resources

from changeover.core import toml
from changeover.library.facts import Name
from changeover.library.search.spelling import words


class AskedFor(toml.Declared):
    """How people ask for a scenario."""

    says: tuple[Name, ...]
    words: dict[str, Name]
    """By language, separated by spaces."""

    @property
    def spelled(self) -> tuple[str, ...]:
        """Every word of every language, in the form that is compared."""
        return tuple(words(" ".join((*self.says, *self.words.values()))))


class _Stop(toml.Declared):
    words: Name


class Vocabulary(toml.Declared):
    """All of it."""

    scenarios: dict[str, AskedFor]
    modalities: dict[str, Name]
    languages: dict[str, Name]
    stop: _Stop

    @property
    def spoken(self) -> dict[str, frozenset[str]]:
        """The words for each language that a query can name, by its code."""
        return {code: frozenset(words(said)) for code, said in self.languages.items()}

    @property
    def stop_words(self) -> frozenset[str]:
        """Words that everybody uses for anything."""
        return frozenset(words(self.stop.words))


@cache
def vocabulary() -> Vocabulary:
    """The words that ship with the package."""
    with resources.as_file(resources.files("changeover.library.search") / "words.toml") as path:
        return toml.load(Vocabulary, path)
