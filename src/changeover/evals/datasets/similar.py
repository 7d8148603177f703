"""Texts that nearly repeat one another, found among thousands in a few seconds.

Two texts are alike by the share of their runs of five characters that both have (Jaccard), estimated from the same
random part of all runs where a text is long. Candidates are found by MinHash and locality-sensitive hashing (Broder
1997; Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, ch. 3). All pairs by edit distance would take minutes
for 5,000 texts.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

RUN = 5
"""Characters in a run."""
SKETCH = 256
"""Most runs that are kept of a text, those with the smallest hashes: the share is right within some 3 points."""
LEAST_RUNS = 30
"""Texts with fewer runs of their own are too short to be called alike."""
ALIKE = 0.8
"""Share of common runs from which two texts nearly repeat one another: about one word in twenty changed."""
COMMON = 0.2
"""A run in more than this share of all texts is the form that they are written in, and says nothing."""
FEW = 20
"""With fewer texts than this no run is common."""
BANDS, ROWS = 12, 3
"""Candidates agree in all rows of a band: found with chance .9998 where 80 % is alike, .28 where 30 % is."""

_FILLING = re.compile(r"[\W_]+")
_LARGEST = np.uint64(0xFFFFFFFFFFFFFFFF)
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Two texts that nearly repeat one another."""

    one: int
    other: int
    """Places in the sequence, the earlier one first."""
    share: float
    """Of common runs, `ALIKE` to 1."""


def plain_text(text: str) -> str:
    """A text without what makes no difference to a reader: width, case, white space, punctuation."""
    return _FILLING.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def near_duplicates(texts: Sequence[str]) -> list[Alike]:
    """Texts that nearly repeat an earlier one: for each, the earlier one that was found, in order.

    Args:
        texts: Exact duplicates are found too, but not among short texts.
    """
    sketches = [_runs(plain_text(text)) for text in texts]
    complete = [limit for _, limit in sketches]
    runs = _specific([hashes for hashes, _ in sketches])
    nearest: dict[int, Alike] = {}
    seen: set[tuple[int, int]] = set()
    for one, other in _candidates(runs):
        if (one, other) in seen or other in nearest:
            continue
        seen.add((one, other))
        share = _share(runs[one], runs[other], min(complete[one], complete[other]))
        if share >= ALIKE:
            nearest[other] = Alike(one=one, other=other, share=share)
    return [nearest[place] for place in sorted(nearest)]


def _share(one: Hashes, other: Hashes, complete: np.uint64) -> float:
    """Of the runs of either that both have, among the hashes that both sketches would hold."""
    one, other = one[one <= complete], other[other <= complete]
    common = np.intersect1d(one, other, assume_unique=True).size
    return common / (one.size + other.size - common)


def _runs(text: str) -> tuple[Hashes, np.uint64]:
    """Hashes of a text's runs of characters, each once, in rising order; and up to which hash they are all there."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    if codes.size < RUN:
        return np.empty(0, dtype=np.uint64), _LARGEST
    total = np.zeros(codes.size - RUN + 1, dtype=np.uint64)
    for offset in range(RUN):
        total = total * _PRIME + codes[offset : offset + total.size]
    hashes = _mixed(total)
    whole = hashes.size <= 4 * SKETCH
    if not whole:  # to sort all is what would take longest
        hashes = np.partition(hashes, 2 * SKETCH)[: 2 * SKETCH]
    hashes.sort()
    hashes = hashes[np.concatenate(([True], hashes[1:] != hashes[:-1]))]
    whole = whole and hashes.size <= SKETCH
    hashes = hashes[:SKETCH]
    return hashes, _LARGEST if whole else hashes[-1]


def _mixed(values: Hashes) -> Hashes:
    """Spread hashes over all 64 bits (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _specific(runs: list[Hashes]) -> list[Hashes]:
    """The runs of each text without those that many texts have."""
    if len(runs) < FEW:
        return runs
    values, counts = np.unique(np.concatenate(runs), return_counts=True)
    common = values[counts > COMMON * len(runs)]
    return [np.setdiff1d(own, common, assume_unique=True) for own in runs] if common.size else runs


def _candidates(runs: Sequence[Hashes]) -> Iterator[tuple[int, int]]:
    seeds = _mixed(np.arange(1, BANDS * ROWS + 1, dtype=np.uint64))[:, None]
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for place, own in enumerate(runs):
        if own.size >= LEAST_RUNS:
            least = _mixed(own[None, :] ^ seeds).min(axis=1).reshape(BANDS, ROWS)
            for band in range(BANDS):
                buckets[band, least[band].tobytes()].append(place)
    for places in buckets.values():
        yield from _pairs(places)


def _pairs(places: Sequence[int]) -> Iterable[tuple[int, int]]:
    """Each with the first and the one before it: enough to find a group, and not all pairs of a large one."""
    for position in range(1, len(places)):
        yield places[0], places[position]
        if position > 1:
            yield places[position - 1], places[position]
