"""How well a judge judges: its leanings, its agreement with itself and with people. From kept scores, without I/O."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Any, cast

from changeover.evals.judges.labels import Label, PairLabel, ScoreLabel
from changeover.evals.judges.parse import Place
from changeover.evals.judges.ppi import ppi_mean
from changeover.evals.report.record import Judging

ENOUGH_LABELS = 20
"""Labelled samples for a corrected difference: with fewer, a few unusual ones decide."""
ENOUGH_TO_CORRELATE = 5
ENOUGH_TO_DOUBT = 5
"""Judgements that are all alike before that is held against the judge."""
MOST_UNTOLD = 0.1
"""Share of all pairs that may turn with the order, however few the judged ones are: the rest is the same text."""

_Key = tuple[str, tuple[str, ...]]

_PLACES: dict[str, Place] = {"first": "first", "second": "second", "tie": "tie"}


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a judge said about one pair, or about one answer."""

    sample: str
    """Id."""
    value: float
    """Of a pair, the preference for the candidate; of an answer, its score; 0 to 1."""
    digests: tuple[str, ...]
    """Of the incumbent's and the candidate's text, or of the answer's."""
    lengths: tuple[int, ...]
    """Characters, in the same order."""
    places: tuple[Place, Place] | None = None
    """What was preferred with the incumbent first, and with the candidate first. None: an answer, or not judged."""
    again: tuple[Place, Place] | float | None = None
    """The same asked again: both verdicts, or the score, 0 to 1. None where it was not."""
    identical: bool = False
    """A pair of the same text, which was not judged."""
    levels: int | None = None
    """Of the scale; None for a pair."""

    @property
    def flipped(self) -> bool:
        """Whether its two orders disagree."""
        return self.places is not None and _of_candidate(self.places[0]) != 1.0 - _of_candidate(self.places[1])

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """What was judged: sample and texts."""
        return self.sample, self.digests


def judgements_of(sample: str, detail: Mapping[str, Any]) -> tuple[Judgement, ...]:
    """Read back what a judge said from a kept score's detail, wherever in it that stands.

    Several where the detail is of several answers (repeats, turns); none where no judge took part or none could say
    anything.

    Args:
        sample: Its id.
        detail: Of a score by `pairwise` or `rubric`, or of one that is made of such scores.
    """
    return tuple(_judgement(sample, each) for each in records_in(detail))


def judging_of_pairs(judge: str, judgements: Sequence[Judgement], labels: Sequence[Label] = ()) -> Judging:
    """What is known of a judge that compared pairs. The corrected difference is candidate minus incumbent, -1 to 1.

    Args:
        judge: Its task and variant, for people.
        judgements: Of all usable samples.
        labels: People's, of any samples; those of other texts are left out.
    """
    judged = [each for each in judgements if not each.identical]
    ordered = [each.places for each in judged if each.places is not None]
    repeated = [(each.places, each.again) for each in judged if isinstance(each.again, tuple)]
    met = _met_by_pair(judged, labels)
    return Judging(
        judge=judge,
        judged=len(judged),
        identical=len(judgements) - len(judged),
        position_bias=_share(places == ("first", "first") for places in ordered)
        - _share(places == ("second", "second") for places in ordered)
        if ordered
        else None,
        flipped=_share(each.flipped for each in judged if each.places is not None) if ordered else None,
        length_bias=rank_correlation(
            [each.value for each in judged], [each.lengths[1] - each.lengths[0] for each in judged]
        ),
        self_consistency=_share(first == again for first, again in repeated) if repeated else None,
        agreement=_share(_lean(judgement.value) == _lean(human) for judgement, human in met) if met else None,
        labels=len(met),
        corrected=_corrected_pairs(judgements, met),
    )


def judging_of_answers(
    judge: str, pairs: Sequence[tuple[Sequence[Judgement], Sequence[Judgement]]], labels: Sequence[Label] = ()
) -> Judging:
    """What is known of a judge that scored answers. A score meets a label if it is no more than half a level off.

    Args:
        judge: Its task and variant, for people.
        pairs: For each usable sample, the judgements of the incumbent's answers and of the candidate's.
        labels: People's, of any samples; those of other texts are left out.
    """
    judged = [each for pair in pairs for side in pair for each in side]
    repeated = [each for each in judged if isinstance(each.again, float)]
    met = _met_by_answer(judged, labels)
    return Judging(
        judge=judge,
        judged=len(judged),
        identical=0,
        position_bias=None,
        flipped=None,
        length_bias=rank_correlation([each.value for each in judged], [each.lengths[0] for each in judged]),
        self_consistency=_share(each.value == each.again for each in repeated) if repeated else None,
        agreement=_share(abs(one.value - human) <= _half_level(one) for one, human in met) if met else None,
        labels=len(met),
        corrected=_corrected_answers(pairs, labels),
    )


def doubt(judgements: Sequence[Judgement]) -> str | None:
    """Why these judgements cannot show that a candidate is no worse; None where nothing speaks against it.

    A judge that cannot tell two answers apart sees no difference anywhere, and a test for "no worse" would take that
    for equality: such a comparison must not pass. A judge that guesses turns half of its pairs with the order, so
    those that it turned must be clearly fewer.

    Args:
        judgements: Of all usable samples; of pairs, or of both sides' answers.
    """
    places = [each.places for each in judgements if each.places is not None]
    turned = sum(each.flipped for each in judgements)
    if turned > MOST_UNTOLD * len(judgements) and _upper(turned, len(places)) >= 0.5:
        return f"the judge's verdict turned with the order in {turned} of {len(places)} pairs, as if it guessed"
    if len(places) >= ENOUGH_TO_DOUBT and all(each == ("tie", "tie") for each in places):
        return f"the judge called all {len(places)} pairs a tie"
    values = [each.value for each in judgements if each.levels is not None]
    if len(values) >= 2 * ENOUGH_TO_DOUBT and len(set(values)) == 1:
        return f"the judge gave all {len(values)} answers the same level"
    return None


def _upper(hits: int, tries: int) -> float:
    """Upper end of Wilson's one-sided 95 % interval of a share."""
    z = NormalDist().inv_cdf(0.95)
    share = hits / tries
    spread = z * math.sqrt(share * (1.0 - share) / tries + z * z / (4 * tries * tries))
    return (share + z * z / (2 * tries) + spread) / (1.0 + z * z / tries)


def rank_correlation(values: Sequence[float], others: Sequence[float]) -> float | None:
    """Spearman's rank correlation, -1 to 1, ties given their mean rank; None for fewer than five or without spread.

    Of preference for the candidate with how much longer its answer is (or of score with length): above 0, the judge
    prefers what is longer; below 0, what is shorter. Longer answers may really be better, so it is a warning and no
    proof.
    """
    if len(values) < ENOUGH_TO_CORRELATE:
        return None
    a, b = _ranks(values), _ranks(others)
    middle = (len(values) + 1) / 2
    spread = math.sqrt(sum((x - middle) ** 2 for x in a) * sum((y - middle) ** 2 for y in b))
    if spread == 0.0:
        return None
    return sum((x - middle) * (y - middle) for x, y in zip(a, b, strict=True)) / spread


def records_in(detail: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The records of verdicts in a detail, at any depth: a mean or a mix holds those of its parts."""
    if {"judge", "digests", "lengths"} <= detail.keys():
        if detail.get("identical") or "places" in detail or "level" in detail:
            yield detail
        return
    for value in detail.values():
        for each in cast("list[Any]", value) if isinstance(value, list) else [value]:
            if isinstance(each, Mapping):
                yield from records_in(cast("Mapping[str, Any]", each))


def _judgement(sample: str, detail: Mapping[str, Any]) -> Judgement:
    digests, lengths = tuple(map(str, detail["digests"])), tuple(map(int, detail["lengths"]))
    if len(digests) == 1:
        levels, again = int(detail["levels"]), detail.get("repeated")
        return Judgement(
            sample=sample,
            value=_of_level(detail["level"], levels),
            digests=digests,
            lengths=lengths,
            again=None if again is None else _of_level(again, levels),
            levels=levels,
        )
    identical = bool(detail["identical"])
    places = None if identical else _places(detail["places"])
    return Judgement(
        sample=sample,
        value=0.5 if places is None else (_of_candidate(places[0]) + 1.0 - _of_candidate(places[1])) / 2,
        digests=digests,
        lengths=lengths,
        places=places,
        again=None if detail.get("repeated") is None else _places(detail["repeated"]),
        identical=identical,
    )


def _places(said: Sequence[str]) -> tuple[Place, Place]:
    return _PLACES[said[0]], _PLACES[said[1]]


def _of_candidate(place: Place) -> float:
    """Preference for who stands second."""
    return {"first": 0.0, "tie": 0.5, "second": 1.0}[place]


def _of_level(level: float, levels: int) -> float:
    return (float(level) - 1.0) / (levels - 1.0)


def _half_level(judgement: Judgement) -> float:
    return 0.5 / ((judgement.levels or 2) - 1) + 1e-9


def _lean(preference: float) -> int:
    return (preference > 0.5) - (preference < 0.5)


def _share(which: Iterator[bool]) -> float:
    return fmean(map(float, which))


def _met_by_pair(judged: Sequence[Judgement], labels: Sequence[Label]) -> list[tuple[Judgement, float]]:
    """Labels of judged pairs, each with people's preference for the candidate, 0 to 1."""
    known = {(each.sample, frozenset(each.digests)): each for each in judged}
    met: list[tuple[Judgement, float]] = []
    for label in labels:
        if not isinstance(label, PairLabel):
            continue
        judgement = known.get((label.sample, frozenset((label.a, label.b))))
        if judgement is not None:
            for_b = {"a": 0.0, "tie": 0.5, "b": 1.0}[label.preferred]
            met.append((judgement, for_b if label.b == judgement.digests[1] else 1.0 - for_b))
    return met


def _met_by_answer(judged: Sequence[Judgement], labels: Sequence[Label]) -> list[tuple[Judgement, float]]:
    known = {(each.sample, each.digests[0]): each for each in judged}
    scored = [label for label in labels if isinstance(label, ScoreLabel)]
    return [
        (known[label.sample, label.answer], label.score) for label in scored if (label.sample, label.answer) in known
    ]


def _corrected_pairs(
    judgements: Sequence[Judgement], met: Sequence[tuple[Judgement, float]]
) -> tuple[float, float, float] | None:
    judged = [each for each in judgements if not each.identical]
    human = _people(met)
    labelled = [each for each in judged if each.key in human]
    return _corrected(
        [2.0 * human[each.key] - 1.0 for each in labelled],
        [2.0 * each.value - 1.0 for each in labelled],
        [2.0 * each.value - 1.0 for each in judged if each.key not in human],
        len(judgements) - len(judged),
    )


def _corrected_answers(
    pairs: Sequence[tuple[Sequence[Judgement], Sequence[Judgement]]], labels: Sequence[Label]
) -> tuple[float, float, float] | None:
    """From the samples of which people scored all answers of both sides."""
    people, judge, rest = list[float](), list[float](), list[float]()
    human = _people(_met_by_answer([each for pair in pairs for side in pair for each in side], labels))
    for incumbent, candidate in pairs:
        if not incumbent or not candidate:
            continue
        said = fmean(each.value for each in candidate) - fmean(each.value for each in incumbent)
        if all(each.key in human for each in (*incumbent, *candidate)):
            people.append(fmean(human[each.key] for each in candidate) - fmean(human[each.key] for each in incumbent))
            judge.append(said)
        else:
            rest.append(said)
    return _corrected(people, judge, rest, 0)


def _corrected(
    people: Sequence[float], judge: Sequence[float], rest: Sequence[float], identical: int
) -> tuple[float, float, float] | None:
    """Difference, low, high over all samples. Those of the same text are a stratum of their own: they differ by 0.

    None with too few labels, or where all labels are the same: then they say nothing of their spread.
    """
    if len(people) < ENOUGH_LABELS or max(people) == min(people):
        return None
    found = ppi_mean(people, judge, rest)
    total = len(people) + len(rest) + identical
    share = (total - identical) / total
    # The share of identical texts is itself seen in a sample only.
    of_share = NormalDist().inv_cdf(0.975) * abs(found.estimate) * math.sqrt(share * (1.0 - share) / total)
    half = math.hypot(share * (found.high - found.estimate), of_share)
    middle = share * found.estimate
    return middle, max(-1.0, middle - half), min(1.0, middle + half)


def _people(met: Sequence[tuple[Judgement, float]]) -> dict[_Key, float]:
    """People's mean for each text or pair of texts."""
    values: defaultdict[_Key, list[float]] = defaultdict(list)
    for judgement, human in met:
        values[judgement.key].append(human)
    return {key: fmean(each) for key, each in values.items()}


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            ranks[place] = (start + end + 1) / 2
        start = end
    return ranks
