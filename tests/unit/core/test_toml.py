from pathlib import Path
from typing import Annotated, Self

import pytest
from pydantic import Field, model_validator

from changeover.core import toml
from changeover.core.errors import ConfigError


class Gate(toml.Declared):
    id: str | None = None
    margin: float = 0.05
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] = "SG"

    @model_validator(mode="after")
    def _not_all(self) -> Self:
        if self.margin == 1:
            raise ValueError("The whole `margin` may not be lost.")
        return self


class Task(toml.Declared):
    name: str
    gates: tuple[Gate, ...] = ()
    gate: Gate | None = None

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if self.name == "same":
            raise ValueError("`name` may not be `same`; take Another.")
        return self


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'name = "a"\n[[gates]]\nmargn = 1',
            "`gates[0].margn`: unknown key. Did you mean `margin`? Known: country, id, margin.",
        ),
        ('name = "a"\n[gate]\nmargn = 1', "`gate.margn`: unknown key. Did you mean `margin`?"),
        ('nmae = "a"\nname = "b"', "`nmae`: unknown key. Did you mean `name`?"),
        ("gates = []", "`name`: missing. Add it."),
        ('name = "a"\ngate = { margin = "wide" }', "`gate.margin` = `wide`"),
        ('name = "a"\ngate = { country = "sg" }', "`gate.country` = `sg`: string should match pattern '^[A-Z]{2}$'."),
        ('name = "a"\ngate = { margin = 1 }', "task.toml: `gate`: the whole `margin` may not be lost."),
        ('name = "a"\n[[gates]]\nid = "g"\nmargin = 1', "task.toml: `gates[0]` (`g`): the whole `margin` may not be"),
        ("name = \nother = 1", "line 1"),
        ('name = "same"', "task.toml: `name` may not be `same`; take Another."),
    ],
)
def test_a_wrong_file_is_one_error_that_names_file_key_and_nearest(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "task.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        toml.load(Task, file)
    assert said in caught.value.message
    assert str(file) in caught.value.message


def test_a_file_that_is_missing_or_not_text_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No file"):
        toml.load(Task, tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b'name = "\xff\xfe"')
    with pytest.raises(ConfigError, match="not UTF-8"):
        toml.load(Task, tmp_path / "binary.toml")
