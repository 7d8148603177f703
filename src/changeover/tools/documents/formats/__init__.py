"""One module for each kind of file; it is loaded, with the library that it needs, when a file of its kind comes."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from changeover.tools.documents.kinds import Kind, mislabelled, recognised
from changeover.tools.documents.reading import Reading

_MODULES: dict[Kind, str] = {
    "pdf": "pdf",
    "docx": "word",
    "pptx": "slides",
    "xlsx": "sheets",
    "html": "web",
    "markdown": "plain",
    "text": "plain",
    "csv": "tables",
    "email": "mail",
    "image": "pictures",
}


def read_any(data: bytes, reading: Reading) -> Kind:
    """Read a file of any kind; its pages go to `reading`.

    Raises:
        DocumentError: It cannot be read.
    """
    return read_as(recognised(data, reading.name), data, reading)


def read_as(kind: Kind, data: bytes, reading: Reading) -> Kind:
    """Read a file whose kind is known."""
    claim = mislabelled(kind, reading.name)
    if claim is not None:
        reading.note(claim)
    read: Callable[[bytes, Reading], None] = importlib.import_module(f"{__name__}.{_MODULES[kind]}").read
    read(data, reading)
    return kind
