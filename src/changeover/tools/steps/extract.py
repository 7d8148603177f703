"""`extract`: a file becomes a document."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from changeover.core.errors import RequestError
from changeover.tools.declarations import ExtractStep, InputDeclaration
from changeover.tools.documents.reader import Limits
from changeover.tools.expressions import names_in
from changeover.tools.plain import listed
from changeover.tools.steps.run import Run
from changeover.tools.values import Document, File


async def extract(step: ExtractStep, run: Run) -> Document | list[Document]:
    """Read a file, or each of a list.

    Raises:
        DocumentError: One cannot be read.
        RequestError: There is no file.
    """
    if step.file.strip() in run.read:
        return run.read[step.file.strip()]
    given = await run.compute(lambda: run.file_of(step.file))
    declared = _declared(step.file, run)
    files = listed(given)
    for file in files:
        if not isinstance(file, File):
            raise RequestError(f"The step `{step.name}` has no file to read: `{step.file}` is none. Give one.")
    read = [
        await read_file(run, f"{step.name}/{number}", file, declared, step.ocr, (number, len(files)))
        for number, file in enumerate(files)
    ]
    return read if isinstance(given, list) else read[0]


async def read_file(
    run: Run,
    place: str,
    file: File,
    declared: InputDeclaration,
    ocr: Literal["auto", "always", "never"] = "auto",
    which: tuple[int, int] = (0, 1),
) -> Document:
    """Read one file, or take what was read before the run was interrupted.

    Args:
        run: The run.
        place: Where it is kept.
        file: What is read.
        declared: The limits.
        ocr: Which pages are read as pictures.
        which: Its number, from 0, and of how many; progress counts pages of one and files of several.
    """
    number, of = which

    def on_page(done: int, pages: int) -> None:
        if of == 1:
            run.progress(done, pages)

    async def make() -> Any:
        document = await run.means.reader.read(file, limits_of(declared), ocr=ocr, on_page=on_page)
        return msgspec.to_builtins(document)

    document = msgspec.convert(await run.once(place, make), Document)
    if of > 1:
        run.progress(number + 1, of)
    for note in document.notes:
        run.problem(f"`{document.name}`: {note}")
    return document


def limits_of(declared: InputDeclaration) -> Limits:
    """Within what a file is read."""
    return Limits(
        most_bytes=int(declared.max_mib * (1 << 20)), most_pages=declared.max_pages, most_chars=declared.most_chars
    )


def _declared(expression: str, run: Run) -> InputDeclaration:
    """The input that an expression names; where it is another expression, limits are the usual ones."""
    inputs = run.tool.declared.inputs
    named = [inputs[name] for name in names_in(expression) if name in inputs]
    return named[0] if named else InputDeclaration(type="document")
