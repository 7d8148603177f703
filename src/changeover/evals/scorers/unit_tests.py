"""The `unit-tests` scorer: an answer's code is right if it passes the target's tests, in the sandbox."""

from __future__ import annotations

import json
import re
import secrets
import textwrap

from pydantic import Field, JsonValue

from changeover.core.toml import Declared
from changeover.evals.sandbox import Outcome
from changeover.evals.scorers.base import CUT_OFF, Case, Means, SampleTarget, Score, Scorer

_FENCE = re.compile(r"(?:^|(?<=\s))```[ \t]*(\w*)[^\n`]*\n(.*?)(?:^[ \t]*```|```[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_PYTHON = ("python", "python3", "py")

_GUEST = """
import builtins, io, json, os, sys, types

class _Nowhere(io.TextIOBase):
    def writable(self): return True
    def write(self, text): return len(text)

def _first_failure(error, tests):
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<tests>":
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename == "<tests>":
        line = error.lineno
    lines = tests.split("\\n")
    return lines[line - 1].strip() if line and line <= len(lines) else None

def _judge(code, tests, entry):
    module = types.ModuleType("answer")
    sys.modules["answer"] = module
    known = dict(vars(builtins))
    try:
        exec(compile(code, "<answer>", "exec"), module.__dict__)
    except BaseException as error:
        return {"stage": "answer", "error": f"{type(error).__name__}: {error}"[:500]}
    if entry is not None and not callable(module.__dict__.get(entry)):
        return {"stage": "entry", "error": f"the answer defines no function `{entry}`"}
    vars(builtins).update(known)
    module.__dict__["__builtins__"] = vars(builtins)
    try:
        exec(compile(tests, "<tests>", "exec"), module.__dict__)
    except BaseException as error:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return {"stage": "tests", "error": text[:500], "line": _first_failure(error, tests)}
    return {"stage": "passed"}

def _main(token, code, tests, entry):
    write, dumps, leave = sys.stdout.write, json.dumps, os._exit
    flush, sys.stdout, sys.stderr = sys.stdout.flush, _Nowhere(), _Nowhere()
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    sys.argv, sys.orig_argv = [""], [""]  # this program stands there
    verdict = _judge(code, tests, entry)
    write("\\n" + token + dumps(verdict) + "\\n")
    flush()
    leave(0)
"""
"""Runs in the sandbox. What the answer prints goes nowhere; the verdict follows a token that the answer cannot guess.
What the answer changes of Python itself is put back before the tests. An answer that goes looking for the token (in the
frames that called it), or whose objects say that they equal everything, can still cheat: this scores models, it does not
keep out an attacker."""


class UnitTestOptions(Declared):
    """Limits of one run."""

    deadline_s: float = Field(default=5.0, gt=0, le=60)
    memory_mib: int = Field(default=256, ge=64, le=2048)


class UnitTestTarget(SampleTarget):
    """Tests as Python statements, run after the answer in the same namespace."""

    tests: str = Field(min_length=1)
    entry: str | None = None
    """Name of the function that the answer must define."""


def extract_code(answer: str) -> str:
    """The answer's first fenced block of Python, else its first block of anything, else all of it."""
    blocks: list[tuple[str, str]] = _FENCE.findall(answer)
    python = [code for language, code in blocks if language.lower() in _PYTHON]
    chosen = (python or [code for _, code in blocks] or [answer])[0]
    return textwrap.dedent(chosen).strip("\n")


async def score_unit_tests(case: Case[UnitTestOptions, UnitTestTarget], means: Means) -> Score:
    """1 if the answer's code passes every test, else 0 with the first failure."""
    token = secrets.token_hex(16)
    code = extract_code(case.answer.text)
    call = f"_main({token!a}, {code!a}, {case.target.tests!a}, {case.target.entry!a})\n"
    outcome = await means.sandbox.run(
        _GUEST + call, deadline_s=case.options.deadline_s, memory_bytes=case.options.memory_mib << 20
    )
    if outcome.status == "unavailable":
        return Score(value=0.0, error=outcome.reason)
    detail = _verdict(outcome, token, case.options.deadline_s)
    if case.answer.cut_off:
        detail["cut_off"] = CUT_OFF
    return Score(value=float(detail["stage"] == "passed"), detail=detail)


def _verdict(outcome: Outcome, token: str, deadline_s: float) -> dict[str, JsonValue]:
    for line in reversed(outcome.stdout.splitlines()):
        if line.startswith(token):
            return json.loads(line[len(token) :])
    if outcome.status == "timeout":
        return {"stage": "stopped", "error": f"did not finish within {deadline_s:g} s"}
    why = outcome.reason or f"exit status {outcome.exit_code}"
    return {"stage": "stopped", "error": f"ended before its tests did: {why}"}


SCORER = Scorer(version="2", options=UnitTestOptions, target=UnitTestTarget, cost="sandbox", score=score_unit_tests)
