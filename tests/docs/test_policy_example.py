"""The annotated policy: every key with its meaning and default, valid as it stands and with everything uncommented."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from changeover.core import toml
from changeover.library.licences.policy import Policy, TaskPolicy
from changeover.library.licences.terms import Use

EXAMPLE = Path(__file__).parents[2] / "src" / "changeover" / "templates" / "project" / "policy.example.toml"
UNSET = re.compile(r"^# ((?:[a-z0-9_]+ = |\[).+)$", re.MULTILINE)
"""A key or a table that is left out by default."""


def _keys(model: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = [kind for kind in get_args(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if name == "tasks" and model is Policy:
            yield from _keys(TaskPolicy, "tasks.credit-memo.")
        elif inner:
            yield from _keys(inner[0], f"{before}{name}.")
        else:
            yield before + name


def test_the_example_is_a_valid_policy_as_it_stands_and_whole() -> None:
    assert toml.load(Policy, EXAMPLE).operates_in == ("SG",)
    whole = toml.validate(Policy, tomllib.loads(UNSET.sub(r"\1", EXAMPLE.read_text())), where=EXAMPLE)
    assert whole.tasks["credit-memo"].uses == ("credit-decisions",)
    assert (len(whole.granted), len(whole.approved_code), len(whole.closed_models)) == (1, 1, 1)


def test_what_the_example_sets_beside_country_and_users_are_the_defaults() -> None:
    values = toml.load(Policy, EXAMPLE).model_dump(exclude={"operates_in", "monthly_users"})
    assert values == Policy().model_dump(exclude={"operates_in", "monthly_users"})


def test_every_key_of_a_policy_is_explained_with_its_default() -> None:
    explained: set[str] = set()
    table = comment = ""
    for line in UNSET.sub(r"\1", EXAMPLE.read_text()).splitlines():
        if line.startswith("#"):
            comment += line
        elif line.startswith("["):
            assert re.search("Default|default", comment), f"`{line}`: its comment names no default"
            table, comment = f"{line.strip('[]')}.", ""
        elif not line:
            comment = ""
        else:
            key = line.partition(" =")[0]
            assert re.search("Default|default|Required", comment), f"`{table}{key}`: its comment names no default"
            explained.add(f"{table}{key}")
            comment = ""
    assert explained == set(_keys(Policy))


def test_every_use_is_named() -> None:
    text = EXAMPLE.read_text()
    assert [use for use in get_args(Use) if f'"{use}"' not in text] == []
