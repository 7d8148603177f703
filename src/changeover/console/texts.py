"""Text of models as HTML. A model is a hostile author: nothing of what it writes may become a tag of its own."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markupsafe import Markup, escape

_MARKDOWN = (
    MarkdownIt("commonmark", {"html": False, "linkify": False})
    .enable("table")
    .disable(["link", "image", "autolink", "reference"])
)
"""Without links and pictures: either would take the reader, or what the reader knows, somewhere else. A line such as
`[1]: report.pdf` is then a text like any other, and not the end of a link, which nobody sees."""

_QUOTED = re.compile("`([^`]+)`")
MOST_LAID_OUT = 60_000
"""Characters; a longer text is shown as it is: laying out a hostile one takes seconds for each 100,000."""


def sentence(text: str) -> Markup:
    """A sentence of ours, with what stands between backticks set apart."""
    return Markup(_QUOTED.sub(r"<code>\1</code>", str(escape(text))))


def shown(text: str, media_type: str) -> Markup:
    """The text, laid out where it is Markdown."""
    if media_type == "text/markdown" and len(text) <= MOST_LAID_OUT:
        return Markup(_MARKDOWN.render(text))
    return Markup("<pre>{}</pre>").format(escape(text))
