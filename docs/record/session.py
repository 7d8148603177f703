"""The session that is recorded: the real commands in a pseudo-terminal, on a project on echo engines, under load."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.switch.load import Demand, Line, load
from tests.support.processes import Up, system
from tests.support.projects import deploy_echo

from changeover.app.local import operator_key
from changeover.cli.running import wait_ready
from docs.record.cast import COLUMNS, ROWS, Cast, CastError, Output, foreign_words

TASK, INCUMBENT, CANDIDATE = "confirm", "echo-confirm", "confirm-v2"
TITLE = "changeover: a switch under load, on engines without a model"
COMMANDS: Sequence[Sequence[str]] = (
    ("switch", TASK, "--to", CANDIDATE),
    ("rollback", TASK, "--reason", "complaints from the desk"),
    ("history", TASK, "--limit", "3"),
)
PROMPT = "\x1b[36m$\x1b[0m "
KEY_S, READING_S = 0.05, 1.4
"""Between two keys, and between the end of a command and the next one."""
LONGEST_S = 120.0
"""Of a command; one that takes longer is ended."""
CALLERS = (Line(stream=False, period_s=0.1), Line(stream=True, period_s=0.1))
"""Twenty requests a second."""
DELAY_S = 0.5
"""Of an answer, so that there is something to see."""
FILES: Mapping[str, str] = {
    "changeover.toml": 'name = "my-org"\n[gateway]\nport = 0\nready_wait_s = 60\n',
    f"tasks/{TASK}.prompt.md": "Confirm the order by its number.\n",
    f"tasks/{TASK}.toml": f"""\
description = "Confirm an order to who made it."
prompt = "{TASK}.prompt.md"
dataset = "../evals/{TASK}.jsonl"
first_incumbent = "echo"
timeout_s = 60
[scorer]
name = "contains"
[gate]
margin = 0.05
max_samples = 96
[[steps]]
shadow = 0.2
requests = 10
hold_s = 0
[[steps]]
canary = 0.05
requests = 5
hold_s = 0
[[steps]]
canary = 0.25
requests = 30
hold_s = 0
[echo]
reply = "Thank you for your order. It will be with you soon."
delay_s = {DELAY_S}
""",
}
"""A project of one task. The incumbent always says the same; the candidate repeats what it is told, the number too."""
SAMPLES = 96


@dataclass
class _Tape:
    """What reached the terminal so far."""

    began: float = field(default_factory=time.monotonic)
    outputs: list[Output] = field(default_factory=list[Output])

    def add(self, text: str) -> None:
        self.outputs.append(Output(round(time.monotonic() - self.began, 3), text))

    def type(self, text: str) -> None:
        """Type a command as a person does."""
        self.add(PROMPT)
        time.sleep(READING_S / 2)
        for character in text:
            self.add(character)
            time.sleep(KEY_S)
        time.sleep(4 * KEY_S)
        self.add("\r\n")


def record(directory: Path) -> Cast:
    """Play the session in a new project below a directory.

    Raises:
        CastError: A command did not end well, a request failed, or the recording names the machine.
    """
    project = _project(directory / "my-org")
    tape = _Tape()
    with system(project) as up:
        with up.opened() as installation:
            deploy_echo(installation, CANDIDATE, TASK, delay_s=DELAY_S)
            wait_ready(installation, [INCUMBENT, CANDIDATE])
        with load(_demand(up)) as answers:
            tape.began = time.monotonic()
            for command in COMMANDS:
                _play(tape, project, command)
    if problems := [answer.problem for answer in answers if answer.problem]:
        raise CastError(f"{len(problems)} of {len(answers)} requests of the load failed, the first: {problems[0]}")
    tape.add(PROMPT)
    return checked(Cast(tape.outputs, TITLE))


def checked(cast: Cast) -> Cast:
    """Refuse a recording that names this machine.

    Raises:
        CastError: It does.
    """
    names = (socket.gethostname(), str(Path.home()), str(Path.cwd()))
    found = sorted(set(foreign_words(cast.to_text(), names)))
    if found:
        raise CastError(f"The recording names this machine: {', '.join(found)}.")
    return cast


def _project(directory: Path) -> Path:
    for name, text in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    (directory / "evals").mkdir()
    (directory / "evals" / f"{TASK}.jsonl").write_text("".join(_cases()))
    return directory


def _cases() -> Iterator[str]:
    """Orders to be confirmed: most by their number, every third with thanks, every tenth by a word that nobody says."""
    for number in range(SAMPLES):
        order = f"{4_100 + 7 * number}"
        target = "Thank you" if number % 3 == 0 else "by Friday" if number % 10 == 1 else order
        thanks = "Thank you, and " if number % 6 == 0 else ""
        text = f"{thanks}please confirm order {order}."
        yield json.dumps({"id": f"order-{order}", "input": text, "target": target}) + "\n"


def _demand(up: Up) -> Demand:
    with up.opened() as installation:
        operator = operator_key(installation.project.state)
    return Demand(
        address=up.address,
        key=up.key,
        operator=operator,
        task=TASK,
        workers=1,
        lines=CALLERS,
        most_s=len(COMMANDS) * LONGEST_S,
        repeats=False,
    )


def _play(tape: _Tape, project: Path, command: Sequence[str]) -> None:
    """Type a command, run it in a terminal of its own, and keep what it says."""
    tape.type(" ".join(("changeover", *(f'"{word}"' if " " in word else word for word in command))))
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(
        (sys.executable, "-m", "changeover", *command),
        cwd=project,
        stdin=its,
        stdout=its,
        stderr=its,
        env=_environment(),
        start_new_session=True,
    )
    os.close(its)
    try:
        _listen(tape, ours, process)
    finally:
        if process.poll() is None:
            process.kill()
        status = process.wait()
        os.close(ours)
    if status != 0:
        said = "".join(output.text for output in tape.outputs)[-2000:]
        raise CastError(f"`changeover {' '.join(command)}` ended with status {status}:\n{said}")
    time.sleep(READING_S)


def _listen(tape: _Tape, terminal: int, process: subprocess.Popen[bytes]) -> None:
    """Keep what a command says until it has ended, or its time is over."""
    deadline, kept = time.monotonic() + LONGEST_S, b""
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.1)
        if not ready:
            continue
        try:
            kept += os.read(terminal, 65536)
        except OSError:  # Linux's way to say that nobody has the other end any more
            process.wait(LONGEST_S)
            return
        text, kept = _decoded(kept)
        if text:
            tape.add(text)


def _decoded(data: bytes) -> tuple[str, bytes]:
    """What is whole of it, and the rest of a character that is not."""
    for cut in range(min(4, len(data) + 1)):
        end = len(data) - cut
        try:
            return data[:end].decode(), data[end:]
        except UnicodeDecodeError:
            continue
    return data.decode(errors="replace"), b""


def _environment() -> dict[str, str]:
    """This process's, with nothing in it that a command could show of whom and where."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    return {**kept, "LOGNAME": "ana", "USER": "ana", "TERM": "xterm-256color", "COLORTERM": "", "TZ": "UTC"}
