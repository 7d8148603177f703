"""What judges and people's sheets read of comparisons."""

from __future__ import annotations

from sqlalchemy import Connection

from changeover.evals.answers import Answer, ToolCall
from changeover.evals.datasets import Dataset
from changeover.evals.judges.sheets import Answered
from changeover.evals.queries import StoredAnswer, answers_by_id, compared_samples


def answered_samples(connection: Connection, comparison: str, dataset: Dataset) -> list[Answered]:
    """Samples of a comparison that both sides answered and a scorer could score, with the answers that people are shown.

    Samples that the dataset does not have any more are left out.
    """
    rows = [row for row in compared_samples(connection, comparison) if row.usable]
    found = answers_by_id(connection, [id for row in rows for id in (row.incumbent_answer, row.candidate_answer)])
    asked = {sample.id: sample.text for sample in dataset.samples}
    pairs = ((row, found[row.incumbent_answer], found[row.candidate_answer]) for row in rows)
    return [
        Answered(
            sample=row.sample_id, asked=asked[row.sample_id], incumbent=_answer(incumbent), candidate=_answer(candidate)
        )
        for row, incumbent, candidate in pairs
        if row.sample_id in asked and incumbent.text is not None and candidate.text is not None
    ]


def _answer(kept: StoredAnswer) -> Answer:
    return Answer(text=kept.text or "", tool_calls=tuple(ToolCall(**call) for call in kept.tool_calls or ()))
