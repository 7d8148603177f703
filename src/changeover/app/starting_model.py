"""Which model a new task begins with: one that is here, so that it answers at once."""

from __future__ import annotations

from collections import Counter

from changeover.app.installation import ECHO, usable_catalogue
from changeover.core.settings import Project
from changeover.library.artifacts import embeddable
from changeover.library.cards import Card
from changeover.library.pull import present
from changeover.tasks.declarations import load_tasks, load_tool_tasks


def starting_model(project: Project) -> str:
    """The model that most tasks of a project began with, else the smallest, whose weights are here; `echo` if none is."""
    cards = {card.id: card for card in usable_catalogue(project).cards()}
    tasks = [*load_tasks(project.tasks).values(), *load_tool_tasks(project.tools).values()]
    common = Counter(task.declared.first_incumbent for task in tasks).most_common()
    smallest = sorted(cards.values(), key=lambda card: card.parameters_b or float("inf"))
    for name in [*(name for name, _ in common if name in cards), *(card.id for card in smallest)]:
        if _can_answer(cards[name], project):
            return name
    return ECHO


def _can_answer(card: Card, project: Project) -> bool:
    artifact = embeddable(card.artifacts)
    return card.chat_format is not None and artifact is not None and present(artifact, project.cache)
