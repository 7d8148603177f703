"""The `shape` scorer: how long an answer is, and in which form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pydantic import Field, JsonValue, model_validator

from changeover.core.toml import Declared
from changeover.evals.scorers.base import CUT_OFF, Case, NoTarget, Score, Scorer, pure
from changeover.evals.scorers.json_text import read_json
from changeover.evals.scorers.prose import CJK_CHARACTERS_PER_WORD, count_words, lines, sentences

_BULLET = re.compile(r"^[ \t]*(?:[-*+•・]|[0-9]{1,2}[.)])[ \t]+\S", re.MULTILINE)
_MARKDOWN = re.compile(
    r"^ {0,3}#{1,6} |^[ \t]*[-*+] +\S|^[ \t]*>|^[ \t]*```|^\|.*\|[ \t]*$"
    r"|(?<![\w*])\*\*[^\s*][^*\n]*\*\*|(?<![\w`])`[^`\n]+`|\[[^\]\n]+\]\([^)\n]+\)",
    re.MULTILINE,
)


class ShapeOptions(Declared):
    """The conditions; at least one. Those left out are not looked at."""

    min_words: int | None = Field(default=None, ge=1)
    max_words: int | None = Field(default=None, ge=1)
    min_characters: int | None = Field(default=None, ge=1)
    """White space at both ends aside."""
    max_characters: int | None = Field(default=None, ge=1)
    min_sentences: int | None = Field(default=None, ge=1)
    """A line ends a sentence too."""
    max_sentences: int | None = Field(default=None, ge=1)
    min_lines: int | None = Field(default=None, ge=1)
    """Blank lines do not count."""
    max_lines: int | None = Field(default=None, ge=1)
    min_bullets: int | None = Field(default=None, ge=1)
    """Lines that begin with `-`, `*`, `+`, `•`, `・` or a number and a point."""
    max_bullets: int | None = Field(default=None, ge=0)
    markdown: bool | None = None
    """`true`: it must have headings, lists, bold, code, links, quotations or tables in Markdown; `false`: none."""
    starts_with: str | None = Field(default=None, min_length=1)
    ends_with: str | None = Field(default=None, min_length=1)
    json_only: bool | None = None
    """`true`: it must be JSON and nothing else, one fenced block around it allowed; `false`: it must not be JSON."""
    cjk_characters_per_word: float = Field(default=CJK_CHARACTERS_PER_WORD, gt=0, le=10)
    """So many Chinese or Japanese characters count as one word; translators reckon with 2 to 2.5."""
    allow_cut_off: bool = False
    """Whether an answer that the limit of tokens cut off may score. It scores 0 unless it may."""

    @model_validator(mode="after")
    def _can_be_met(self) -> ShapeOptions:
        if all(getattr(self, name) is None for name in type(self).model_fields if name not in _NO_CONDITIONS):
            raise ValueError("no condition is given, such as `max_words`")
        for what in _COUNTS:
            least, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if least is not None and most is not None and least > most:
                raise ValueError(f"`min_{what}` is above `max_{what}`")
        return self


_NO_CONDITIONS = ("cjk_characters_per_word", "allow_cut_off")
_COUNTS: dict[str, Callable[[str, ShapeOptions], int]] = {
    "words": lambda text, options: count_words(text, options.cjk_characters_per_word),
    "characters": lambda text, _: len(text),
    "sentences": lambda text, _: len(sentences(text)),
    "lines": lambda text, _: len(lines(text)),
    "bullets": lambda text, _: len(_BULLET.findall(text)),
}


def score_shape(case: Case[ShapeOptions, NoTarget]) -> Score:
    """Share of the conditions that the answer meets. An answer without text, or cut off, scores 0."""
    text = case.answer.text.strip()
    if not text:
        return Score(value=0.0, detail={"reason": "no text"})
    if case.answer.cut_off and not case.options.allow_cut_off:
        return Score(value=0.0, detail={"reason": CUT_OFF})
    met = dict(_conditions(text, case.options))
    broken: list[JsonValue] = [said for said, holds in met.items() if not holds]
    return Score(value=1.0 - len(broken) / len(met), detail={"conditions": len(met), "broken": broken})


def _conditions(text: str, options: ShapeOptions) -> Iterator[tuple[str, bool]]:
    for what, count in _COUNTS.items():
        least, most = getattr(options, f"min_{what}"), getattr(options, f"max_{what}")
        if least is None and most is None:
            continue
        there = count(text, options)
        if least is not None:
            yield f"{there} {what}, at least {least} are asked for", there >= least
        if most is not None:
            yield f"{there} {what}, at most {most} are allowed", there <= most
    if options.markdown is not None:
        found = _MARKDOWN.search(text) is not None
        yield "no Markdown" if options.markdown else "has Markdown", found is options.markdown
    if options.starts_with is not None:
        yield f"does not start with `{options.starts_with}`", text.startswith(options.starts_with)
    if options.ends_with is not None:
        yield f"does not end with `{options.ends_with}`", text.endswith(options.ends_with)
    if options.json_only is not None:
        yield "not JSON" if options.json_only else "is JSON", _is_json(text) is options.json_only


def _is_json(text: str) -> bool:
    try:
        read_json(text)
    except (ValueError, RecursionError):
        return False
    return True


SCORER = Scorer(version="1", options=ShapeOptions, target=NoTarget, needs_target=False, score=pure(score_shape))
