"""The checks of `validate`: conditions on a value that hold, or do not, whichever model wrote it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path as FilePath
from typing import Any, cast

from changeover.core.errors import ContractError, RequestError
from changeover.evals.scorers.figures import figures
from changeover.evals.scorers.language import detect, foreign
from changeover.evals.scorers.prose import LIST_MARK, count_words, sentences
from changeover.gateway.contract.structured import faults as schema_faults
from changeover.tools.declarations import CheckDeclaration
from changeover.tools.functions import Bounds, call_function
from changeover.tools.load import beside, read_schema
from changeover.tools.plain import as_json, listed, text_of
from changeover.tools.steps.agreement import Figures
from changeover.tools.steps.places import MISSING, Path, at_field, scalars, shown
from changeover.tools.steps.run import Run
from changeover.tools.unfenced import unfenced
from changeover.tools.values import Document, Part

MOST_FAULTS = 200
CHILD = Bounds(seconds=10, memory_mib=512)
"""Of SQL, Python and functions that are looked at in a process of their own."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something in a value that a check does not let pass."""

    path: Path
    problem: str
    check: Check | None = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check, ready to look at values."""

    declared: CheckDeclaration
    one: Callable[[Any], str | None] | None = None
    """What is wrong with one text, number or flag; None: the check looks at whole values."""
    whole: Callable[[Any], list[Fault]] | None = None
    away: Callable[[Any], Awaitable[str | None]] | None = None
    """What is wrong with what stands at the field; found in another process."""

    async def look(self, value: Any, run: Run) -> list[Fault]:
        """What is wrong with a value."""
        if self.away is None:
            return await run.compute(lambda: self._look_here(value))
        found: list[Fault] = []
        for path, leaf in at_field(value, self.declared.field):
            problem = _missing(path) if leaf is MISSING else await self.away(leaf)
            if problem is not None:
                found.append(Fault(path=path, problem=problem, check=self))
        return found[:MOST_FAULTS]

    def bad_sentences(self, text: str) -> set[int] | None:
        """Places of the sentences that do not hold alone; of a text that is too long, the last; None: it has no say."""
        if self.one is None:
            return None
        said = sentences(text)
        if self.declared.check == "max-words":
            return {place for place in range(len(said)) if self.one(" ".join(said[: place + 1])) is not None}
        return {place for place, sentence in enumerate(said) if self.one(sentence) is not None}

    def _look_here(self, value: Any) -> list[Fault]:
        found: list[Fault] = []
        for path, leaf in at_field(value, self.declared.field):
            if leaf is MISSING:
                found.append(Fault(path=path, problem=_missing(path)))
            elif self.whole is not None:
                found += [
                    Fault(path=(*path, *fault.path), problem=_placed((*path, *fault.path), fault.problem))
                    for fault in self.whole(leaf)
                ]
            elif self.one is not None:
                for inner, scalar in scalars(leaf, path):
                    problem = self.one(scalar)
                    if problem is not None:
                        found.append(Fault(path=inner, problem=_placed(inner, problem), check=self))
        return found[:MOST_FAULTS]


def _missing(path: Path) -> str:
    return f"there is no `{shown(path)}`"


def _placed(path: Path, problem: str) -> str:
    return f"at `{shown(path)}`: {problem}" if path else problem


async def prepare(check: CheckDeclaration, run: Run) -> Check:
    """Make a check ready: its source is read once for all that it looks at."""
    source = None if check.source is None else run.value(check.source)
    match check.check:
        case "schema":
            schema = await run.compute(lambda: read_schema(run.tool, cast("str", check.schema_file)))
            return Check(declared=check, whole=lambda value: _by_schema(schema, value))
        case "not-empty":
            return Check(declared=check, whole=_not_empty)
        case "function":
            file = beside(run.tool, cast("str", check.file))
            return Check(declared=check, away=_function(run.tool.folder, file, check, source))
        case "sql":
            return Check(declared=check, away=_sql(text_of(source)))
        case "python":
            return Check(declared=check, away=_python)
        case _:
            return Check(declared=check, one=await run.compute(lambda: _of_texts(check, source)))


def _of_texts(check: CheckDeclaration, source: Any) -> Callable[[Any], str | None]:
    match check.check:
        case "figures":
            return _figures(text_of(source))
        case "quotes":
            return _quotes(text_of(source))
        case "one-of":
            return _one_of(source)
        case "language":
            return _language(text_of(source))
        case "pages":
            return _pages(source)
        case _:
            return _max_words(check.most or 0)


def _by_schema(schema: Mapping[str, Any], value: Any) -> list[Fault]:
    return [Fault(path=path, problem=problem) for path, problem in schema_faults(schema, value)]


def _not_empty(value: Any) -> list[Fault]:
    empty = value is None or (isinstance(value, str) and not value.strip()) or value in ([], {})
    return [Fault(path=(), problem="it is empty")] if empty else []


def _max_words(most: int) -> Callable[[Any], str | None]:
    def look(value: Any) -> str | None:
        words = count_words(value) if isinstance(value, str) else 0
        return f"it has {words} words, at most {most} are allowed" if words > most else None

    return look


def _figures(source: str) -> Callable[[Any], str | None]:
    known = Figures(source)

    def look(value: Any) -> str | None:
        if value is None or isinstance(value, bool):
            return None
        text = LIST_MARK.sub("", value if isinstance(value, str) else f"{value}")
        wrong = dict.fromkeys(figure.shown for figure in figures(text) if not known.has(figure))
        if not wrong:
            return None
        several = (
            f"the figures {', '.join(list(wrong)[:10])} do"
            if len(wrong) > 1
            else f"the figure {next(iter(wrong))} does"
        )
        return f"{several} not stand in the source"

    return look


_NO_LETTER = re.compile(r"[\s\u00ad\u2010-\u2015\-'\"`\u2018-\u201f\u00ab\u00bb\u300c-\u300f]+")
_LEFT_OUT = re.compile(r"\[?(?:\.{3}|\u2026)\]?")


def _quotes(source: str) -> Callable[[Any], str | None]:
    whole = _folded(source)

    def look(value: Any) -> str | None:
        if value is None or isinstance(value, bool):
            return None
        pieces = [piece for part in _LEFT_OUT.split(f"{value}") if (piece := _folded(part).strip(".,;:"))]
        if not pieces:
            return "it is empty, and no quotation"
        missing = next((piece for piece in pieces if piece not in whole), None)
        return None if missing is None else f"`{f'{value}'[:120]}` does not stand in the source word for word"

    return look


def _folded(text: str) -> str:
    """What is compared of a quotation: neither white space nor quotes nor hyphens, where lines may break."""
    return _NO_LETTER.sub("", unicodedata.normalize("NFKC", text).casefold())


def _one_of(source: Any) -> Callable[[Any], str | None]:
    members = listed(source)
    known = [as_json(member) for member in members]
    names = ", ".join(f"`{text_of(member)}`" for member in known[:30])

    def look(value: Any) -> str | None:
        return None if value in known else f"`{text_of(value)[:80]}` is none of {names}"

    return look


_CODE = re.compile(r"[a-z]{2,3}")


def _language(source: str) -> Callable[[Any], str | None]:
    wanted = source if _CODE.fullmatch(source) else detect(source)

    def look(value: Any) -> str | None:
        if wanted is None or not isinstance(value, str):
            return None
        wrong = foreign(value, wanted)
        return None if wrong is None else f"`{wrong[:80]}` is not in the language `{wanted}`"

    return look


def _pages(source: Any) -> Callable[[Any], str | None]:
    members = listed(source)
    known: set[int] = set()
    for member in members:
        if isinstance(member, Document):
            known |= {page.number for page in member.pages}
        elif isinstance(member, Part):
            known |= set(member.pages)

    def look(value: Any) -> str | None:
        if value is None:
            return None
        digits = re.fullmatch(r"\D*(\d{1,6})", value) if isinstance(value, str) else None
        number = int(digits[1]) if digits is not None else value
        if isinstance(number, int) and not isinstance(number, bool) and number in known:
            return None
        return f"page `{f'{value}'[:20]}` is none of the document's, which has {len(known)}"

    return look


def _function(
    folder: FilePath, file: FilePath, check: CheckDeclaration, source: Any
) -> Callable[[Any], Awaitable[str | None]]:
    name = cast("str", check.call)
    more = [] if check.source is None else [as_json(source)]

    async def look(value: Any) -> str | None:
        said = await call_function(file, name, CHILD, folder=folder, arguments=[value, *more])
        if said is None:
            return None
        if not isinstance(said, str):
            raise ContractError(f"`{file.name}`: `{name}` returned no text and not none: a check says what is wrong.")
        return said[:1_000]

    return look


@cache
def _code_checks() -> FilePath:
    with resources.as_file(resources.files("changeover.tools") / "code_checks.py") as path:
        return path


def _sql(schema: str) -> Callable[[Any], Awaitable[str | None]]:
    async def look(value: Any) -> str | None:
        found = await call_function(
            _code_checks(), "sql_problem", CHILD, arguments=[schema, unfenced(text_of(value))], what="the check `sql`"
        )
        if found.get("schema") is not None:
            raise RequestError(f"SQLite cannot make a database of the statements given: {found['schema']}.")
        return cast("str | None", found.get("query"))

    return look


async def _python(value: Any) -> str | None:
    code = unfenced(text_of(value))
    return cast(
        "str | None",
        await call_function(_code_checks(), "python_problem", CHILD, arguments=[code], what="the check `python`"),
    )
