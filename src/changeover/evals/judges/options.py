"""Options of the scorers that ask a judge, and the files that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from changeover.core import toml
from changeover.core.errors import ConfigError
from changeover.evals.scorers.base import Prepared, Setting

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]

CRITERIA = (
    "A good answer does what the request asks, is correct, leaves out nothing that matters, "
    "and adds nothing that is wrong or was not asked for."
)
LEVELS = (
    "useless: wrong, or not an answer to the request",
    "poor: serious mistakes, or most of what was asked is missing",
    "fair: partly right, with mistakes or gaps that matter",
    "good: right and complete but for small things",
    "excellent: right, complete, clear, and nothing to take out",
)

_ENDINGS = (".md", ".txt")


class JudgeOptions(toml.Declared):
    """Who judges, and by what."""

    judge: Text = "judge"
    """Task of this project that is asked."""
    rubric: Text = CRITERIA
    """What makes an answer good, in words; or a `.md` or `.txt` file beside the task."""
    reference: bool = True
    """Whether the judge sees the sample's target, where that is a text or has the key `reference`."""
    repeat_share: float = Field(default=0.1, ge=0, le=1)
    """Share of judgements that are asked for twice, to see how far the judge agrees with itself. It decides nothing."""
    labels: str | None = Field(default=None, exclude=True)
    """JSONL file of people's judgements, relative to the task's file. They correct and check; they decide no score,
    so that another file leaves the scores as they are."""


class PairwiseOptions(JudgeOptions):
    """Who judges, and by what."""


class RubricOptions(JudgeOptions):
    """Who judges, and by what scale."""

    levels: tuple[Text, ...] = Field(default=LEVELS, min_length=2, max_length=10)
    """What each level means, the worst first. The first scores 0, the last 1, the others evenly between."""


def prepare(options: JudgeOptions, setting: Setting) -> Prepared:
    """Read the rubric's file, where the options name one: its text decides scores, so that an edit makes other ones.

    Raises:
        ConfigError: It cannot be read or is empty.
    """
    rubric = options.rubric
    if rubric.endswith(_ENDINGS) and "\n" not in rubric:
        rubric = _text(rubric, setting.directory)
    return Prepared(value=rubric, fingerprint=rubric, judges=(options.judge,), needs_target=False)


def labels_file(options: JudgeOptions, directory: Path) -> Path | None:
    """Where people's labels are kept; None where the task names no file. `directory` is the folder of its file."""
    return None if options.labels is None else (directory / options.labels).resolve()


def _text(name: str, directory: Path | None) -> str:
    try:
        # Without a folder nothing is read: a file of that name in the working directory would be another one.
        text = "" if directory is None else (directory / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"`rubric`: cannot read `{name}`: {exc}. Create it beside the task.") from exc
    if not text:
        raise ConfigError(f"`rubric`: `{name}` is empty. Say in it what makes an answer good.")
    return text
