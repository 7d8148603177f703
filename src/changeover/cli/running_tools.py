"""The work of `changeover run`: one run, a job, a conversation; a batch is in `tool_batch`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.status import Status
from rich.text import Text

from changeover.cli.connecting import address_and_key, refusals
from changeover.cli.exits import EXIT_INTERRUPTED
from changeover.cli.frame import err, note, out, plain, print_error, print_json
from changeover.cli.terminal import clean
from changeover.cli.tool_batch import Batch, run_batch
from changeover.cli.tool_inputs import Given, is_file, read_given
from changeover.client import Client, ClientError, Event, Progress, Result, Tool
from changeover.client.values import Chat, cited
from changeover.core.errors import ChangeoverError, ConfigError

LEAVE = ("/exit", "/quit")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says."""

    tool: str | None
    given: tuple[str, ...]
    sets: tuple[str, ...]
    output: str | None
    example: bool
    job: bool
    stream: bool | None
    at_once: int
    again: bool
    url: str | None
    key: str | None
    as_json: bool

    @property
    def streams(self) -> bool:
        """Whether the answer is shown while it is written."""
        if self.as_json or self.output is not None:
            return False
        return out.is_terminal if self.stream is None else self.stream

    @property
    def into_directory(self) -> bool:
        """Whether what is written goes into a directory, under the input's name."""
        return self.output is not None and (self.output.endswith("/") or Path(self.output).is_dir())


def run(options: Options) -> int:
    """Run a tool once, or on each of several files. Returns the exit status."""
    with _connected(options) as client:
        tool = client.tool(options.tool or "")
        given = read_given(tool, options.given, options.sets, example=options.example)
        batch = _batch(tool, given, options)
        if batch is not None:
            return run_batch(batch, *address_and_key(options.url, options.key))
        _check_output(options)
        started = time.perf_counter()
        if options.job:
            job = client.submit(tool.name, **given.inputs)
            note(f"job {job.id} goes on if this ends; pick it up with `changeover run --resume {job.id}`")
            return _wait(client, job.id, options)
        result, said = _followed(client.stream(tool.name, **given.inputs), streams=options.streams)
        _give(result, said, options, time.perf_counter() - started)
    return 0


def resume(job: str, options: Options) -> int:
    """Wait for a job, and give its result. Returns the exit status."""
    _check_output(options)
    with _connected(options) as client:
        return _wait(client, job, options)


def chat(options: Options) -> int:
    """Talk with a tool until the end of the input."""
    with _connected(options) as client:
        tool = client.tool(options.tool or "")
        if tool.chat is None:
            raise ConfigError(f"`{tool.name}` is not made to be talked with. Run it: `changeover run {tool.name} …`.")
        given = read_given(_without(tool, tool.chat), options.given, options.sets, example=False)
        history: list[dict[str, str]] = []
        if tool.chat.greeting and not options.as_json:
            out.print(Text(clean(tool.chat.greeting)))
        for said in _lines():
            heard = {tool.chat.message: said, **({tool.chat.history: tool.recent(history)} if history else {})}
            try:
                result, shown = _followed(client.stream(tool.name, **given.inputs, **heard), streams=options.streams)
            except ClientError as exc:
                print_error(exc.message)
                continue
            if options.as_json:
                print_json(msgspec.to_builtins(result))
            else:
                _show(result, shown)
            history += [{"role": "user", "content": said}, {"role": "assistant", "content": result.text}]
    return 0


def written(result: Result) -> str:
    """A result as the text of a file."""
    return "\n".join([result.text.rstrip(), *(["", *cited(result.citations)] if result.citations else []), ""])


@contextmanager
def _connected(options: Options) -> Generator[Client]:
    with refusals(), Client(*address_and_key(options.url, options.key)) as client:
        yield client


def _batch(tool: Tool, given: Given, options: Options) -> Batch | None:
    if given.many is None and not options.into_directory:
        return None
    if given.many is not None and options.output is not None and Path(options.output).is_file():
        raise ConfigError(f"`{options.output}` is a file, and there are several results. Name a directory.")
    if given.many is None:  # one result, under the name of its file
        named = [(name, value) for name, value in given.inputs.items() if isinstance(value, Path)]
        if not named:
            raise ConfigError(
                f"`{options.output}` is a directory, and no file was given to name the result by. Name a file."
            )
        given = Given(given.inputs, named[0][0], (named[0][1],))
    return Batch(
        tool=tool.name,
        inputs=given.inputs,
        many=given.many or "",
        files=given.files,
        directory=None if options.output is None else Path(options.output),
        extension=tool.extension,
        at_once=options.at_once,
        again=options.again,
        as_json=options.as_json,
        written=written,
    )


def _check_output(options: Options) -> None:
    """Refuse, before anybody is asked, a place where the result could not be written or would take the place of its input."""
    if options.output is None:
        return
    place = Path(options.output)
    if place.is_dir():
        raise ConfigError(f"`-o {place}` is a directory. Name a file in it.")
    if not place.parent.is_dir():
        raise ConfigError(f"`-o {place}`: there is no directory `{place.parent}`. Make it, or name another.")
    if not os.access(place if place.exists() else place.parent, os.W_OK):
        raise ConfigError(f"`-o {place}` may not be written. Name another file.")
    given = [*options.given, *(said.partition("=")[2].removeprefix("@") for said in options.sets)]
    if any(is_file(each) and Path(each).resolve() == place.resolve() for each in given):
        raise ConfigError(f"`-o {place}` is what the tool shall read. Name another file.")


def _wait(client: Client, job: str, options: Options) -> int:
    started = time.perf_counter()
    try:
        with _progress() as shows:
            result = client.wait(job, shows)
    except KeyboardInterrupt:
        note(f"job {job} goes on; pick it up with `changeover run --resume {job}`")
        return EXIT_INTERRUPTED
    _give(result, "", options, time.perf_counter() - started)
    return 0


def _followed(events: Iterable[Event], *, streams: bool) -> tuple[Result, str]:
    """The result of a run, and what of its text was shown on the way."""
    said: list[str] = []
    with _progress() as shows:
        for event in events:
            if isinstance(event, Result):
                return event, "".join(said)
            if isinstance(event, Progress):
                shows(event)
            elif streams and event.piece:
                shows(None)
                out.print(Text(clean(event.piece)), end="")
                out.file.flush()
                said.append(event.piece)
    raise ClientError("The gateway ended the run without a result. Run it again.")


@contextmanager
def _progress() -> Generator[Callable[[Progress | None], None]]:
    """One line on a terminal that says how far a run is; None takes it away, for good."""
    if not err.is_terminal:
        yield lambda _: None
        return
    with Status("begins", console=err) as status:

        def show(progress: Progress | None) -> None:
            if progress is None:
                status.stop()
            else:
                status.update(plain(progress))

        yield show


def _give(result: Result, said: str, options: Options, seconds: float) -> None:
    if options.output is not None:
        text = msgspec.json.format(msgspec.json.encode(result)).decode() if options.as_json else written(result)
        _put(Path(options.output), text)
        note(f"wrote {options.output}")
        _warn(result)
    elif options.as_json:
        print_json(msgspec.to_builtins(result))
    else:
        _show(result, said)
    for line in who_answered(result.answered_by, seconds):
        note(line)


def _put(place: Path, text: str) -> None:
    """Write a result to its file; where that fails after all, to standard output rather than nowhere."""
    try:
        place.write_text(text)
    except OSError as exc:
        out.print(Text(clean(text)), end="")
        raise ChangeoverError(
            f"`{place}` could not be written: {exc.strerror or exc}. The result stands on standard output."
        ) from exc


def who_answered(answered_by: Iterable[dict[str, Any]], seconds: float) -> list[str]:
    """A line for each task that was asked, and the time of the whole run, once."""
    who = [f"{each['task']} by {each['deployment']}, calls: {each['calls']}" for each in answered_by]
    return [f"{who[0]} · {seconds:.1f} s"] if len(who) == 1 else [*who, f"{seconds:.1f} s in all"]


def _show(result: Result, said: str) -> None:
    """A result for a person; `said` of its text stands there already."""
    if said and said.strip() != result.text.strip():
        note("\nafter the checks:")
        said = ""
    out.print(Text("" if said else clean(result.text)))
    for line in cited(result.citations):
        out.print(Text(clean(line), "dim"))
    _warn(result)


def _warn(result: Result) -> None:
    for problem in result.problems:
        err.print(f"[yellow]warning[/] {plain(problem)}")


def _without(tool: Tool, chat: Chat) -> Tool:
    """The tool without the inputs that a conversation gives it."""
    taken = {chat.history, chat.message}
    properties: dict[str, Any] = tool.inputs["properties"]
    inputs = {
        **tool.inputs,
        "properties": {name: schema for name, schema in properties.items() if name not in taken},
        "required": [name for name in tool.inputs.get("required", []) if name not in taken],
    }
    return msgspec.structs.replace(tool, inputs=inputs)


def _lines() -> Generator[str]:
    """What a person says, line by line, until the end of the input."""
    while True:
        if sys.stdin.isatty():
            err.print("[bold]>[/] ", end="")
        line = sys.stdin.readline()
        if not line or line.strip() in LEAVE:
            return
        if line.strip():
            yield line.strip()
