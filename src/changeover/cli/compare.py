"""`changeover compare`: is the candidate better, no worse, or worse."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.frame import EXIT_OF_VERDICT, Json, end, out, print_json, run
from changeover.cli.measure import checked_dataset, match_of, measure, verdict_lines
from changeover.cli.running import ensure_running, opened
from changeover.tasks.declarations import find_task

app = typer.Typer(add_completion=False)


@app.command()
def compare(
    task: Annotated[str, typer.Argument(help="The task whose dataset and gate decide.")],
    candidate: Annotated[str, typer.Option(help="A deployment, or a card of the library, which is deployed first.")],
    as_json: Json = False,
) -> None:
    """Measure a candidate against the incumbent until the evidence is enough, and no further.

    Both answer the same samples through the gateway. Answers are kept: an interrupted comparison goes on, and the
    incumbent is never asked twice. Ends with status 0 pass, 1 fail, 3 inconclusive.

    Example: changeover compare code --candidate qwen2.5-coder-0.5b-instruct
    """
    installation = opened()
    checked_dataset(find_task(installation.tasks, task))  # before a candidate is fetched for nothing
    ensure_running(installation, candidate)
    match = match_of(installation, task, candidate)
    id, ended = run(measure(installation, match))
    if as_json:
        print_json({"comparison": id, **vars(ended)})
    else:
        out.print(verdict_lines(id, ended))
        if ended.verdict == "pass":
            out.print(f"      next  changeover switch {task} --to {candidate}")
    end(EXIT_OF_VERDICT[ended.verdict])
