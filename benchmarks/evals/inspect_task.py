"""The work as a task of inspect_ai; runs in that tool's own environment."""

from inspect_ai import Task, task  # pyright: ignore[reportMissingImports]
from inspect_ai.dataset import json_dataset  # pyright: ignore[reportMissingImports]
from inspect_ai.scorer import includes  # pyright: ignore[reportMissingImports]
from inspect_ai.solver import generate  # pyright: ignore[reportMissingImports]


@task
def one_line():
    return Task(dataset=json_dataset("cases.jsonl"), solver=generate(), scorer=includes())
