"""The `politeness` scorer: a Japanese answer keeps the wanted level of politeness and uses honorifics rightly."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Literal, TypeAlias

from pydantic import ConfigDict, Field, JsonValue

from changeover.core.errors import ConfigError
from changeover.core.toml import Declared
from changeover.evals.datasets import Sample
from changeover.evals.scorers.base import Case, Prepared, SampleTarget, Score, Scorer, Setting, pure
from changeover.evals.scorers.politeness.morphemes import INSTALL_HINT, PACKAGES, Sentence, sentences
from changeover.evals.scorers.politeness.rules import (
    WEIGHTS,
    Fault,
    blunt,
    familiar,
    faults,
    is_honorific,
    pictures,
)

Level: TypeAlias = Literal["casual", "polite", "honorific"]

_MOST_SHOWN = 20
_KANA = re.compile("[\u3040-\u30ff]")
_LETTER = re.compile(r"[^\W\d_]")
_SHORT = 15
"""Letters up to which a piece without kana may be a name or an address; half as many where a mark ends it."""


class PolitenessOptions(Declared):
    """Which level is wanted, where the targets do not say, and who reads."""

    level: Level | None = None
    """`casual`: plain sentence ends; `polite`: です and ます; `honorific`: the same, and respectful or humble forms.
    Targets are then not read."""
    outside: bool = True
    """Whether the reader is a customer or of another company, towards whom one's own people are not honoured."""
    own: tuple[str, ...] = ()
    """Names and titles of one's own people, such as 森田 or 店長: 森田さん and 森田はいらっしゃいます are then faults, too."""


class PolitenessTarget(SampleTarget):
    """The wanted level: `casual`, `polite` or `honorific`."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    level: Level | None = Field(default=None)


def score_politeness(case: Case[PolitenessOptions, PolitenessTarget]) -> Score:
    """1 less the weight of each fault, at least 0; the faults stand in the detail with their words and the rule.

    Faults: a sentence end of another level than wanted (its share of the sentences that end in a verb or copula: plain
    ones among polite ones, and the other way round), a double honorific (0.15), a humble form for what the reader does
    (0.3), a respectful form or a title for one's own people (0.3), a command or a rude word for a person (0.5), and,
    where `honorific` is wanted, no respectful or humble form at all (0.3) and each sentence with words of a talk among
    friends or towards those below one (了解です, あなた, ですよ, てます, emoji: 0.3). Sentences in another language count
    by their share; an answer without kana scores 0. Quotations, code, headings and items of lists may end as they like.

    It goes by words: it knows only the people that `own` names, or that the answer itself marks as one's own or the
    reader's (弊社の田中, お客様), and takes れる for an honorific only with a few verbs, since mostly it is a passive. It
    does not judge whether an honorific suits the occasion, nor how natural, clear or kind the text is.
    """
    wanted = case.options.level or case.target.level
    try:
        found = list(sentences(case.answer.text))
    except (ImportError, OSError) as exc:
        return Score(value=0.0, error=f"Japanese cannot be analysed: {exc}. {INSTALL_HINT}")
    if not found:
        return Score(value=0.0, detail={"wanted": wanted, "reason": "no text in the answer"})
    if not _KANA.search(case.answer.text):
        return Score(value=0.0, detail={"wanted": wanted, "reason": "no Japanese in the answer"})
    off = _off_level(found, wanted)
    foreign = [Fault("foreign", sentence.text[:20], "日本語でない文") for sentence in found if _is_foreign(sentence)]
    options = case.options
    wrong = [fault for sentence in found for fault in faults(sentence, outside=options.outside, own=options.own)]
    if wanted != "casual":
        wrong += [fault for sentence in found if not sentence.item and (fault := blunt(sentence)) is not None]
    if wanted == "honorific":
        wrong += _too_familiar(found, case.answer.text)
    judged = sum(1 for sentence in found if not sentence.item and sentence.ending is not None)
    loss = len(off) / (judged or 1) + len(foreign) / len(found) + sum(WEIGHTS[fault.kind] for fault in wrong)
    shown: list[JsonValue] = [
        {"kind": fault.kind, "words": fault.words, "rule": fault.because}
        for fault in (*off, *foreign, *wrong)[:_MOST_SHOWN]
    ]
    return Score(value=max(0.0, 1.0 - loss), detail={"wanted": wanted, "faults": shown, "sentences": judged})


def _off_level(found: Sequence[Sentence], wanted: Level | None) -> list[Fault]:
    """Sentence ends that are not of the wanted level."""
    ending, kind = ("plain", "polite") if wanted == "casual" else ("polite", "plain")
    judged = [sentence for sentence in found if not sentence.item and sentence.ending is not None]
    off = [sentence for sentence in judged if sentence.ending != ending]
    because = "文末が求められた文体でない" if len(off) == len(judged) else "敬体と常体が混ざっている"
    return [Fault(kind, sentence.text[-20:], because) for sentence in off]


def _too_familiar(found: Sequence[Sentence], text: str) -> list[Fault]:
    """What is not said to somebody who is honoured."""
    wrong = [fault for sentence in found if not sentence.item and (fault := familiar(sentence)) is not None]
    if (picture := pictures(unicodedata.normalize("NFKC", text))) is not None:
        wrong.append(picture)
    if not any(map(is_honorific, found)):
        wrong.append(Fault("no-honorific", found[0].text[:40], "尊敬語も謙譲語もない"))
    return wrong


def _is_foreign(sentence: Sentence) -> bool:
    """Whether a sentence is in another language: no kana, and too long for a name."""
    most = _SHORT // 2 if sentence.text.endswith(("。", ".", "!", "?")) else _SHORT
    return not sentence.item and not _KANA.search(sentence.text) and len(_LETTER.findall(sentence.text)) > most


def prepare(options: PolitenessOptions, setting: Setting) -> Prepared:
    """Check that the analyser is there.

    Raises:
        ConfigError: It is not; names the extra to install.
    """
    del setting
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"scorer `politeness`: `{missing[0]}` is not installed. {INSTALL_HINT}")
    analyser: dict[str, JsonValue] = {name: version(name) for name in PACKAGES}
    return Prepared(fingerprint=analyser, needs_target=options.level is None)


def check_target(sample: Sample, target: PolitenessTarget, options: PolitenessOptions, prepared: object) -> None:
    """Check the target, where it is read at all.

    Raises:
        ValueError: It names no level, or something else besides.
    """
    del sample, prepared
    if options.level is not None:
        return
    if target.level is None:
        raise ValueError("it names no `level`: casual, polite or honorific")
    if target.model_extra:
        raise ValueError(f"`{next(iter(target.model_extra))}` is no key of it. Known: level")


def _from_text(text: str) -> dict[str, Any]:
    # Another text may be another scorer's target, which is not read where an option says the level.
    return {"level": text} if text in ("casual", "polite", "honorific") else {"text": text}


SCORER = Scorer(
    version="2",
    options=PolitenessOptions,
    target=PolitenessTarget,
    from_text=_from_text,
    score=pure(score_politeness),
    prepare=prepare,
    check=check_target,
)
