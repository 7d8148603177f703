"""Pictures, by Pillow and OCR: scans, photos, faxes of several pages."""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

from changeover.core.errors import DocumentError
from changeover.tools.documents.ocr import MOST_SIDE, Recogniser, missing_ocr
from changeover.tools.documents.reading import Reading

MOST_PIXELS = 120_000_000
"""A camera of today makes up to 108 million."""
STRIP = 2.2
"""Length to width of a picture that is read in pieces."""
STRIP_WIDTH = 1_000
STRIP_LENGTH = 8 * MOST_SIDE
_FORMATS = ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"]


def read(data: bytes, reading: Reading) -> None:
    """Read a picture; each frame of a TIFF is a page, of any other picture only the first is read."""
    Image.MAX_IMAGE_PIXELS = None  # the limit is ours: Pillow's own is a warning, and names no file
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            picture = Image.open(io.BytesIO(data), formats=_FORMATS)
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as exc:
            raise reading.broken("a picture") from exc
        _check_size(picture, reading)
        frames = int(getattr(picture, "n_frames", 1))
        if frames > 1 and picture.format != "TIFF":
            reading.note(f"only the first of its {frames} frames was read")
            frames = 1
        reading.expect(frames)
        if reading.ocr == "never":
            reading.note("it is a picture, and OCR was not asked for")
            reading.page("p. 1", "")
            return
        for index in range(frames):
            frame = _frame(picture, index, reading)
            if index + 1 == frames and frame is not picture:
                picture.close()  # its pixels, before the networks need room
            recogniser = Recogniser.instance()
            if recogniser is None:
                raise DocumentError(f"`{reading.name}` is a picture. {missing_ocr()}")
            seen = recogniser.read(frame)
            if not seen.text:
                reading.note(f"no text was found on p. {index + 1}")
            reading.page(f"p. {index + 1}", seen.text, ocr=True, confidence=seen.confidence)
            reading.progress(index + 1, frames)


def _check_size(picture: Image.Image, reading: Reading) -> None:
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise DocumentError(
            f"`{reading.name}` has {width:,} × {height:,} pixels; at most {MOST_PIXELS // 1_000_000} million are read. "
            "Make it smaller, or cut it."
        )
    if min(width, height) < 3:
        raise DocumentError(
            f"`{reading.name}` has {width} × {height} pixels: nothing can stand in it. Send a larger one."
        )


def _frame(picture: Image.Image, index: int, reading: Reading) -> Image.Image:
    """One frame: upright, on white, no larger than what is read of it."""
    try:
        if index:
            picture.seek(index)
            _check_size(picture, reading)
        picture.draft("RGB", _bounds(picture.size))
        picture.load()
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError) as exc:
        raise reading.broken("a picture") from exc
    frame = picture.convert("L") if picture.mode == "1" else picture
    factor = min(has // kept for has, kept in zip(frame.size, _bounds(frame.size), strict=True))
    if factor > 1 and frame.mode != "P":
        frame = frame.reduce(factor)
    if frame.mode.startswith("I;16") or frame.mode in {"I", "F"}:
        frame = frame.convert("F").point(lambda value: value / 256).convert("L")
    frame = ImageOps.exif_transpose(frame)
    if frame.mode in {"RGBA", "LA", "PA"} or "transparency" in frame.info:
        frame = frame.convert("RGBA")
        white = Image.new("RGBA", frame.size, "white")
        frame = Image.alpha_composite(white, frame)
    frame = frame.convert("RGB")
    frame.thumbnail(_bounds(frame.size))
    return frame


def _bounds(size: tuple[int, int]) -> tuple[int, int]:
    """Pixels of what is read of a picture: a long strip, such as a receipt, keeps its width."""
    width, height = size
    long, short = max(size), min(size)
    most = MOST_SIDE / long if long < STRIP * short else min(STRIP_WIDTH / short, STRIP_LENGTH / long)
    scale = min(1.0, most)
    return max(1, round(width * scale)), max(1, round(height * scale))
