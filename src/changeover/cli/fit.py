"""`changeover fit`: whether a model fits."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.fitting")

app = typer.Typer(add_completion=False)


@app.command()
def fit(
    model: Annotated[str, typer.Argument(help="A card of the library.")],
    on: Annotated[
        str, typer.Option("--on", help="Hardware: h100x8, kunlun-p800x16, or `here` for this machine.")
    ] = "here",
    context: Annotated[int | None, typer.Option(help="Tokens of each request, prompt and answer.", min=256)] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests at once, each that long.", min=1, max=4096)] = None,
    quantisation: Annotated[str | None, typer.Option(help="Of the weights: bf16, fp8, int4, Q4_K_M.")] = None,
    memory: Annotated[
        float | None,
        typer.Option(help="GiB of one card, or of this machine, instead of what is known.", min=0.1, max=1e6),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether a model fits hardware, how it runs there with which engine and flags, and what would make it fit.

    Every figure stands in GiB and in GB. What is not known is said, and never guessed. Ends with status 0 if it fits,
    even tightly, 1 if it does not, 3 if a fact is missing. In a project that was started, what fits this machine is kept
    as `planned` among what was verified here.

    Example: changeover fit deepseek-r1 --on kunlun-p800x8
    """
    status = work().fit_model(work().Ask(model, on, context, concurrency, quantisation, memory, as_json))
    if status:
        raise typer.Exit(status)
