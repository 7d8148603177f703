"""Two texts next to each other, with what differs between them marked. Texts of models are hostile: all of it is escaped."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

from changeover.evals.differences import Piece, compare
from changeover.evals.report.words import visible


def marked(before: str, after: str) -> tuple[Markup, Markup]:
    """Both texts; on the left what the right one has not (`del`), on the right what is new (`ins`).

    Texts that are too long to be compared are shown as they are.
    """
    compared = compare(visible(before), visible(after))
    if compared is None:
        return plainly(before, after)
    return _shown(compared.before, "<del>{}</del>"), _shown(compared.after, "<ins>{}</ins>")


def plainly(before: str, after: str) -> tuple[Markup, Markup]:
    """Both texts without marks."""
    return Markup(escape(visible(before))), Markup(escape(visible(after)))


def _shown(pieces: Iterable[Piece], mark: str) -> Markup:
    return Markup("").join(Markup(mark if differs else "{}").format(text) for text, differs in pieces)
