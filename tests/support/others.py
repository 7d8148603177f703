"""An installation in which everything that is not one task's is called by a name that stands nowhere else.

So that whatever of others is shown to somebody who may see that task only, is found: a page may not have the mark in it.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARK = "xyzzy"
"""In the name of every other task, of what they alone use, and of people and teams that have to do with nothing else."""
BROKEN = f'description = "broken"\nno_such_key = "{MARK}"\n'


def conceal(directory: Path, own: str) -> Mapping[str, str]:
    """Give every task but one a name with the mark in it, in the files and in the rows; what they were called, by that.

    Args:
        directory: A project that nobody has open.
        own: The one that keeps its name.
    """
    names = sorted(file.stem for file in (directory / "tasks").glob("*.toml") if file.stem != own)
    renamed = {name: f"{MARK}-{number}" for number, name in enumerate(names)}
    _rename_files(directory, renamed)
    _rename_rows(directory / ".changeover" / "changeover.db", renamed)
    policy = (directory / "policy.toml").read_text(encoding="utf-8")
    for old, new in renamed.items():
        policy = policy.replace(f"[tasks.{old}]", f"[tasks.{new}]")
    some = next(iter(renamed.values()))
    policy += f'\n[tasks.{MARK}-policy]\nuses = ["law-enforcement"]\n' if f"tasks.{MARK}" not in policy else ""
    (directory / "policy.toml").write_text(policy, encoding="utf-8")
    (directory / "tasks" / f"{MARK}-broken.toml").write_text(BROKEN, encoding="utf-8")
    new = (directory / "tasks" / f"{some}.toml").read_text(encoding="utf-8")
    (directory / "tasks" / f"{MARK}-not-applied.toml").write_text(new, encoding="utf-8")
    return {new: old for old, new in renamed.items()}


def _rename_files(directory: Path, renamed: Mapping[str, str]) -> None:
    for old, new in renamed.items():
        for file in list((directory / "tasks").glob(f"{old}.*")):
            file.rename(file.with_name(file.name.replace(old, new, 1)))
        for file in (directory / "evals").rglob(f"{old}*"):
            file.rename(file.with_name(file.name.replace(old, new, 1)))
    for file in (directory / "tasks").glob(f"{MARK}-*.toml"):
        file.write_text(_replaced(file.read_text(encoding="utf-8"), renamed), encoding="utf-8")


def _replaced(text: str, renamed: Mapping[str, str]) -> str:
    names = "|".join(re.escape(name) for name in sorted(renamed, key=len, reverse=True))
    return re.sub(rf"(?<![\w-])({names})(?![\w-])", lambda found: renamed[found[1]], text)


def _rename_rows(file: Path, renamed: Mapping[str, str]) -> None:
    connection = sqlite3.connect(file)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info('{table}')")]
        for column in columns:
            values = connection.execute(f'SELECT DISTINCT "{column}" FROM "{table}"').fetchall()
            for (value,) in values:
                after = _value(value, renamed) if isinstance(value, str) else value
                if after != value:
                    connection.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE "{column}" = ?', (after, value))
    connection.commit()
    connection.close()


def _value(value: str, renamed: Mapping[str, str]) -> str:
    """A column's value with the names in it exchanged, in what is JSON as well; prose that has such a word in it stays."""
    if value in renamed:
        return renamed[value]
    if value[:1] not in "[{":
        return value
    try:
        document = json.loads(value)
    except ValueError:
        return value
    after = _inside(document, renamed)
    return value if after == document else json.dumps(after, ensure_ascii=False)


def _inside(value: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {renamed.get(name, name): _inside(each, renamed) for name, each in value.items()}
    if isinstance(value, list):
        return [_inside(each, renamed) for each in value]
    return renamed.get(value, value) if isinstance(value, str) else value
