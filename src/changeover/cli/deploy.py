"""`changeover deploy`: a model running under a name."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.deploying")

app = typer.Typer(add_completion=False)


@app.command()
def deploy(
    model: Annotated[
        str,
        typer.Argument(
            help="A card of the library, or with --engine openai the name a server knows it by; or a deployment to run again."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the deployment; by default the model's.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="local, openvino, vllm, sglang, transformers, llama-server, ollama, ray, kunlun, adapter, echo, or openai "
            "for any compatible server; by default what runs the model best here."
        ),
    ] = None,
    replicas: Annotated[
        int, typer.Option(help="So many copies, which Ray runs and spreads requests over.", min=1, max=1024)
    ] = 1,
    on: Annotated[
        str, typer.Option("--on", help="Plan it for other hardware, such as h200x8; nothing is started then.")
    ] = "here",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, and what is missing; change nothing.")
    ] = False,
    url: Annotated[str | None, typer.Option(help="With --engine openai: its base address, up to /v1.")] = None,
    key_env: Annotated[str | None, typer.Option(help="Environment variable that holds that server's key.")] = None,
    host: Annotated[
        str | None, typer.Option(help="With --engine openai and a card that several host: which of them.")
    ] = None,
    slots: Annotated[int | None, typer.Option(help="Requests answered at once.", min=1, max=4096)] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of context for each.", min=256)] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the engine.", min=1)] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Any other option of the engine, as NAME=VALUE; may be repeated.")
    ] = None,
    instead_of: Annotated[
        str | None,
        typer.Option(help="A deployment to stop for it, where memory does not hold both. Its tasks wait meanwhile."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch a model where needed, start it, and wait until it is ready. It gets no traffic by that.

    Without `--engine`, what is installed and runs it best here. `--dry-run` and `--on` only plan: they end with status 0 if
    it can run as planned, 1 if something is missing, 3 if all that is missing are facts that nobody knows.

    Example: changeover deploy qwen2.5-coder-1.5b-instruct --slots 2
    """
    common = {"context_tokens": context, "slots": slots, "threads": threads}
    status = work().deploy(
        work().Ask(
            model=model,
            name=name,
            engine=engine,
            replicas=replicas,
            on=on,
            url=url,
            key_env=key_env,
            host=host,
            common={key: value for key, value in common.items() if value is not None},
            options=option or [],
            instead_of=instead_of,
            dry_run=dry_run,
            as_json=as_json,
        )
    )
    if status:
        raise typer.Exit(status)
