"""A tool on many files: several at once, each result written when it is there, each failure said with its file."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.status import Status

from changeover.cli.frame import EXIT_FAIL, err, out, plain, print_json, run
from changeover.cli.terminal import clean, one_line
from changeover.client import AsyncClient, ClientError, Job, Progress, Result
from changeover.core.errors import ChangeoverError, ConfigError


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What is to be done."""

    tool: str
    inputs: Mapping[str, Any]
    """Of every run."""
    many: str
    """The input that the files are, one in each run."""
    files: tuple[Path, ...]
    directory: Path | None
    """Where results are written; None: they are printed in the end."""
    extension: str
    at_once: int
    again: bool
    """Also what has a result."""
    as_json: bool
    written: Callable[[Result], str]

    def place(self, file: Path) -> Path | None:
        """Where the result of a file is written: under the file's name, with its ending where two differ by that alone."""
        if self.directory is None:
            return None
        stems = [each.stem for each in self.files]
        name = file.stem if stems.count(file.stem) == 1 else file.name
        return self.directory / f"{name}{self.extension}"

    def check(self) -> None:
        """Refuse, before anybody is asked, results that would take the place of each other or of a file that is read.

        Raises:
            ConfigError: Says which.
        """
        places = [place for place in map(self.place, self.files) if place is not None]
        twice = next((place for place in places if places.count(place) > 1), None)
        if twice is not None:
            raise ConfigError(f"Two of the files would both be written to `{twice}`. Run them one after the other.")
        read = {file.resolve() for file in self.files}
        written = [*places, *(_beside(self, place) for place in places if self.as_json)]
        lost = next((place for place in written if place.resolve() in read), None)
        if lost is not None:
            raise ConfigError(f"A result would be written over `{lost}`, which is to be read. Name another directory.")


@dataclass
class _Done:
    """How it went so far."""

    status: Status | None
    failed: dict[str, str] = field(default_factory=dict[str, str])
    results: dict[Path, Result] = field(default_factory=dict[Path, Result])
    skipped: list[Path] = field(default_factory=list[Path])
    under_way: dict[str, str] = field(default_factory=dict[str, str])

    def say(self, file: Path, progress: Progress | str | None) -> None:
        """Keep the line on the terminal up to date."""
        if progress is None:
            self.under_way.pop(str(file), None)
        else:
            self.under_way[str(file)] = f"{file.name}: {progress}"
        if self.status is not None:
            self.status.update(plain("   ".join(self.under_way.values())[: err.width - 4]))


def run_batch(batch: Batch, url: str | None, key: str | None) -> int:
    """Run it. Returns the exit status: 1 where a file failed."""
    batch.check()
    if batch.directory is not None:
        batch.directory.mkdir(parents=True, exist_ok=True)
    status = Status("begins", console=err) if err.is_terminal else None
    done = _Done(status)
    with status or nullcontext():
        run(_all(batch, done, url, key))
    _summary(batch, done)
    return EXIT_FAIL if done.failed else 0


async def _all(batch: Batch, done: _Done, url: str | None, key: str | None) -> None:
    turns = asyncio.Semaphore(batch.at_once)
    async with AsyncClient(url, key) as client, asyncio.TaskGroup() as group:
        for file in batch.files:
            place = batch.place(file)
            if place is not None and _is_there(batch, place) and not batch.again:
                done.skipped.append(file)
                _line(batch, f"[dim]·[/] {one_line(file)}  [dim]has a result: {one_line(place)}[/]")
            else:
                group.create_task(_one(batch, file, client, turns, done))


async def _one(batch: Batch, file: Path, client: AsyncClient, turns: asyncio.Semaphore, done: _Done) -> None:
    """Run one file, as a job: it waits for its turn where the gateway is busy."""
    async with turns:
        started = time.perf_counter()
        done.say(file, "begins")
        try:
            job = await client.submit(batch.tool, **{**batch.inputs, batch.many: file})
            result = await _result(file, job, client, done)
            _keep(batch, file, job, result)
            with suppress(ClientError):  # then it is deleted when its time is over
                await client.cancel(job.id)  # what it gave is here, and need not lie there too
        except (ChangeoverError, OSError) as exc:
            reason = exc.message if isinstance(exc, ChangeoverError) else f"{exc.strerror or exc}."
            done.failed[clean(file)] = reason
            _line(batch, f"[red]✗[/] {one_line(file)}  {plain(reason)}")
        else:
            done.results[file] = result
            problems = f"  [yellow]{plain('; '.join(result.problems))}[/]" if result.problems else ""
            where = "" if batch.directory is None else f" → {one_line(batch.place(file))}"
            _line(batch, f"[green]✓[/] {one_line(file)}{where}  {time.perf_counter() - started:.1f} s{problems}")
        finally:
            done.say(file, None)


async def _result(file: Path, job: Job, client: AsyncClient, done: _Done) -> Result:
    try:
        return await client.wait(job.id, lambda progress: done.say(file, progress))
    except asyncio.CancelledError:
        await client.cancel(job.id)
        raise


def _is_there(batch: Batch, place: Path) -> bool:
    return place.exists() and (not batch.as_json or _beside(batch, place).exists())


def _beside(batch: Batch, place: Path) -> Path:
    """Where the whole result of a file is written, beside its text."""
    return place.with_name(f"{place.name.removesuffix(batch.extension)}.json")


def _keep(batch: Batch, file: Path, job: Job, result: Result) -> None:
    """Write a result to its place, if it has one. Where that fails, it stays where it is.

    Raises:
        ConfigError: It cannot be written; says where it is.
    """
    place = batch.place(file)
    if place is None:
        return
    try:
        if batch.as_json:
            _whole(_beside(batch, place), _json(result))
        _whole(place, batch.written(result))
    except OSError as exc:
        raise ConfigError(
            f"`{place}` could not be written: {exc.strerror or exc}. The result is kept for a while: "
            f"`changeover run --resume {job.id}` gives it."
        ) from exc


def _whole(place: Path, text: str) -> None:
    """Write a file whole or not at all: one that is there counts as done."""
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(place)


def _json(result: Result) -> str:
    return msgspec.json.format(msgspec.json.encode(result)).decode() + "\n"


def _line(batch: Batch, line: str) -> None:
    _lines_to(batch).print(line)


def _lines_to(batch: Batch) -> Console:
    """Lines are the result where results are written to files; else they are on the way to it."""
    return err if batch.directory is None or batch.as_json else out


def _summary(batch: Batch, done: _Done) -> None:
    if batch.as_json:
        print_json(
            {
                "tool": batch.tool,
                "done": {clean(file): _given(batch, file, result) for file, result in done.results.items()},
                "skipped": [clean(file) for file in done.skipped],
                "failed": done.failed,
            }
        )
    elif batch.directory is None:
        for file in batch.files:
            if file in done.results:
                out.print(f"[bold]{one_line(file)}[/]\n{plain(batch.written(done.results[file]))}")
    counts = {"done": len(done.results), "there already": len(done.skipped), "failed": len(done.failed)}
    err.print(f"[dim]{', '.join(f'{count} {what}' for what, count in counts.items() if count)}[/]")


def _given(batch: Batch, file: Path, result: Result) -> Any:
    return msgspec.to_builtins(result) if batch.directory is None else clean(batch.place(file))
