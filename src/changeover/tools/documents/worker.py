"""The process that reads: `python -I -m changeover.tools.documents.worker MIB DIRECTORY`, started by `processes`.

It gives up what it does not need before it sees a file, reads one file after the other from its standard input, and says
what it read on its standard output. Libraries that parse are loaded when a file of their kind comes.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import IO

import msgspec

from changeover.core.errors import DocumentError
from changeover.tools.confine import Policy, allow_seconds, confine
from changeover.tools.documents.formats import read_any
from changeover.tools.documents.reading import Reading, out_of_memory
from changeover.tools.documents.wire import LENGTH_BYTES, Ask, FileRead, FileRefused, Started, Words, packed

THREADS = 4
"""At most, of the libraries that use several."""
LARGE_BYTES = 1 << 20
"""A file after which memory is looked through for what nobody needs."""
DEEPEST = 3_000
"""Calls within calls: what is nested deeper is refused."""
ADDRESSES_BYTES = 2 << 30
"""That OCR reserves and never uses."""
MOST_FILE_BYTES = 64 << 20
MOST_DESCRIPTORS = 128


def main() -> None:
    """Read files until the standard input ends."""
    policy = Policy(
        own_directory=Path(sys.argv[2]),
        memory_bytes=int(sys.argv[1]) << 20,
        headroom_bytes=ADDRESSES_BYTES,
        file_bytes=MOST_FILE_BYTES,
        descriptors=MOST_DESCRIPTORS,
    )
    files, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):  # what a library prints must not pass for an answer
        os.dup2(nothing, descriptor)
    os.close(nothing)
    sys.setrecursionlimit(DEEPEST)

    def say(words: Words) -> None:
        answers.write(packed(words))
        answers.flush()

    say(Started(confined=confine(policy)))
    while (ask := _next(files)) is not None:
        limits = ask.limits
        allow_seconds(limits.seconds + limits.picture_seconds * limits.most_pages, THREADS)
        data = files.read(ask.size)
        if len(data) < ask.size:
            return
        last = _read(data, Reading(name=ask.name, limits=ask.limits, ocr=ask.ocr, tell=say))
        del data
        say(last)
        if isinstance(last, FileRefused) and last.exhausted:
            return
        if ask.size > LARGE_BYTES:
            gc.collect()  # trees of documents refer to themselves


def _next(files: IO[bytes]) -> Ask | None:
    length = files.read(LENGTH_BYTES)
    if len(length) < LENGTH_BYTES:
        return None
    return msgspec.msgpack.decode(files.read(int.from_bytes(length, "big")), type=Ask)


def _read(data: bytes, reading: Reading) -> FileRead | FileRefused:
    """Read a file; whatever a parser makes of a damaged one is an answer."""
    try:
        kind = read_any(data, reading)
    except DocumentError as exc:
        return FileRefused(message=exc.message)
    except MemoryError:
        return FileRefused(message=out_of_memory(reading.name), exhausted=True)
    except RecursionError:
        return FileRefused(
            message=f"`{reading.name}` is nested too deeply to be read. Save its text in a simpler form."
        )
    except ImportError as exc:
        return FileRefused(
            message=f"`{reading.name}` cannot be read on this server: `{exc.name}` cannot be loaded. Install it again: "
            "pip install 'changeover[documents,ocr]'"
        )
    except Exception as exc:  # a parser may raise anything; the next file finds this process as it was
        return FileRefused(message=reading.broken("what it claims to be", type(exc).__name__).message)
    return FileRead(kind=kind, title=reading.title, notes=reading.notes)


if __name__ == "__main__":
    main()
