"""The `rubric` scorer: a judge is shown one answer and says which level of a described scale it is on."""

from __future__ import annotations

from functools import partial

from pydantic import JsonValue

from changeover.core.errors import JudgeError
from changeover.evals.judges import prompts
from changeover.evals.judges.asking import JudgeTarget, ask, is_repeated, reference_of, text_target
from changeover.evals.judges.blind import shown, text_digest, without_identity
from changeover.evals.judges.options import RubricOptions, prepare
from changeover.evals.judges.parse import read_score
from changeover.evals.scorers.base import Case, Means, Score, Scorer


async def score(case: Case[RubricOptions, JudgeTarget], means: Means) -> Score:
    """The level that the judge puts the answer on: 0, the first of the scale, to 1, the last.

    The judge does not see who answered. A reply that cannot be understood, or names a level that is not on the scale,
    is asked for once more, and is then the score's error.
    """
    options, highest = case.options, len(case.options.levels)
    digest = text_digest(case.answer)
    detail: dict[str, JsonValue] = {
        "judge": options.judge,
        "levels": highest,
        "digests": [digest],
        "lengths": [len(shown(case.answer))],
    }
    asked = prompts.score_one(
        case.sample,
        without_identity(shown(case.answer)),
        rubric=case.prepared,
        levels=options.levels,
        reference=reference_of(case, wanted=options.reference),
    )
    read = partial(read_score, highest=highest)
    try:
        given = await ask(means, options.judge, asked, read)
        again = None
        if is_repeated(case.sample, [digest], options.repeat_share):
            again = await ask(means, options.judge, asked, read, first_repeat=given.next_repeat)
    except JudgeError as exc:
        return Score(value=0.0, detail=detail, error=exc.message)
    detail |= {"level": given.verdict, "reasons": [given.reason]}
    if again is not None:
        detail["repeated"] = again.verdict
    return Score(value=(given.verdict - 1.0) / (highest - 1.0), detail=detail)


RUBRIC = Scorer(
    version=f"1.{prompts.VERSION}",
    cost="judge",
    options=RubricOptions,
    target=JudgeTarget,
    from_text=text_target,
    prepare=prepare,
    score=score,
)
SCORER = RUBRIC
