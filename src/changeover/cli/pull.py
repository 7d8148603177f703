"""`changeover pull`: weights, verified."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.frame import Json, out, print_json
from changeover.cli.weights import fetch, library

app = typer.Typer(add_completion=False)


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="A card of the library; `changeover models` lists them.")],
    as_json: Json = False,
) -> None:
    """Fetch a model's weights into the cache, verify their digest, and keep nothing that is not right.

    An interrupted fetch goes on where it was. Weights that are here already are not fetched again.

    Example: changeover pull qwen2.5-coder-0.5b-instruct
    """
    catalogue, cache = library()
    card = catalogue.card(model)
    [path] = fetch([card], cache)
    if as_json:
        print_json({"model": card.id, "path": path, "sha256": card.artifacts[0].sha256})
    else:
        out.print(f"{card.id}  {path}\nsha256 {card.artifacts[0].sha256} verified")
