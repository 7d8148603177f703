"""`changeover library`: what others say of models, where that contradicts the cards, and weights for engines."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.syncing")
serving = later("changeover.cli.serving_library")

app = typer.Typer(
    add_completion=False, help="Read what others say of models, and serve weights to engines.", no_args_is_help=True
)


@app.callback()
def library() -> None:
    """Read what others say of models, and serve weights to engines."""


@app.command("sync")
def sync_command(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE]…", help="By default all that can be read here; `--list` names them."),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="PATH|URL", help="Read this, for the one source that is named.")
    ] = None,
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day that the file is of, if it does not say so.")
    ] = None,
    card: Annotated[list[str] | None, typer.Option(help="Ask the hubs of this card only; may be repeated.")] = None,
    online: Annotated[bool, typer.Option("--online", help="Use the network this once.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be kept, and keep nothing.")] = False,
    list_sources: Annotated[bool, typer.Option("--list", help="Show the sources, and when each was read.")] = False,
    as_json: Json = False,
) -> None:
    """Read sources, and show new models, new facts, contradictions and licences whose text changed.

    What they say is kept as dated observations. No card is changed: write what you adopt, with its source, into a card.
    A source is kept whole or not at all. Without `sources.online` or --online nothing is asked over the network.

    Example: changeover library sync models.dev --file api.json
    """
    asked = work().Options(
        sources=tuple(sources or ()),
        file=file,
        as_of=None if as_of is None else as_of.date(),
        cards=tuple(card or ()),
        online=online,
        dry_run=dry_run,
        as_json=as_json,
    )
    status = work().list_sources(as_json) if list_sources else work().sync(asked)
    if status:
        raise typer.Exit(status)


@app.command("conflicts")
def conflicts_command(
    card: Annotated[str | None, typer.Argument(help="Only this card.")] = None,
    as_json: Json = False,
) -> None:
    """Show every fact about which a card and its sources disagree, both values, and which of them counts.

    The better grade counts, and of one grade the later date. Ends with status 1 if there are any.

    Example: changeover library conflicts glm-4.6
    """
    if status := work().conflicts(card, as_json):
        raise typer.Exit(status)


@app.command("observations")
def observations_command(
    model: Annotated[str, typer.Argument(help="A card, or the name of a model without one.")],
    fact: Annotated[str | None, typer.Option(help="Everything that was ever said of this fact, oldest first.")] = None,
    as_json: Json = False,
) -> None:
    """Show what each source said last of a model: fact, value, source, grade and date.

    Example: changeover library observations gpt-oss-20b --fact hosted.groq.price
    """
    work().show_observations(model, fact, as_json)


@app.command("serve")
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; another than loopback opens it to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any free one.", min=0, max=65535)] = 8101,
    open_door: Annotated[bool, typer.Option("--open", help="Ask for no key. On loopback only.")] = False,
    as_json: Json = False,
) -> None:
    """Serve verified weights as the Hugging Face Hub does, until Ctrl-C: engines load from here by `HF_ENDPOINT`.

    Callers send a key of this installation, which every client of the hub does that finds it in `HF_TOKEN`. Models that
    the licence policy does not allow are not served. The gateway does not notice: this is a process of its own.

    Example: changeover library serve --port 8101
    """
    serving().serve_library(host, port, open_door, as_json)
