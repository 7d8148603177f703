"""Weights in a form that no card has: made here of those that it has, once, and kept in the cache."""

from __future__ import annotations

from changeover.serving.conversions.declared import CONVERSIONS, TO_Q8_0, TO_SAFETENSORS, Conversion, Form, Making
from changeover.serving.conversions.making import convert, expected_bytes, expected_s, is_made, maker

__all__ = [
    "CONVERSIONS",
    "TO_Q8_0",
    "TO_SAFETENSORS",
    "Conversion",
    "Form",
    "Making",
    "convert",
    "expected_bytes",
    "expected_s",
    "is_made",
    "maker",
]
