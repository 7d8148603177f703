"""Keeping a good case: a sample is added to a task's dataset, by whom and from where, whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from changeover.app.installation import Installation
from changeover.core.errors import DatasetError
from changeover.core.ids import new_id
from changeover.evals.datasets import Dataset, Message, Sample, Target
from changeover.evals.datasets.diff import SHOWN
from changeover.evals.datasets.read import inputs_of, parse_sample, read_json, read_text
from changeover.evals.datasets.similar import plain_text
from changeover.evals.datasets.write import line_of, write_text
from changeover.evals.scorers import ScorerSpec
from changeover.evals.scorers.spec import explain
from changeover.rollouts.actions import By
from changeover.store.audit import note
from changeover.tasks.declarations import Task, find_task

BESIDE = "kept.jsonl"
"""Where cases of a task are kept whose dataset is not its own, or no JSONL: in `evals/TASK`."""
MOST_TAGS = 20


@dataclass(frozen=True, kw_only=True)
class Case:
    """What was asked, and what a good answer is, as a person says."""

    messages: Sequence[Message]
    target: str
    """A text; or a JSON object, where the task's scorer reads one."""
    tags: Sequence[str]
    source: str
    """Where it comes from, for people."""
    tools: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What was written, and where."""

    id: str
    path: str
    """From the project's root."""
    is_dataset: bool
    """Whether the task is measured by that file; else it has to be named in the task, or moved into what is."""
    samples: int
    """In that file now."""


def place_for(task: Task, installation: Installation) -> tuple[Path, bool]:
    """The file that a case of a task goes into, and whether that is the task's dataset."""
    root, dataset, plainly = installation.project.root.resolve(), task.dataset.resolve(), os.path.normpath(task.dataset)
    others = (other.dataset for name, other in installation.tasks.items() if name != task.name)
    if plainly not in map(os.path.normpath, others) and dataset.suffix == ".jsonl" and dataset.is_relative_to(root):
        return dataset, True
    return root / "evals" / task.name / BESIDE, False


def shape_of(task: Task) -> str:
    """Another sample's target, short: what the task's scorer reads looks like it. Empty where there is none to see."""
    try:
        return _shape(task.dataset, task.input_template, task.dataset.stat().st_mtime_ns)
    except (DatasetError, OSError):
        return ""


@lru_cache(maxsize=64)
def _shape(path: Path, template: str | None, changed: int) -> str:
    del changed
    target = Dataset.load(path, template=template).samples[0].target
    text = target if isinstance(target, str) else json.dumps(dict(target), ensure_ascii=False)
    return text if len(text) <= 4 * SHOWN else f"{text[: 4 * SHOWN]}…"


def keep(installation: Installation, name: str, case: Case, by: By) -> Kept:
    """Add a case to the dataset of a task.

    Raises:
        UnknownTaskError: There is no such task.
        DatasetError: The task's scorer cannot read the target, its dataset asks the same already, or a file cannot be
            read or written. Nothing was changed.
    """
    task = find_task(installation.tasks, name)
    path, is_dataset = place_for(task, installation)
    with _turn(path), _put_back(path), installation.store.write() as connection:
        before = read_text(path) if path.is_file() else ""
        there = _samples(path, task) if before.strip() else ()
        others = [*there, *(() if is_dataset else _those_of(task))]
        line, sample = _checked(task, case, others[0].target if others else None)
        _refuse_repeat(task, sample, others)
        relative = os.path.relpath(path, installation.project.root.resolve())
        note(
            connection,
            at=by.now,
            actor=by.actor,
            action="keep",
            subject=f"sample {sample.id}",
            task=task.name,
            reason=by.reason,
            detail={"file": relative, "source": case.source},
        )
        written = json.dumps(line, ensure_ascii=False)
        write_text(path, f"{before.rstrip()}\n{written}\n".lstrip("\n"), force=True)
    return Kept(id=sample.id, path=relative, is_dataset=is_dataset, samples=len(there) + 1)


@contextmanager
def _turn(path: Path) -> Generator[None]:
    """Keep everybody else who would add to a file waiting."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        directory = os.open(path.parent, os.O_RDONLY)
    except OSError as exc:
        raise DatasetError(f"Cannot write `{path}`: {exc.strerror}.") from exc
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


@contextmanager
def _put_back(path: Path) -> Generator[None]:
    """Have a file as it was if what follows fails."""
    before = path.read_bytes() if path.is_file() else None
    try:
        yield
    except BaseException:
        if before is None:
            path.unlink(missing_ok=True)
        elif path.read_bytes() != before:
            path.write_bytes(before)
        raise


def _samples(path: Path, task: Task) -> tuple[Sample, ...]:
    return Dataset.load(path, template=task.input_template).samples


def _those_of(task: Task) -> tuple[Sample, ...]:
    """Samples of a task's own dataset; none where it cannot be read."""
    try:
        return _samples(task.dataset, task)
    except DatasetError:
        return ()


def _checked(task: Task, case: Case, like: Target | None) -> tuple[dict[str, Any], Sample]:
    """The line of a case, and its sample, that every scorer of its task can read.

    Args:
        task: Whose dataset it goes into.
        case: As a person wrote it.
        like: Another sample's target: whether that is a text or an object says how this one is read. None: there is none.

    Raises:
        DatasetError: One cannot.
    """
    messages = _without_prompt(case.messages, task.prompt)
    line: dict[str, Any] = {
        "id": new_id("kept"),
        "input": [{"role": message.role, "content": message.content} for message in messages],
        "tools": list(case.tools),
        "tags": list(dict.fromkeys(case.tags))[:MOST_TAGS],
        "source": case.source,
    }
    inputs = inputs_of(task.input_template)
    refusal: DatasetError | None = None
    for target in _targets(case.target, like):
        sample = parse_sample({**line, "target": target}, f"`{task.name}`", inputs)
        refused = _unreadable(task, sample)
        refusal = refusal or refused
        if refused is None:
            written = line_of(sample)
            return written if inputs.texts else {**written, "input": line["input"]}, sample
    raise refusal or DatasetError(f"`{task.name}`: the sample has no target. Say what a good answer is.")


def _targets(text: str, like: Target | None) -> list[Target]:
    """What a text may mean as a target, the likelier first.

    >>> _targets('{"all": ["ok"]}', {"all": ["yes"]}), _targets("ok", {"all": ["yes"]}), _targets("{}", "yes")
    ([{'all': ['ok']}], ['ok'], ['{}'])
    """
    if not text.strip():
        return []
    try:
        value = read_json(text, "target")
    except DatasetError:
        value = None
    if not isinstance(value, dict) or not value:
        return [text]
    found = cast("dict[str, Any]", value)
    if like is None:
        return [found, text]
    return [text, found] if isinstance(like, str) else [found]


def _unreadable(task: Task, sample: Sample) -> DatasetError | None:
    """Why a scorer of a task cannot read a sample's target; None: all can."""
    for declared in (task.declared.scorer, *task.declared.measures):
        spec = ScorerSpec(name=declared.name, options=declared.options, directory=task.file.parent)
        try:
            spec.read_target(sample)
        except ValueError as exc:
            return DatasetError(f"`{task.name}`: {explain(exc, spec, sample)} Nothing was kept.")
    return None


def _without_prompt(messages: Sequence[Message], prompt: str) -> Sequence[Message]:
    """Without a system's message that is the task's own prompt: the gateway puts that before every question."""
    first = messages[0] if messages else None
    if first is not None and first.role == "system" and (first.content or "").strip() == prompt.strip():
        return messages[1:]
    return messages


def _refuse_repeat(task: Task, sample: Sample, there: Sequence[Sample]) -> None:
    """Refuse a sample that asks what another one asks.

    Raises:
        DatasetError: It does.
    """
    plain = plain_text(sample.text)
    for other in there:
        if other.asked == sample.asked or (plain and plain_text(other.text) == plain):
            raise DatasetError(
                f"The dataset of `{task.name}` asks the same already: sample `{other.id}`. Nothing was kept; correct "
                "that sample's target in its file if it is wrong."
            )
