"""The session that is recorded: the real commands in a pseudo-terminal, on a project of real small models, under load."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.switch.load import Demand, Line, load
from tests.support.processes import Up, system

import changeover
from changeover.app.local import operator_key
from changeover.cli.running import wait_ready
from docs.record.cast import COLUMNS, ROWS, Cast, CastError, Output, foreign_words

INCUMBENT, CANDIDATE = "smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"
TASK = "customer-intent"
TITLE = "changeover: a switch under load"
COMMANDS: Sequence[Sequence[str]] = (
    ("switch", TASK, "--to", CANDIDATE),
    ("rollback", TASK, "--reason", "complaints from the desk"),
    ("history", TASK),
)
PROMPT = "\x1b[36m$\x1b[0m "
KEY_S, READING_S = 0.05, 1.4
"""Between two keys, and between the end of a command and the next one."""
LONGEST_S = 540.0
"""Of a command; one that takes longer is ended."""
CALLERS = (Line(stream=False, period_s=3.0), Line(stream=True, period_s=3.0))
LABELS = (
    "track-order",
    "cancel-order",
    "change-order",
    "return-item",
    "report-fault",
    "refund-status",
    "dispute-charge",
    "payment-failed",
    "get-invoice",
    "login-problem",
    "change-profile",
    "replace-card",
    "ask-product",
    "other",
)
FILES: Mapping[str, str] = {
    "changeover.toml": """\
name = "my-org"
[gateway]
port = 0
ready_wait_s = 60
[engines]
slots = 4
threads = 1
context_tokens = 2048
""",
    f"tasks/{TASK}.prompt.md": "Say what the customer wants, as one label.\n",
    f"tasks/{TASK}.toml": f"""\
description = "Say what a customer's message wants."
prompt = "{TASK}.prompt.md"
dataset = "../evals/{TASK}/v1.jsonl"
first_incumbent = "{INCUMBENT}"
timeout_s = 60
[parameters]
temperature = 0.0
max_tokens = 10
[parameters.response_format]
type = "json_schema"
[parameters.response_format.json_schema]
name = "intent"
strict = true
schema = {{ type = "string", enum = {json.dumps(LABELS)} }}
[scorer]
name = "choice"
options = {{ labels = {json.dumps(LABELS)} }}
[gate]
margin = 0.05
max_samples = 200
[guard]
tolerated_slow = 0.9
[[steps]]
shadow = 0.3
requests = 5
hold_s = 0
[[steps]]
canary = 0.2
requests = 5
hold_s = 0
[[steps]]
canary = 0.5
requests = 10
hold_s = 0
""",
}
"""The project: as `changeover init` makes it, with a shorter prompt and answer, larger shares, and no alarm for a model
of four times the size that is slower, so that two cores play
the whole of it in a minute or two."""


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
        CastError: A command did not end well, or the recording names the machine.
    """
    project = _project(directory / "my-org")
    tape = _Tape()
    with system(project) as up:
        with up.opened() as installation:
            wait_ready(installation, [INCUMBENT])
        up.ask(TASK)
        with load(_demand(up)) as answers:
            tape.began = time.monotonic()
            for command in COMMANDS:
                _play(tape, project, command)
        problems = [answer.problem for answer in answers if answer.problem]
    if problems:
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
    """A project of one task, with the cases that ship."""
    for name, text in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    cases = Path(changeover.__file__).parent / "templates" / "project" / "evals" / TASK / "v1.jsonl"
    (directory / "evals" / TASK).mkdir(parents=True)
    shutil.copy(cases, directory / "evals" / TASK)
    return directory


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
            process.send_signal(signal.SIGKILL)
        status = process.wait()
        os.close(ours)
    if status != 0:
        said = "".join(output.text for output in tape.outputs)[-2000:]
        raise CastError(f"`changeover {' '.join(command)}` ended with status {status}:\n{said}")
    time.sleep(READING_S)


def _listen(tape: _Tape, terminal: int, process: subprocess.Popen[bytes]) -> None:
    deadline, kept = time.monotonic() + LONGEST_S, b""
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.1)
        if not ready:
            if process.poll() is not None:
                return
            continue
        try:
            kept += os.read(terminal, 65536)
        except OSError:  # Linux's way to say that nobody has the other end any more
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
