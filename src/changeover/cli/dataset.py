"""`changeover dataset`: import cases, look at them, draw them from traffic, see what changed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from changeover.app.installation import was_started
from changeover.cli.frame import EXIT_FAIL, Json, end, here, note, out, plain, print_json
from changeover.cli.running import opened
from changeover.core.errors import ChangeoverError, ConfigError, DatasetError
from changeover.core.settings import Project
from changeover.evals.datasets import UNLABELLED, Dataset, Sample
from changeover.evals.datasets.check import About, Finding, check
from changeover.evals.datasets.diff import Difference, diff
from changeover.evals.datasets.importers import Choice, Format, Imported, import_sources, samples_of
from changeover.evals.datasets.new_task import NewTask, Scoring, files_of, scoring_for
from changeover.evals.datasets.queries import edited_in_place, newest_version
from changeover.evals.datasets.read import inputs_of
from changeover.evals.datasets.traffic import Drawn, draw_from_traffic
from changeover.evals.datasets.write import refuse_existing, write_dataset, write_text
from changeover.evals.scorers import ScorerSpec
from changeover.evals.sequential import TestPlan
from changeover.library.catalogue import Catalogue
from changeover.store.engine import Store
from changeover.tasks.declarations import TASK_NAME, ScorerDeclaration, Task, find_task, load_all_tasks, load_task

app = typer.Typer(
    add_completion=False, help="Import, check, compare and draw the cases of a task.", no_args_is_help=True
)

ECHO = "echo"
SHOWN = 8
"""Things of a kind that are listed; the rest is counted."""
SINCE = re.compile(r"(\d+)([mhdw])")
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

To = Annotated[Path | None, typer.Option("--to", help="File to write, JSONL.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there already.")]


@app.command("check")
def check_command(
    what: Annotated[str, typer.Argument(metavar="TASK|FILE", help="A task, or a dataset's file.")],
    as_json: Json = False,
) -> None:
    """Look for what makes a dataset say less than it seems to: repeats, leaks, too few samples, unreadable targets.

    Ends with 1 if something must be mended, else with 0.

    Example: changeover dataset check summarise
    """
    dataset, findings = _check_file(Path(what)) if _is_file(what) else _check_task(what)
    failed = any(finding.severity == "error" for finding in findings)
    if as_json:
        print_json({"dataset": dataset.digest, "samples": len(dataset.samples), "findings": findings})
    else:
        _show_findings(dataset, findings)
    if failed:
        end(EXIT_FAIL)


@app.command("diff")
def diff_command(
    old: Annotated[str, typer.Argument(metavar="OLD|TASK", help="A dataset's file; or a task, for what was scored.")],
    new: Annotated[Path | None, typer.Argument(help="Another file.")] = None,
    as_json: Json = False,
) -> None:
    """Show which samples were added, removed and changed, between two files or since a task's dataset was scored.

    Example: changeover dataset diff evals/code/v1.jsonl evals/code/v2.jsonl
    """
    before, after = _versions(old, new)
    difference = diff(before, after)
    if as_json:
        print_json({"old": before.digest, "new": after.digest, **_plain(difference)})
    else:
        _show_difference(difference)


@app.command("import")
def import_command(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE…", help="Files, or directories of files.")],
    to: To = None,
    format: Annotated[Format | None, typer.Option(help="By default as the content looks.")] = None,
    input: Annotated[list[str] | None, typer.Option(help="CSV column; several are variables of a template.")] = None,
    target: Annotated[str | None, typer.Option(help="CSV column of the right answer.")] = None,
    id: Annotated[str | None, typer.Option(help="CSV column of the case's name.")] = None,
    tags: Annotated[list[str] | None, typer.Option(help="CSV column of tags.")] = None,
    cluster: Annotated[str | None, typer.Option(help="CSV column of what belongs together.")] = None,
    map: Annotated[list[str] | None, typer.Option(help="JSON: FIELD=dotted.path, such as target=answer.text.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that cannot be used.")] = False,
    force: Force = False,
    new_task: Annotated[str | None, typer.Option(help="Also declare a task of this name.")] = None,
    first: Annotated[str | None, typer.Option(help="The new task's first model, or `echo`.")] = None,
    scorer: Annotated[str | None, typer.Option(help="The new task's scorer; by default fit to the targets.")] = None,
    as_json: Json = False,
) -> None:
    """Turn cases that you have into a dataset: CSV, JSON, promptfoo's tests, inspect_ai's logs, BFCL's files.

    Example: changeover dataset import cases/ --to evals/triage/v1.jsonl --new-task triage --first smollm2-135m-instruct
    """
    columns = {"input": input, "target": [target], "id": [id], "tags": tags, "cluster": [cluster]}
    choice = Choice(
        columns={name: tuple(one for one in chosen or () if one) for name, chosen in columns.items()},
        paths=_paths(map or ()),
        skip_bad=skip_bad,
    )
    project = None if new_task is None else _place_for(new_task, first, force=force)
    place = _place(to, project, new_task)
    refuse_existing(place, force=force)
    found = import_sources(sources, choice, format)
    samples = samples_of(found)
    if new_task is None or project is None or first is None:
        write_dataset(place, samples, force=force)
        files = [place]
    else:
        scoring = _scoring(samples, found, scorer)
        new = NewTask(
            name=new_task,
            tasks=project.tasks,
            dataset=place,
            samples=samples,
            first=first,
            scoring=scoring,
            prompt=found.prompt,
            template=found.template,
        )
        files = _write_task(new, force=force)
    if as_json:
        print_json({"samples": len(samples), "skipped": found.bad, "notes": found.notes, "files": files})
        return
    _show_imported(found, samples, files, new_task)


@app.command("from-traffic")
def from_traffic(
    task: Annotated[str, typer.Argument(help="A task that records its requests in full.")],
    since: Annotated[str, typer.Option(help="How far back: `24h`, `7d`, `4w`, or a date.")] = "7d",
    n: Annotated[int, typer.Option("--n", help="Samples, if there are so many.", min=1, max=5_000)] = 300,
    to: To = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw a dataset from what applications really asked: by kind and length, without repeats, personal data masked.

    Example: changeover dataset from-traffic summarise --since 7d --n 300
    """
    installation = opened()
    declared = find_task(installation.tasks, task)
    if declared.declared.record != "full":
        raise ConfigError(
            f'`{task}` keeps no content of its requests. Set `record = "full"` in {declared.file} and restart '
            "`changeover up`; requests from then on can be drawn."
        )
    now = installation.clock.now()
    place = to or installation.project.root / "evals" / task / f"traffic-{now:%Y-%m-%d}.jsonl"
    refuse_existing(place, force=force)
    with installation.store.read() as connection:
        drawn = draw_from_traffic(connection, task, _moment(since, now), n)
    write_dataset(place, drawn.samples, force=force)
    if as_json:
        counts = {"requests": drawn.requests, "unusable": drawn.unusable, "repeats": drawn.repeats}
        print_json({"file": place, "samples": len(drawn.samples), **counts, "masked": drawn.masked})
    else:
        _show_drawn(drawn, place, n)


def _is_file(name: str) -> bool:
    return name.endswith(".jsonl") or "/" in name or Path(name).is_file()


def _check_file(path: Path) -> tuple[Dataset, list[Finding]]:
    dataset = Dataset.load_unrendered(path)
    return dataset, check(dataset, About())


def _check_task(name: str) -> tuple[Dataset, list[Finding]]:
    project = here()
    task = find_task(load_all_tasks(project.tasks, project.tools), name)
    dataset = Dataset.load(task.dataset, template=task.input_template)
    gate = task.declared.gate
    plan = TestPlan(
        margin=gate.margin,
        alpha=gate.alpha,
        beta=gate.beta,
        max_samples=gate.max_samples,
        min_samples=gate.min_samples,
    )
    scorers = [_spec(task, declared) for declared in (task.declared.scorer, *task.declared.measures)]

    def read_target(sample: Sample) -> None:
        for scorer in scorers:
            scorer.read_target(sample)

    about = About(prompt=task.prompt, plan=plan, read_target=read_target, scorer=task.declared.scorer.name)
    return dataset, [*_edited(project, dataset), *check(dataset, about)]


def _spec(task: Task, declared: ScorerDeclaration) -> ScorerSpec:
    return ScorerSpec(name=declared.name, options=declared.options, directory=task.file.parent)


def _edited(project: Project, dataset: Dataset) -> list[Finding]:
    if not was_started(project):
        return []  # never started: nothing was scored
    store = Store.open(project.store_url)
    with store.read() as connection:
        changed = edited_in_place(connection, dataset)
    if not changed:
        return []
    message = (
        f"{len(changed)} samples changed after they were scored, the first `{changed[0]}`. Write the change to a new "
        "file and name it in the task."
    )
    return [Finding(severity="error", kind="edited", message=message, samples=tuple(changed))]


def _show_findings(dataset: Dataset, findings: Sequence[Finding]) -> None:
    colours = {"error": "red", "warning": "yellow", "note": "dim"}
    out.print(f"{plain(dataset.path)}: {len(dataset.samples)} samples")
    shown: dict[tuple[str, str], int] = {}
    for finding in findings:
        key = (finding.severity, finding.kind)
        shown[key] = shown.get(key, 0) + 1
        if shown[key] <= SHOWN:
            colour = colours[finding.severity]
            out.print(f"  [{colour}]{finding.severity:<8}[/] {plain(finding.message)}")
    for (severity, kind), count in shown.items():
        if count > SHOWN:
            out.print(f"  {severity:<8} … and {count - SHOWN} more of kind `{kind}`")
    if not findings:
        out.print("  nothing found")


def _versions(old: str, new: Path | None) -> tuple[Dataset, Dataset]:
    if new is not None:
        return Dataset.load_unrendered(Path(old)), Dataset.load_unrendered(new)
    if _is_file(old):
        raise ConfigError("Name two files, or a task to compare its file with what was scored.")
    installation = opened()
    task = find_task(installation.tasks, old)
    with installation.store.read() as connection:
        kept = newest_version(connection, task.dataset)
    if kept is None:
        raise ChangeoverError(f"Nothing of `{task.declared.dataset}` was scored yet, so no version of it was kept.")
    return kept, Dataset.load(task.dataset, template=task.input_template)


def _plain(difference: Difference) -> dict[str, object]:
    return {
        "added": difference.added,
        "removed": difference.removed,
        "changed": difference.changed,
        "unchanged": difference.unchanged,
    }


def _show_difference(difference: Difference) -> None:
    for sign, colour, ids in (("+", "green", difference.added), ("-", "red", difference.removed)):
        for id in ids[:SHOWN]:
            out.print(f"[{colour}]{sign}[/] {plain(id)}")
        if len(ids) > SHOWN:
            out.print(f"[{colour}]{sign}[/] … and {len(ids) - SHOWN} more")
    for change in difference.changed[:SHOWN]:
        out.print(f"[yellow]~[/] {plain(change.id)}")
        for one in change.fields:
            out.print(f"    {plain(one.field)}: {plain(one.before or '–')} → {plain(one.after or '–')}")
    if len(difference.changed) > SHOWN:
        out.print(f"[yellow]~[/] … and {len(difference.changed) - SHOWN} more")
    counts = (len(difference.added), len(difference.removed), len(difference.changed), difference.unchanged)
    out.print("{} added, {} removed, {} changed, {} unchanged".format(*counts))


def _paths(pairs: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals or not name or not path:
            raise ConfigError(f"`--map {pair}`: FIELD=path is expected, such as `target=answer.text`.")
        found[name] = path
    return found


def _place(to: Path | None, project: Project | None, new_task: str | None) -> Path:
    if to is not None:
        return to
    if project is None:
        raise ConfigError("Where to? Say `--to evals/NAME/v1.jsonl`, or `--new-task NAME` for a task with it.")
    return project.root / "evals" / str(new_task) / "v1.jsonl"


def _place_for(name: str, first: str | None, *, force: bool) -> Project:
    """The project that a new task comes into.

    Raises:
        ConfigError: The name cannot be a task's, no first model is said, or the task is there already.
        UnknownModelError: The library has no such model.
    """
    project = here()
    if not TASK_NAME.fullmatch(name):
        raise ConfigError(
            f"`{name}` cannot be a task's name: lower-case letters, digits, `.`, `_` and `-`, at most 64."
        )
    if first is None:
        raise ConfigError("Who answers the new task first? Say `--first MODEL`; `changeover models` lists them.")
    if first != ECHO:
        Catalogue.load(project.cards).card(first)
    for ending in ("toml", "prompt.md", "input.md"):
        refuse_existing(project.tasks / f"{name}.{ending}", force=force)
    return project


def _scoring(samples: Sequence[Sample], found: Imported, scorer: str | None) -> Scoring:
    chosen = scoring_for(samples, found.scorer, found.options)
    if scorer is not None and scorer != chosen.name:
        chosen = Scoring(name=scorer, options={}, about="chosen at the import")
    spec = ScorerSpec(name=chosen.name, options=dict(chosen.options))
    for sample in samples:
        try:
            spec.read_target(sample)
        except ValueError as exc:
            reason = " ".join(str(exc).split())
            raise DatasetError(
                f"The scorer `{chosen.name}` cannot read the target of `{sample.id}`: {reason}. Choose another with "
                "`--scorer`; the reference of scorers says what each reads."
            ) from exc
    return chosen


def _write_task(new: NewTask, *, force: bool) -> list[Path]:
    """Write dataset and task, and load them again: they work, or nothing of them is left."""
    texts = files_of(new)
    inputs = inputs_of(texts.get(new.tasks / f"{new.name}.input.md"))
    for sample in new.samples:
        if sample.variables is not None:
            try:
                inputs.draw(sample.variables)
            except ValueError as exc:
                raise DatasetError(f"Sample `{sample.id}`: {exc}.") from exc
    written: list[Path] = []
    try:
        write_dataset(new.dataset, new.samples, force=force)
        written.append(new.dataset)
        for file, text in texts.items():
            write_text(file, text, force=force)
            written.append(file)
        task = load_task(new.tasks / f"{new.name}.toml")
        dataset = Dataset.load(task.dataset, template=task.input_template)
        spec = _spec(task, task.declared.scorer)
        for sample in dataset.samples:
            spec.read_target(sample)
    except ChangeoverError:
        for file in written:
            file.unlink(missing_ok=True)
        raise
    return written


def _show_imported(found: Imported, samples: Sequence[Sample], files: Sequence[Path], new_task: str | None) -> None:
    for said in found.notes:
        note(said)
    for said in found.bad[:SHOWN]:
        note(f"skipped: {said}")
    skipped = f", {len(found.bad)} rows skipped" if found.bad else ""
    out.print(f"{len(samples)} samples{skipped}: {', '.join(str(file) for file in files)}")
    if new_task is not None:
        out.print(f"Next  edit tasks/{new_task}.prompt.md, then: changeover dataset check {new_task}")
        out.print(f"      changeover up, and in another terminal: changeover eval {new_task} --samples 20")
        return
    out.print(f"Next  changeover dataset check {files[0]}; then name it in a task: dataset = …")
    if found.scorer is not None:
        out.print(
            f'      its targets are for the scorer "{found.scorer}"'
            + (f" with {found.options}" if found.options else "")
        )
    if any(sample.variables is not None for sample in samples):
        names = sorted({name for sample in samples for name in sample.variables or ()})
        said = found.template or " ".join(f"{{{{ {name} }}}}" for name in names)
        out.print('      the task needs `input = "NAME.input.md"`, a template such as:')
        out.print(plain(said), style=None)


def _moment(since: str, now: datetime) -> datetime:
    match = SINCE.fullmatch(since)
    if match is not None:
        try:
            return now - timedelta(**{UNITS[match[2]]: int(match[1])})
        except OverflowError:
            return datetime(1970, 1, 1, tzinfo=UTC)
    try:
        at = datetime.fromisoformat(since)
    except ValueError:
        raise ConfigError(
            f"`--since {since}`: `30m`, `24h`, `7d`, `4w` or a date such as 2025-11-30 is expected."
        ) from None
    return at.astimezone() if at.tzinfo is None else at


def _show_drawn(drawn: Drawn, place: Path, asked: int) -> None:
    out.print(f"{len(drawn.samples)} of {drawn.requests} recorded requests: {place}")
    if len(drawn.samples) < asked:
        out.print(f"  fewer than {asked}: there are no more that differ; ask for a longer time, or wait")
    if drawn.unusable or drawn.repeats:
        out.print(f"  left out: {drawn.unusable} that a dataset cannot hold, {drawn.repeats} near repeats")
    masked = ", ".join(f"{kind} in {count}" for kind, count in sorted(drawn.masked.items()))
    out.print(
        f"  masked: {masked or 'nothing found'}. Names and addresses are not recognised: read the file before you share it"
    )
    out.print(
        f"  [yellow]no sample has a right answer yet[/] (tag `{UNLABELLED}`): its target is what was answered then. Judges "
        "of pairs and\n  scorers that read no target can use them; for the others write targets and take the tag out"
    )
