"""The `function` scorer: a Python function of the organisation's own.

It runs in this process, with all rights of whoever measures: it is the organisation's code, as trusted as the project
itself. Model-written code belongs into the `unit-tests` scorer, which runs it in the sandbox.
"""

from __future__ import annotations

import ast
import inspect
import sys
import types
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from changeover.core.digest import canonical_json, sha256_text
from changeover.core.errors import ConfigError, nearest
from changeover.core.toml import Declared
from changeover.evals.scorers.base import Case, Means, NoTarget, Prepared, Score, Scorer, Setting


class FunctionOptions(Declared):
    """Where the function stands."""

    path: str = Field(min_length=1)
    """Python file, relative to the task's file. Its content is part of the scorer's identity: edited code never mixes
    with old scores. What it imports is not, so keep it in one file, beside installed packages."""
    name: str = Field(default="score", min_length=1)
    """The function in it."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Passed to the function as keyword arguments."""


class _Function:
    """A function read from a file, whose code runs when it is first called."""

    def __init__(self, path: Path, source: str, name: str) -> None:
        self.path = path
        self.source = source
        self.name = name
        self._loaded: Callable[..., Any] | None = None

    def load(self) -> Callable[..., Any]:
        """Run the file once, and give its function."""
        if self._loaded is None:
            module = types.ModuleType(f"changeover_scorer_{sha256_text(self.source)[:16]}")
            module.__file__ = str(self.path)
            sys.modules[module.__name__] = module  # dataclasses and pickle look for it there
            exec(compile(self.source, str(self.path), "exec"), module.__dict__)
            self._loaded = cast("Callable[..., Any]", getattr(module, self.name))
        return self._loaded


def _prepare(options: FunctionOptions, setting: Setting) -> Prepared:
    """Read the file and see that it defines the function, without running it."""
    if setting.directory is None and not Path(options.path).is_absolute():
        raise ConfigError(f"scorer `function`: `path` = `{options.path}`: only a task's file may name it.")
    path = (setting.directory or Path()) / options.path
    try:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source, str(path))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"scorer `function`: `path`: cannot read `{options.path}`: {exc}. Write it.") from exc
    except (SyntaxError, ValueError) as exc:
        line = exc.lineno if isinstance(exc, SyntaxError) else None
        raise ConfigError(f"scorer `function`: {path}:{line or 1}: no Python: {exc}") from exc
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    if options.name not in defined:
        raise ConfigError(
            f"scorer `function`: `{options.path}` defines no function `{options.name}`. {nearest(options.name, defined)}"
        )
    return Prepared(value=_Function(path, source, options.name), fingerprint=sha256_text(source))


async def score_function(case: Case[FunctionOptions, NoTarget], means: Means) -> Score:
    """What the function returns: a number from 0 to 1, or a `Score`, which has a detail too.

    It is `def score(answer, sample)`, or `async def`, with `answer` a `changeover.evals.answers.Answer` (text, tool
    calls, tokens, time) and `sample` a `changeover.evals.datasets.Sample` (input, target, tags). The same answer must
    always get the same score. One that raises, or returns anything else, leaves the answer without a score.

    **It is trusted**: it runs in the process that measures, with all its rights. Targets may have any shape.
    """
    del means
    function = cast("_Function", case.prepared)
    try:
        result = function.load()(case.answer, case.sample, **case.options.settings)
        if inspect.isawaitable(result):
            result = await result
    except (Exception, SystemExit) as exc:
        return Score(value=0.0, error=_explain(exc, function))
    return _checked(result, function)


def _explain(error: BaseException, function: _Function) -> str:
    """Where in the file an error came from, and what it says."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(function.path):
            line = trace.tb_lineno
        trace = trace.tb_next
    place = f"{function.path.name}:{line}" if line is not None else function.path.name
    return f"{place}: {type(error).__name__}: {error}"[:1000]


def _checked(result: object, function: _Function) -> Score:
    where = f"{function.path.name}: `{function.name}`"
    given = result if isinstance(result, Score) else None
    value: object = result.value if isinstance(result, Score) else result
    if given is not None and given.error is not None:
        return given
    if not isinstance(value, Real):  # numbers of NumPy are such too, and so are True and False
        return Score(value=0.0, error=f"{where} returned `{type(value).__name__}`; a number or a Score is expected.")
    number = float(cast("float", value))
    if not 0.0 <= number <= 1.0:
        return Score(value=0.0, error=f"{where} returned `{value}`; a number from 0 to 1 is expected.")
    detail = dict(given.detail) if given is not None else {}
    try:
        canonical_json(detail)
    except (TypeError, ValueError) as exc:
        return Score(value=0.0, error=f"{where} returned a detail that is no JSON: {exc}.")
    return Score(value=number, detail=detail)


SCORER = Scorer(
    version="1",
    options=FunctionOptions,
    target=NoTarget,
    needs_target=False,
    score=score_function,
    prepare=_prepare,
)
