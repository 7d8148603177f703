"""The `pairwise` scorer: a judge is shown both answers, blind and in both orders, and says which is better."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pydantic import JsonValue

from changeover.core.errors import JudgeError
from changeover.evals.judges import prompts
from changeover.evals.judges.asking import JudgeTarget, ask, is_repeated, reference_of, text_target
from changeover.evals.judges.blind import same_words, shown, text_digest, without_identity
from changeover.evals.judges.options import PairwiseOptions, prepare
from changeover.evals.judges.parse import Place, read_verdict
from changeover.evals.scorers.base import Case, Means, Score, Scorer

PairCase = Case[PairwiseOptions, JudgeTarget]

_FOR_SECOND: dict[Place, float] = {"first": 0.0, "tie": 0.5, "second": 1.0}


@dataclass(frozen=True)
class _Verdicts:
    """Which place was preferred when the incumbent stood first, and when the candidate did."""

    places: tuple[Place, Place]
    reasons: tuple[str, str]
    next_repeat: int

    @property
    def for_candidate(self) -> float:
        """0 to 1: the mean over both orders."""
        one, other = self.places
        return (_FOR_SECOND[one] + 1.0 - _FOR_SECOND[other]) / 2


async def compare(incumbent: PairCase, candidate: PairCase, means: Means) -> Score:
    """Preference for the candidate: 1, it is better; 0, the incumbent is; 0.5, neither. In steps of a quarter.

    The judge sees no names, the two answers are called A and B, and it is asked in both orders: the score is the mean
    of both verdicts, so that a judge that always prefers the first place says 0.5. The same text, white space aside,
    is not judged: 0.5. A reply that cannot be understood is asked for once more, without its reason, and
    is then the score's error.
    """
    options = candidate.options
    blind = tuple(without_identity(shown(case.answer)) for case in (incumbent, candidate))
    digests = (text_digest(incumbent.answer), text_digest(candidate.answer))
    detail: dict[str, JsonValue] = {
        "judge": options.judge,
        "identical": False,
        "digests": list(digests),
        "lengths": [len(shown(case.answer)) for case in (incumbent, candidate)],
    }
    if same_words(blind[0]) == same_words(blind[1]):
        return Score(value=0.5, detail={**detail, "identical": True})
    asked = _questions(candidate, blind[0], blind[1])
    try:
        verdicts = await _both_orders(means, options.judge, asked)
        again = None
        if is_repeated(candidate.sample, digests, options.repeat_share):
            again = await _both_orders(means, options.judge, asked, first_repeat=verdicts.next_repeat)
    except JudgeError as exc:
        return Score(value=0.0, detail=detail, error=exc.message)
    detail |= {"places": list(verdicts.places), "reasons": list(verdicts.reasons)}
    if again is not None:
        detail["repeated"] = list(again.places)
    return Score(value=verdicts.for_candidate, detail=detail)


def _questions(case: PairCase, incumbent: str, candidate: str) -> tuple[prompts.Questions, prompts.Questions]:
    reference = reference_of(case, wanted=case.options.reference)
    one, other = (
        prompts.compare_two(case.sample, first, second, rubric=case.prepared, reference=reference)
        for first, second in ((incumbent, candidate), (candidate, incumbent))
    )
    return one, other


async def _both_orders(
    means: Means, judge: str, asked: tuple[prompts.Questions, prompts.Questions], *, first_repeat: int = 0
) -> _Verdicts:
    work = (ask(means, judge, questions, read_verdict, first_repeat=first_repeat) for questions in asked)
    # Both are waited for where one fails: nothing goes on in the background, and what was said is kept.
    one, other = await asyncio.gather(*work, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(other, BaseException):
        raise other
    return _Verdicts((one.verdict, other.verdict), (one.reason, other.reason), max(one.next_repeat, other.next_repeat))


PAIRWISE = Scorer(
    version=f"1.{prompts.VERSION}",
    kind="pair",
    cost="judge",
    options=PairwiseOptions,
    target=JudgeTarget,
    from_text=text_target,
    prepare=prepare,
    compare=compare,
)
SCORER = PAIRWISE
