"""Whether a model fits hardware, how it would run there, and what would make it fit. Pure but for `detect`."""

from __future__ import annotations

from changeover.library.fit.answer import Fit, Layout, Part, Published, Remedy, Verdict
from changeover.library.fit.hardware import Hardware, parse_hardware
from changeover.library.fit.here import fits_here
from changeover.library.fit.judge import fit

__all__ = [
    "Fit",
    "Hardware",
    "Layout",
    "Part",
    "Published",
    "Remedy",
    "Verdict",
    "fit",
    "fits_here",
    "parse_hardware",
]
