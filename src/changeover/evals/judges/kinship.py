"""Who may judge: nobody who is one of the two, or of the family of one of them."""

from __future__ import annotations

from changeover.core.errors import JudgeError
from changeover.library.catalogue import Catalogue
from changeover.library.lineage import Model, kinship
from changeover.serving.variants import Variant

_NO_MODEL = "echo"
"""The engine without a model: it has no family, and nothing that it says is evidence."""


def check_judge(catalogue: Catalogue, task: str, judge: Variant, arm: Variant) -> str | None:
    """Check that a judge is a stranger to one of those whom it judges.

    Models tend to prefer what they wrote themselves, and what was taught by the same data.

    Args:
        catalogue: The library.
        task: The task that judges.
        judge: Who answers it now.
        arm: Whose answers are judged.

    Returns:
        One sentence for the report where their kinship is not known; else None.

    Raises:
        JudgeError: They are one model, or of one family.

    Source: Panickssery, Bowman & Feng 2024, "LLM Evaluators Recognize and Favor Their Own Generations",
        arXiv:2404.13076.
    """
    one, other = _model(judge), _model(arm)
    if _NO_MODEL in (one.name, other.name):
        return None
    found = kinship(catalogue, one, other)
    if found.related:
        raise JudgeError(
            f"`{judge.deployment}` ({one.name}), which answers `{task}`, may not judge `{arm.deployment}` "
            f"({other.name}): {found.reason}. Switch `{task}` to a model of another family."
        )
    if found.relation == "none":
        return None
    return (
        f"Whether `{judge.deployment}`, which answers `{task}`, is related to `{arm.deployment}` is not known: "
        f"{found.reason}. A card in the library would say it."
    )


def _model(variant: Variant) -> Model:
    engine = variant.bundle.engine
    return Model(name=engine.model, weights=engine.weights_digest)
