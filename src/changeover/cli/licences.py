"""`changeover licences`: what may be done with which model, by the licences and the organisation's policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from changeover.cli.signature import Defaulting, Json, Reason, later

work = later("changeover.cli.licensing")


class Commands(Defaulting):
    """Showing the position need not be named."""

    default = "show"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or [self.default])


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    help="Show what may be done with which model, by the licences and your policy.\n\n"
    "`changeover licences MODEL` shows one whole: `show` need not be named.",
)


@app.command("show")
def show(
    model: Annotated[str | None, typer.Argument(help="Every reason of this one, with clause and words.")] = None,
    task: Annotated[str | None, typer.Option(help="For this task.")] = None,
    bom: Annotated[
        Path | None, typer.Option(help="Write a bill of materials (CycloneDX 1.6) of what is deployed, or of MODEL.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="With --bom: of every model of the library.")] = False,
    as_json: Json = False,
) -> None:
    """Show the whole position: each model with its outcome, the clause that decides, its duties, and what answers now.

    Judged by `policy.toml`; without it nothing is known of the organisation, and nothing is refused.
    Ends with status 1 if something answers now that is not allowed or needs a person first, else 0. No legal advice.

    Example: changeover licences show hunyuan3d-omni --task credit-memo
    """
    if bom is not None:
        work().write_bom(bom, model, every=every)
        return
    if work().show(model, task, as_json):
        raise typer.Exit(1)


@app.command("texts")
def texts(
    model: Annotated[str | None, typer.Argument(help="Only of this one.")] = None,
    as_json: Json = False,
) -> None:
    """List the texts of licences that were seen beside the weights: who accepted them, and which nobody has read yet.

    Example: changeover licences texts
    """
    work().show_texts(model, as_json)


@app.command("accept")
def accept(
    model: Annotated[str, typer.Argument(help="Id of the card.")],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Accept the newest text of a model's licence, after you have read it. Until then a changed text blocks promotion.

    Example: changeover licences accept minimax-m2 --reason "read by legal: only the display clause is new"
    """
    work().accept_text(model, reason, as_json)
