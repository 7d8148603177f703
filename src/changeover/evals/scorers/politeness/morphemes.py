"""Japanese sentences as morphemes, written out so that patterns can be looked for in them."""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

INSTALL_HINT = "Install it with `pip install 'changeover[japanese]'`."
PACKAGES = ("sudachipy", "sudachidict_small")
"""Import names of what the extra installs."""

Ending = Literal["polite", "plain"]

_KINDS = {
    "名詞": "N", "代名詞": "R", "接頭辞": "P", "接尾辞": "S", "動詞": "V", "形容詞": "A", "助動詞": "X", "助詞": "J",
    "形状詞": "K", "補助記号": "M", "記号": "M", "空白": "M",
}  # fmt: skip
_FORMS = {
    "未然形": "m", "連用形": "y", "終止形": "s", "連体形": "t", "仮定形": "k", "命令形": "i", "意志推量形": "v", "語幹": "g",
}  # fmt: skip
_PARTICLES = {"終助詞": "f", "接続助詞": "c"}
_NO_SENTENCE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|\([^()\n]*\)", re.DOTALL)
_QUOTED = re.compile(r"「[^「」\n]*」|『[^『』\n]*』|\"[^\"\n]*\"")
_ITEM = re.compile(r"^\s*(?:[-*+・●○■□◆◇▶]|#{1,6}|\(?\d{1,2}[.)]|[①-⑳]|\|)\s*")
_END = re.compile(r"(?<=[。!?])")
_HALF_SAID = ("が", "けど", "けれど", "けれども", "から", "し")
"""Particles after which a sentence may be left open."""
_LONGEST = 1000
"""Characters of a sentence that are looked at; the library refuses more than 49,149 bytes."""


@dataclass(frozen=True)
class Morpheme:
    """One morpheme of a sentence."""

    surface: str
    base: str
    """Dictionary form."""
    kind: str
    """`N` noun, `H` proper name, `R` pronoun, `P` prefix, `S` suffix, `V` verb, `A` adjective, `K` adjectival noun, `X`
    auxiliary, `J` particle, `M` mark, `O` other; then its form: `m` irrealis, `y` conjunctive, `s` conclusive, `t`
    attributive, `k` conditional, `i` imperative, `v` volitional; a particle's: `f` at the end, `c` between clauses."""

    def __str__(self) -> str:
        return f"<{self.surface}:{self.base}:{self.kind}>"


@dataclass(frozen=True)
class Sentence:
    """One sentence of an answer."""

    text: str
    morphemes: tuple[Morpheme, ...]
    item: bool
    """Whether it is a heading, or an item of a list, where polite texts are plain."""

    @property
    def written(self) -> str:
        """The morphemes one after the other: `<です:です:Xs>`."""
        return "".join(map(str, self.morphemes))

    @property
    def ending(self) -> Ending | None:
        """How it ends; None where it does so without a verb, an adjective or a copula."""
        rest = list(self.morphemes)
        while rest and rest[-1].kind in ("M", "Jf"):
            rest.pop()
        if rest and rest[-1].kind[0] == "J" and rest[-1].surface in _HALF_SAID:
            rest.pop()
        found: Ending | None = None
        for morpheme in reversed(rest):
            if morpheme.base in ("ます", "です") or (morpheme.base in ("くださる", "下さる") and morpheme.kind == "Vi"):
                return "polite"
            if morpheme.base == "なさる" and morpheme.kind == "Vi":  # a command, of either level
                return None
            if morpheme.kind[0] not in "VAX" and morpheme.surface not in ("て", "で", "の"):
                break
            if morpheme.kind[0] in "VA" and morpheme.kind != "Vy":
                return "plain"
            if morpheme.kind[0] in "AX" or morpheme.surface in ("て", "で"):
                found = "plain"
            if morpheme.kind == "Vy":
                break
        return found


def sentences(text: str) -> Iterator[Sentence]:
    """Sentences of a text without code, addresses, parentheses and what is quoted.

    Raises:
        ImportError: The extra is not installed.
    """
    text = _NO_SENTENCE.sub("", unicodedata.normalize("NFKC", text))
    for line in _QUOTED.sub("これ", text).splitlines():
        item = _ITEM.match(line)
        for piece in _END.split(line[item.end() :] if item else line):
            plain = piece.strip().strip("*_")[:_LONGEST]
            if plain and (morphemes := tuple(_analysed(plain))):
                yield Sentence(plain, morphemes, item is not None)


def _analysed(text: str) -> Iterator[Morpheme]:
    for found in _tokenizer().tokenize(text):
        part: tuple[str, ...] = found.part_of_speech()
        kind = _KINDS.get(part[0], "O")
        if kind == "N" and part[1] == "固有名詞":
            kind = "H"
        elif kind == "J":
            kind += _PARTICLES.get(part[1], "")
        else:
            kind += _FORMS.get(part[5].split("-")[0], "")
        yield Morpheme(_clean(found.surface()), _clean(found.dictionary_form()), kind)


def _clean(text: str) -> str:
    return re.sub(r"[<>:]", "_", text)


@cache
def _tokenizer() -> Any:
    """The library's analyser, made once: 0.1 s, 40 MB."""
    package: Any = importlib.import_module("sudachipy")
    importlib.import_module("sudachidict_small")
    return package.Dictionary(dict="small").tokenizer(mode=package.SplitMode.A)
