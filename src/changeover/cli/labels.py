"""`changeover labels`: people judge some of the answers, so that it is known how far a judge can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from changeover.app.matching import spec_of
from changeover.cli.frame import Json, actor, note, out, plain, print_json
from changeover.cli.running import opened
from changeover.core.errors import ConfigError, GateError
from changeover.evals.datasets import Dataset
from changeover.evals.datasets.queries import find_version
from changeover.evals.judges.labels import PairLabel, ScoreLabel, append_labels, merge_labels, read_labels
from changeover.evals.judges.options import JudgeOptions, RubricOptions, labels_file
from changeover.evals.judges.queries import answered_samples
from changeover.evals.judges.sheets import answer_sheet, pair_sheet, read_sheet
from changeover.evals.queries import find_comparison
from changeover.tasks.declarations import Task, find_task

app = typer.Typer(
    add_completion=False, help="Let people judge: a blind sheet out, their labels in.", no_args_is_help=True
)


@app.command("export")
def export_sheet(
    comparison: Annotated[str, typer.Argument(help="The comparison whose answers are judged.")],
    to: Annotated[Path, typer.Option(help="The CSV file to write.")],
    n: Annotated[int, typer.Option(help="Samples, drawn at random.", min=1)] = 30,
    as_json: Json = False,
) -> None:
    """Write a blind sheet: answers in random order, without the names of those who gave them.

    For a task that is scored by `rubric`, each answer stands alone and gets a level; else the two answers to a sample
    stand side by side and one is preferred. What has a label already is left out.

    Example: changeover labels export cmp-01k2 --n 30 --to sheet.csv
    """
    installation = opened()
    with installation.store.read() as connection:
        found = find_comparison(connection, comparison)
        task = find_task(installation.tasks, found.task)
        dataset = find_version(connection, found.dataset) or _dataset(task)
        answered = answered_samples(connection, found.id, dataset)
    options = _judging(task)
    path = None if options is None else labels_file(options, task.file.parent)
    labels = () if path is None else read_labels(path)
    if isinstance(options, RubricOptions):
        scored = {label.answer for label in labels if isinstance(label, ScoreLabel)}
        text, rows = answer_sheet(answered, most=n, seed=found.id, known=scored)
    else:
        compared = {frozenset((label.a, label.b)) for label in labels if isinstance(label, PairLabel)}
        text, rows = pair_sheet(answered, most=n, seed=found.id, known=compared)
    if not rows:
        raise GateError(f"Comparison `{comparison}` has no answers that differ and have no label yet.")
    # Spreadsheet programs take a file without the mark for another encoding than UTF-8.
    to.write_text(text, encoding="utf-8-sig", newline="")
    if as_json:
        print_json({"sheet": to, "rows": rows, "comparison": found.id, "task": task.name})
        return
    column = "`level`" if isinstance(options, RubricOptions) else "`preferred` with a, b or tie"
    out.print(f"{rows} rows in {plain(to)}. Fill in {column}; leave a row empty to skip it.")
    if isinstance(options, RubricOptions):
        for number, level in enumerate(options.levels, start=1):
            out.print(f"  {number}  {plain(level)}")
    out.print(f"Next  changeover labels import {plain(to)} --task {task.name}")


@app.command("import")
def import_sheet(
    sheet: Annotated[Path, typer.Argument(help="The sheet that was filled in.")],
    task: Annotated[str, typer.Option(help="The task that it is about.")],
    by: Annotated[str | None, typer.Option(help="Who judged; by default you.")] = None,
    as_json: Json = False,
) -> None:
    """Check a sheet and add what people said to the task's labels. All of it, or nothing where a row is wrong.

    Example: changeover labels import sheet.csv --task summarise --by kim
    """
    installation = opened()
    declared = find_task(installation.tasks, task)
    path = _labels_path(declared)
    options = _judging(declared)
    filled = read_sheet(
        sheet,
        by=by or actor(),
        levels=len(options.levels) if isinstance(options, RubricOptions) else None,
        samples={sample.id for sample in _dataset(declared).samples},
    )
    known = read_labels(path)
    added = merge_labels(known, filled.labels)
    if added:
        append_labels(path, added)
    if as_json:
        print_json({"labels": path, "added": len(added), "known": len(known), "empty": filled.empty})
        return
    out.print(f"{len(added)} labels added to {plain(path)}, {len(known) + len(added)} in all")
    if again := len(filled.labels) - len(added):
        note(f"{again} were there already")
    if filled.empty:
        note(f"{filled.empty} rows are empty")


def _judging(task: Task) -> JudgeOptions | None:
    """Options of the first of the task's scorers that asks a judge itself; what decides comes before the measures."""
    for declared in (task.declared.scorer, *task.declared.measures):
        options = spec_of(task, declared).parsed_options
        if isinstance(options, JudgeOptions):
            return options
    return None


def _labels_path(task: Task) -> Path:
    options = _judging(task)
    if options is None:
        raise ConfigError(f"{task.file}: no scorer `pairwise` or `rubric`, so labels correct nothing. Declare one.")
    path = labels_file(options, task.file.parent)
    if path is None:
        suggested = f"../evals/{task.name}/labels.jsonl"
        raise ConfigError(
            f'{task.file}: the judging scorer names no file. Add `labels = "{suggested}"` to its options.'
        )
    return path


def _dataset(task: Task) -> Dataset:
    return Dataset.load(task.dataset, template=task.input_template)
