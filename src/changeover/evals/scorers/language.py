"""The `language` scorer: the answer is written in the wanted language."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from functools import cache
from importlib.metadata import version
from typing import Any

from py3langid.langid import MODEL_FILE, LanguageIdentifier
from pydantic import ConfigDict, Field, JsonValue

from changeover.core.errors import ConfigError
from changeover.core.toml import Declared
from changeover.evals.datasets import Sample
from changeover.evals.scorers.base import Case, Prepared, SampleTarget, Score, Scorer, Setting, pure

_COMMON = frozenset([
    "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "he", "hi", "hr", "hu", "id", "it",
    "ja", "ko", "lt", "lv", "ms", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sr", "sv", "ta", "th", "tr", "uk", "ur",
    "vi", "zh",
])  # fmt: skip
"""What a text is taken for, beside the wanted language: with all that the library knows, Danish, Galician, Cantonese
and Bulgarian take many short sentences from German, Spanish, Chinese and Russian."""
_CLEAR = 0.1
"""Share of the probability from which on a sentence may be in the wanted language. Of 60 sentences of ten languages that
had no part in setting it all reach it in their own, and 4 of 540 times one does in another."""
_CLEAR_IF_SHORT = 0.03
"""The same for a sentence of at most three words."""
_SHORT = 3
"""Words."""
_LONGEST = 1000
"""Characters of a sentence that are looked at."""

_KNOWN = _COMMON | frozenset([
    "af", "am", "as", "az", "be", "br", "bs", "cy", "eo", "eu", "fy", "ga", "gd", "gl", "gu", "ha", "ht", "hy", "ig", "is",
    "jv", "ka", "kk", "km", "kn", "ku", "ky", "la", "lb", "lo", "mg", "mk", "ml", "mn", "mr", "mt", "my", "ne", "oc", "or",
    "pa", "ps", "qu", "rw", "sa", "si", "so", "sq", "sw", "te", "tg", "tk", "tl", "tt", "ug", "uz", "xh", "yo", "zu",
])  # fmt: skip
"""Languages that may be wanted. The library knows some more, by few texts."""

_NO_PROSE = re.compile(
    r"(?:```|~~~).*?(?:```|~~~|\Z)"  # code
    r"|`[^`\n]*`"
    r"|<[^<>\n]{1,200}>"  # tags
    r"|\b[a-z][a-z0-9+.-]{0,30}://\S+|\bwww\.\S+|(?<!\S)\S[^\s@]*+@[^\s.]++\.\S+"  # addresses
    r"|(?<![\w.~-])(?:[\w.~-]*+/){2,}[\w.-]*|(?<![\w-])[\w-]++\.[a-z]{2,4}\b",  # paths, names of files and hosts
    re.DOTALL,
)
"""What could begin anywhere within a long word begins only where the word does, and nothing is tried in another length:
a model that repeats itself writes words of 100,000 letters, and nothing else in this process goes on meanwhile."""
_QUOTED = re.compile(
    '["\u201c\u201e\u00ab\u2039\u300c\u300e][^"\u201c-\u201f\u00ab\u00bb\u300c-\u300f\\n]{1,60}["\u201c\u201d\u00bb\u203a\u300d\u300f]'
)
"""Names and words that are quoted."""
_END = re.compile("(?<=[.!?;:])\\s+|(?<=[\u3002\uff01\uff1f\uff1b])|\\n+")
_WORD = re.compile(r"[^\W\d_]+")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff々]")
_KANA = re.compile(r"[\u3041-\u309f\u30a1-\u30ff\uff66-\uff9d]")
_HANGUL = re.compile(r"[\uac00-\ud7af\u1100-\u11ff]")
_ALIKE = {"nb": "no", "nn": "no", "yue": "zh", "wuu": "zh"}


class LanguageOptions(Declared):
    """Which language is wanted, where the targets do not say; and how much of the answer must be in it."""

    language: str | None = None
    """Code of ISO 639, such as `ja`; targets are then not read."""
    same_as_input: bool = False
    """Wanted is the language of what the user wrote; targets are then not read."""
    share: bool = False
    """Score the share of the answer that is in it, counted in letters, instead of 1 or 0."""
    least: float = Field(default=0.8, gt=0, le=1)
    """Share from which on the answer is in it."""


class LanguageTarget(SampleTarget):
    """A code of ISO 639, such as `ja`, or several of which any is right."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    language: str | list[str] = Field(default_factory=list[str])

    @property
    def codes(self) -> list[str]:
        """The languages that are right."""
        return [self.language] if isinstance(self.language, str) else self.language


def score_language(case: Case[LanguageOptions, LanguageTarget]) -> Score:
    """1 if at least `least` of the answer is in the wanted language, else 0; with `share`, that share.

    Code, addresses, names of files and short quotations are left out, then sentences are judged one by one, each
    counted by its letters. A sentence counts as right unless another language is clearly likelier: a short one seldom
    says for sure. Of a sentence in Chinese or Japanese script, foreign words between do not count.

    It cannot tell apart what hardly differs in one sentence (Norwegian and Danish, Croatian and Serbian, Malay and
    Indonesian; simplified and traditional Chinese count as one language), and one or two words without script of their
    own are a guess. An answer without words, such as a number, is in any language.
    """
    codes = _wanted(case)
    if not codes:
        return Score(value=0.0, error="The language of the input cannot be told: nothing the user wrote has words.")
    pieces = list(_sentences(case.answer.text))
    if not pieces:
        empty = not case.answer.text.strip()
        return Score(value=float(not empty), detail={"wanted": list(codes), "reason": "no words in the answer"})
    letters = [_weight(piece) for piece in pieces]
    wrong = {place for place, piece in enumerate(pieces) if not any(_may_be(piece, code) for code in codes)}
    share = 1.0 - sum(letters[place] for place in wrong) / sum(letters)
    detail: dict[str, JsonValue] = {"wanted": list(codes), "share": round(share, 4)}
    if wrong:
        first = pieces[min(wrong)]
        detail |= {"language": detect(case.answer.text), "first_wrong": first[:80], "its_language": _likeliest(first)}
    return Score(value=share if case.options.share else float(share >= case.options.least), detail=detail)


def detect(text: str) -> str | None:
    """Code of the language in which most letters of a text are written; None if it has no words."""
    letters: dict[str, int] = {}
    for piece in _sentences(text):
        code = _likeliest(piece)
        letters[code] = letters.get(code, 0) + _weight(piece)
    return max(letters, key=lambda code: letters[code]) if letters else None


def foreign(text: str, code: str, least: float = 0.8) -> str | None:
    """The first sentence that is in another language than wanted; None: `least` of the text's letters are in it."""
    code = _ALIKE.get(code, code)
    pieces = list(_sentences(text))
    wrong = [piece for piece in pieces if not _may_be(piece, code)]
    share = sum(map(_weight, wrong)) / sum(map(_weight, pieces)) if pieces else 0.0
    return wrong[0] if wrong and 1.0 - share < least else None


def _wanted(case: Case[LanguageOptions, LanguageTarget]) -> list[str]:
    if case.options.same_as_input:
        said = [message.content for message in case.sample.input if message.role == "user" and message.content]
        found = next((code for text in reversed(said) if (code := detect(text)) is not None), None)
        return [] if found is None else [found]
    codes = [case.options.language] if case.options.language is not None else case.target.codes
    return [_ALIKE.get(code, code) for code in codes]


def _sentences(text: str) -> Iterator[str]:
    """Sentences that have words, without what is no prose."""
    prose = _NO_PROSE.sub(" ", text)
    unquoted = _QUOTED.sub(" ", prose)
    for piece in _END.split(unicodedata.normalize("NFKC", unquoted if _WORD.search(unquoted) else prose)):
        if _WORD.search(piece):
            yield piece.strip()[:_LONGEST]


def _weight(sentence: str) -> int:
    """Letters; one in Chinese or Japanese script says as much as two others."""
    wide = len(_HAN.findall(sentence)) + len(_KANA.findall(sentence)) + len(_HANGUL.findall(sentence))
    return wide + sum(map(len, _WORD.findall(sentence)))


def _may_be(sentence: str, code: str) -> bool:
    clear = _CLEAR if len(_WORD.findall(sentence)) > _SHORT else _CLEAR_IF_SHORT
    return _probabilities(sentence, code).get(code, 0.0) >= clear


def _likeliest(sentence: str) -> str:
    found = _probabilities(sentence)
    return max(found, key=lambda code: found[code])


def _probabilities(sentence: str, code: str | None = None) -> dict[str, float]:
    """Probability of each common language, and of the given one.

    Scripts that say it all are read first. Chinese and Japanese without kana are told apart by what the national
    character sets hold: 検 and 売 are only Japanese, 们 and 请 only Chinese.
    """
    han, kana, hangul = (len(pattern.findall(sentence)) for pattern in (_HAN, _KANA, _HANGUL))
    words = _WORD.findall(_HANGUL.sub("", _KANA.sub("", _HAN.sub("", sentence))))
    if hangul and hangul >= 2 * len(words):
        return {"ko": 1.0}
    if han + kana and han + kana >= 2 * len(words):
        if kana:
            return {"ja": 1.0}
        return _of_han("".join(_HAN.findall(sentence)), sentence)
    known = _COMMON if code is None else _COMMON | {code}
    return _ranked(" ".join(words) if han + kana + hangul else sentence, known)


def _of_han(characters: str, sentence: str) -> dict[str, float]:
    japanese = _holds("shift_jis", characters)
    chinese = _holds("gb2312", characters) or _holds("big5", characters)
    if japanese != chinese:
        return {"ja": 1.0} if japanese else {"zh": 1.0}
    found = _ranked(sentence, {"ja", "zh"})
    # Both are possible. Names and titles in characters alone say little, and the model leans to Chinese.
    return {code: max(value, _CLEAR) for code, value in found.items()}


def _holds(character_set: str, characters: str) -> bool:
    try:
        characters.replace("々", "").encode(character_set)
    except UnicodeEncodeError:
        return False
    return True


def _ranked(sentence: str, known: Collection[str]) -> dict[str, float]:
    ranked: list[tuple[str, float]] = _model().rank(sentence)
    found: dict[str, float] = {}
    for code, value in ranked:
        code = _ALIKE.get(code, code)
        if code in known:
            found[code] = found.get(code, 0.0) + value
    total = sum(found.values()) or 1.0
    return {code: value / total for code, value in found.items()}


@cache
def _model() -> Any:
    """The library's model, read once: takes 0.7 s."""
    identifier: Any = LanguageIdentifier
    return identifier.from_model_file(MODEL_FILE, norm_probs=True)


def _unknown(code: str) -> str | None:
    """What is wrong with a code; None if texts in it can be told."""
    if code in _KNOWN or code in _ALIKE:
        return None
    return f"no language that can be told has the code `{code}`; give one of ISO 639, such as `ja`"


def prepare(options: LanguageOptions, setting: Setting) -> Prepared:
    """Check the options.

    Raises:
        ConfigError: The language is unknown, or is said twice.
    """
    del setting
    if options.language is None:
        return Prepared(fingerprint=version("py3langid"), needs_target=not options.same_as_input)
    if options.same_as_input:
        raise ConfigError("scorer `language`: `language` and `same_as_input` exclude each other. Leave one out.")
    if (wrong := _unknown(options.language)) is not None:
        raise ConfigError(f"scorer `language`: `language`: {wrong}.")
    return Prepared(fingerprint=version("py3langid"), needs_target=False)


def check_target(sample: Sample, target: LanguageTarget, options: LanguageOptions, prepared: object) -> None:
    """Check the target, where it is read at all.

    Raises:
        ValueError: It names no language, or one that is unknown.
    """
    del sample, prepared
    if options.language is not None or options.same_as_input:
        return
    if target.model_extra:
        raise ValueError(f"`{next(iter(target.model_extra))}` is no key of it. Known: language")
    if not target.codes:
        raise ValueError("it names no `language`")
    for code in target.codes:
        if (wrong := _unknown(code)) is not None:
            raise ValueError(wrong)


def _from_text(text: str) -> dict[str, Any]:
    return {"language": text}


SCORER = Scorer(
    version="2",
    options=LanguageOptions,
    target=LanguageTarget,
    from_text=_from_text,
    score=pure(score_language),
    prepare=prepare,
    check=check_target,
)
