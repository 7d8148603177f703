"""Text of pictures: Baidu's PP-OCR models by RapidOCR, on the processor, without a network."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, ClassVar

from changeover.tools.documents.layout import Line, in_reading_order

MOST_SIDE = 2_000
"""Pixels of what is read; a larger picture is made smaller first."""
DETECTED_SIDE = 1_280
"""Pixels of what lines are looked for in: the dearest part, in memory."""
LINES_AT_ONCE = 2
"""Together through the network that reads: more need more memory, and no less time on a processor."""
UNSURE = 0.8
"""A mean confidence below this: it may lie upside down."""
AS_GOOD = 0.9
TALL = 1.5
"""Height to width of lines that run up or down."""

_PARAMETERS = {
    "Global.log_level": "critical",
    "Global.use_cls": False,  # tells single lines that stand on their head, and often wrongly
    "Global.max_side_len": MOST_SIDE,
    "Det.limit_side_len": DETECTED_SIDE,
    "Det.limit_type": "max",
    "Rec.rec_batch_num": LINES_AT_ONCE,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}


@dataclass(frozen=True)
class Seen:
    """What a picture says."""

    text: str
    confidence: float | None
    """0 to 1, mean over its lines; None: there are none."""


def missing_ocr() -> str:
    """What to do where OCR is not installed."""
    return "Reading them needs the extra `ocr` on this server: pip install 'changeover[ocr]'"


def installed() -> bool:
    """Whether pictures can be read."""
    return all(importlib.util.find_spec(each) is not None for each in ("rapidocr", "onnxruntime"))


class Recogniser:
    """Reads pictures, one at a time. Its models are loaded once in a process."""

    _only: ClassVar[Recogniser | None] = None

    def __init__(self) -> None:
        threads = max(1, min(4, (os.cpu_count() or 1) // 2))
        engine: Any = importlib.import_module("rapidocr").RapidOCR
        self._engine = engine(params={**_PARAMETERS, "EngineConfig.onnxruntime.intra_op_num_threads": threads})

    @classmethod
    def instance(cls) -> Recogniser | None:
        """The one of this process; None: OCR is not installed."""
        if cls._only is None and installed():
            cls._only = cls()
        return cls._only

    def read(self, picture: Any) -> Seen:
        """Read a PIL picture, turned upright by how its lines lie."""
        best = self._lines(picture)
        if _run_up(best):  # read well in one direction of two, and then from the last line to the first
            turned = max((self._lines(picture.rotate(degrees, expand=True)) for degrees in (90, 270)), key=_worth)
            best = turned if _worth(turned) > AS_GOOD * _worth(best) else best
        elif best and _confidence(best) < UNSURE:
            best = max(best, self._lines(picture.rotate(180)), key=_worth)
        if not best:
            return Seen("", None)
        return Seen(in_reading_order(_straight(best)), round(_confidence(best), 4))

    def _lines(self, picture: Any) -> list[_Found]:
        array: Any = importlib.import_module("numpy").asarray(picture.convert("RGB"))[:, :, ::-1]
        found: list[_Found] = []
        start = 0
        while start < array.shape[0]:
            end = _end_of_piece(array, start)
            try:
                result = self._engine(array[start:end].copy())
            except Exception as exc:  # of any kind; a network without memory says so in words only
                if "alloc" in str(exc).lower():
                    raise MemoryError from exc
                raise
            if result.txts is not None and result.boxes is not None:
                found += [
                    _Found(text.strip(), float(score), [(float(x), float(y) + start) for x, y in box])
                    for text, score, box in zip(result.txts, result.scores, result.boxes, strict=True)
                ]
            start = end
        return found


def _end_of_piece(array: Any, start: int) -> int:
    """Where a picture that is too long for one go is cut: in the row where least happens."""
    height = int(array.shape[0])
    if height - start <= MOST_SIDE:
        return height
    first = start + MOST_SIDE * 3 // 4
    differences = array[first : start + MOST_SIDE, :, 1].astype("float32").std(axis=1)
    return first + int(differences.argmin())


@dataclass(frozen=True)
class _Found:
    text: str
    score: float
    box: list[tuple[float, float]]
    """Corners: upper left, upper right, lower right, lower left."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height."""
        xs, ys = [x for x, _ in self.box], [y for _, y in self.box]
        return max(xs) - min(xs), max(ys) - min(ys)


def _confidence(found: list[_Found]) -> float:
    return fmean(each.score for each in found)


def _worth(found: list[_Found]) -> float:
    return sum(each.score**4 * len(each.text) for each in found)


def _run_up(found: list[_Found]) -> bool:
    """Whether most of its long lines are taller than wide."""
    tall = [each.size[1] > TALL * each.size[0] for each in found if len(each.text) > 2]
    return bool(tall) and sum(tall) * 2 > len(tall)


def _straight(found: list[_Found]) -> list[Line]:
    """Lines as they would stand if the page had been laid down straight."""
    slopes = [math.atan2(each.box[1][1] - each.box[0][1], each.box[1][0] - each.box[0][0]) for each in found]
    angle = -median(slopes)
    cos, sin = math.cos(angle), math.sin(angle)
    lines: list[Line] = []
    for each in found:
        turned = [(x * cos - y * sin, x * sin + y * cos) for x, y in each.box]
        xs, ys = [x for x, _ in turned], [y for _, y in turned]
        lines.append(Line(each.text, min(xs), min(ys), max(xs), max(ys)))
    return lines
