"""The demo's command: a fresh project, the acts in their order, the report."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from changeover.app.installation import open_installation
from changeover.app.shipped_tools import add_tools
from changeover.cli.demo.acts import Stage, answer_tasks, compare_both, switch_under_load
from changeover.cli.demo.child import running_system
from changeover.cli.demo.report import REPORT_FILE, Report, print_summary
from changeover.cli.demo.tools import SHOWN, run_tools
from changeover.cli.frame import EXIT_FAIL, EXIT_PASS, Json, end, err, out, print_json
from changeover.cli.init import make_project
from changeover.cli.weights import fetch
from changeover.core.settings import STATE_DIRECTORY, cache_directory, open_project
from changeover.core.sizes import in_mib
from changeover.library.catalogue import Catalogue

app = typer.Typer(add_completion=False)

SMALL, BETTER, LARGER = "smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct"
QUICKER_STEPS = {0.05: 0.2, 0.25: 0.5}


@app.command()
def demo(
    full: Annotated[bool, typer.Option("--full", help="Also measure the 1.5B model: another 1.1 GB to fetch.")] = False,
    as_json: Json = False,
) -> None:
    """Show the main job on real small models: answers, evidence, a switch under load, a rollback, two tools.

    Every answer, verdict and number comes from the models as they run here. Takes some minutes on two cores.

    Example: changeover demo
    """
    directory = Path.cwd() / STATE_DIRECTORY / "demo"
    out.quiet = as_json
    out.rule("[bold]Changeover[/]  applications name a task; models change behind it, on evidence", align="left")
    out.print("\n[bold]1  Models[/]")
    names = [SMALL, BETTER, LARGER] if full else [SMALL, BETTER]
    catalogue = Catalogue.load()
    cards = [catalogue.card(name) for name in names]
    for card, path in zip(cards, fetch(cards, cache_directory()), strict=True):
        out.print(f"  {card.id:<30} {in_mib(path.stat().st_size):>10}  {card.licence_id or '–':<11} digest verified")
    shutil.rmtree(directory, ignore_errors=True)
    make_project(directory, port=0)
    add_tools(directory / "tools", SHOWN)
    _quicken(directory / "tasks" / "code.toml")
    report = _play(directory, full)
    Path(REPORT_FILE).write_text(report.to_json())
    print_json(report) if as_json else print_summary(report, directory)
    end(EXIT_PASS if report.failed_requests == report.truncated_streams == 0 else EXIT_FAIL)


def _quicken(task: Path) -> None:
    """Give the candidate larger shares than a bank would, so that the canary takes a minute and not an afternoon."""
    text = task.read_text()
    for declared, quicker in QUICKER_STEPS.items():
        text = text.replace(f"canary = {declared}", f"canary = {quicker}")
    task.write_text(text)


def _play(directory: Path, full: bool) -> Report:
    out.print("\n[bold]2  Gateway and engines[/]  (child processes on this machine)")
    os.environ.setdefault("COLUMNS", str(err.width))
    with running_system(directory) as child:
        installation = open_installation(open_project(directory))
        stage = Stage(installation=installation, address=child.address, key=child.first_key, report=Report.begun())
        child.show(installation)
        answer_tasks(stage)
        compare_both(stage, larger=LARGER if full else None)
        switch_under_load(stage)
        run_tools(stage)
        stage.report.finish()
        return stage.report
