"""`changeover coverage`: for what the library has models, and where it has none."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.coverage_view")

app = typer.Typer(add_completion=False)


@app.command()
def coverage(
    policy: Annotated[bool, typer.Option("--policy", help="Count only what your policy allows.")] = False,
    here: Annotated[bool, typer.Option("--here", help="Count only what fits this machine.")] = False,
    as_json: Json = False,
) -> None:
    """Count the library's models by scenario, modality, size and licence, and show the gaps.

    In each place: models under an open-source licence, then + those under other terms. Closed models fill no gap.

    Example: changeover coverage --policy
    """
    work().run(allowed=policy, here=here, as_json=as_json)
