"""`cite`: each sentence gets the passages that its words and figures stand in. No model is asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from heapq import nsmallest
from typing import Any

from changeover.evals.scorers.figures import figures
from changeover.evals.scorers.prose import LIST_MARK, sentences
from changeover.tools.declarations import CiteStep
from changeover.tools.steps.agreement import Place, denies, other_figures, other_names
from changeover.tools.steps.passages import claims_of, content_words, pages_in
from changeover.tools.steps.run import Run
from changeover.tools.values import Citation

FIGURE = 3.0
"""What a figure counts for beside a word: it is seldom right by chance."""
TOGETHER = 3
"""Sentences beside each other that are one passage at most."""
LONG = 600
"""Characters from which on a passage takes no further sentence."""
MOST_QUOTE = 300
MOST_CLAIMS = 1_000
MORE = 0.25
"""Share of a claim that a second passage must add."""
DENIED = "one says a “not” of what the other says"

Sign = str | Decimal
"""A word in the form that is compared, or a figure."""


async def cite(step: CiteStep, run: Run) -> list[Citation]:
    """Say which passages bear out each sentence of a text, or member of a list."""
    text, source = run.value(step.text), run.value(step.source)
    found = await run.compute(lambda: citations(text, source, step.least))
    for each in found:
        if each.problem:
            where = f" ({each.label})" if each.label else ""
            run.problem(f"`{step.name}`: “{each.claim[:MOST_QUOTE]}” and its source{where}: {each.problem}.")
    return found


def citations(text: Any, source: Any, least: float) -> list[Citation]:
    """The best passage for each claim, and a second one where that adds much.

    A claim without words and figures of its own, such as a heading, has none. One that stands nowhere has a citation
    without a page, of score 0. One with a figure or a name that its place has not is not borne out, whatever else it has.

    Args:
        text: A text, whose sentences are the claims; or a list of claims.
        source: Parts, passages, documents or texts.
        least: Lowest share of a claim that its passages must hold together for it to count as borne out.
    """
    index = _Index(source)
    return [citation for claim in claims_of(text)[:MOST_CLAIMS] for citation in index.cite(claim, least)]


@dataclass(frozen=True, slots=True)
class _Sentence:
    document: str
    page: int | None
    label: str
    text: str
    signs: frozenset[Sign]
    after: int
    """How many sentences stand before it on its page."""
    around: Place
    """The whole page."""


class _Index:
    """Sentences of a source by their signs."""

    def __init__(self, source: Any) -> None:
        self._said = [
            _Sentence(document, page, label, sentence, frozenset(_signs(sentence)), after, around)
            for document, page, label, text in pages_in(source)
            for around in (Place(text),)
            for after, sentence in enumerate(sentences(text))
        ]
        self._with: defaultdict[Sign, list[int]] = defaultdict(list)
        for place, sentence in enumerate(self._said):
            for sign in sentence.signs:
                self._with[sign].append(place)

    def cite(self, claim: str, least: float) -> list[Citation]:
        """The passages for one claim."""
        wanted = _weighed(claim)
        if not wanted:
            return []
        total = sum(wanted.values())
        best = self._best(wanted)
        if best is None:
            return [Citation(claim=claim, document="", page=None, label="", quote="", score=0.0, supported=False)]
        missing = {sign: weight for sign, weight in wanted.items() if sign not in self._signs_of(best)}
        second = self._best(missing) if missing else None
        if second is not None and not self._adds(second, missing, wanted):
            second = None
        passages = [best] if second is None else [best, second]
        held = sum(weight for sign, weight in wanted.items() if any(sign in self._signs_of(each) for each in passages))
        # What shares no word with a claim says nothing of it, though the figure of the claim may stand in it.
        about = [each for passage in passages for each in self._said[slice(*passage)] if _shares_word(each, wanted)]
        place = Place("\n".join(each.text for each in about or self._said[slice(*best)]))
        around = [self._said[first].around for first, _ in passages]
        other = other_figures(claim, place, around) or other_names(claim, around)
        supported = held / total >= least and not other
        problem = DENIED if supported and denies(claim, [each.text for each in about]) else ""
        return [self._citation(claim, each, self._share(each, wanted) / total, supported, problem) for each in passages]

    def _adds(self, second: tuple[int, int], missing: dict[Sign, float], wanted: dict[Sign, float]) -> bool:
        """Whether a second passage is about the claim, and adds enough to it."""
        about = any(_shares_word(each, wanted) for each in self._said[slice(*second)])
        return about and self._share(second, missing) >= MORE * sum(wanted.values())

    def _best(self, wanted: dict[Sign, float]) -> tuple[int, int] | None:
        """The shortest of the passages that hold most: its first sentence, and the one past its last."""
        counts: defaultdict[int, float] = defaultdict(float)
        for sign, weight in wanted.items():
            for place in self._with.get(sign, ()):
                counts[place] += weight
        best: tuple[float, int, int] | None = None
        # A passage begins with a sentence that holds something; few of them can be the best.
        for place in nsmallest(50, counts, key=lambda place: (-counts[place], place)):
            for first in range(max(0, place - TOGETHER + 1), place + 1):
                for end in range(place + 1, first + TOGETHER + 1):
                    if not self._together(first, end):
                        break
                    share = self._share((first, end), wanted)
                    key = (round(share, 6), first - end, -first)
                    if best is None or key > best:
                        best = key
        return None if best is None else (-best[2], -best[2] - best[1])

    def _together(self, first: int, end: int) -> bool:
        if end > len(self._said) or self._said[end - 1].after - self._said[first].after != end - 1 - first:
            return False
        beside = self._said[first:end]
        one_page = all((each.document, each.page) == (beside[0].document, beside[0].page) for each in beside)
        return one_page and (end - first == 1 or sum(len(each.text) for each in beside) <= LONG)

    def _signs_of(self, passage: tuple[int, int]) -> frozenset[Sign]:
        return frozenset[Sign]().union(*(each.signs for each in self._said[slice(*passage)]))

    def _share(self, passage: tuple[int, int], wanted: dict[Sign, float]) -> float:
        signs = self._signs_of(passage)
        return sum(weight for sign, weight in wanted.items() if sign in signs)

    def _citation(self, claim: str, passage: tuple[int, int], score: float, supported: bool, problem: str) -> Citation:
        beside: Sequence[_Sentence] = self._said[slice(*passage)]
        quote = " ".join(" ".join(each.text.split()) for each in beside)
        return Citation(
            claim=claim,
            document=beside[0].document,
            page=beside[0].page,
            label=beside[0].label,
            quote=quote if len(quote) <= MOST_QUOTE else quote[: MOST_QUOTE - 1] + "…",
            score=round(score, 4),
            supported=supported,
            problem=problem,
        )


def _shares_word(sentence: _Sentence, wanted: dict[Sign, float]) -> bool:
    return any(isinstance(sign, str) and sign in sentence.signs for sign in wanted)


def _signs(text: str) -> set[Sign]:
    return {*content_words(text), *(value for figure in figures(text) for value in figure.parts)}


def _weighed(claim: str) -> dict[Sign, float]:
    """What a claim's words and figures count for. A figure may be read in several ways: one of them is enough."""
    wanted: dict[Sign, float] = dict.fromkeys(content_words(claim), 1.0)
    for figure in figures(LIST_MARK.sub("", claim)):
        for value in figure.readings[0]:
            wanted[value] = FIGURE / len(figure.readings[0])
    return wanted
