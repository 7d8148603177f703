"""Which model a new task begins with: one that is here, so that it answers at once."""

from __future__ import annotations

from changeover.app.installation import ECHO, usable_catalogue
from changeover.core.settings import Project
from changeover.library.artifacts import embeddable
from changeover.library.cards import Card
from changeover.library.pull import present
from changeover.tasks.declarations import load_all_tasks


def starting_model(project: Project) -> str:
    """The largest model that a task of the project began with and whose weights are here: it runs in any case.

    Else the smallest that is here at all; `echo` if none is.
    """
    cards = {card.id: card for card in usable_catalogue(project).cards()}
    tasks = load_all_tasks(project.tasks, project.tools)
    used = {task.declared.first_incumbent for task in tasks.values()}
    smallest = sorted(cards.values(), key=lambda card: card.parameters_b or float("inf"))
    largest_used = [card for card in reversed(smallest) if card.id in used]
    return next((card.id for card in (*largest_used, *smallest) if _can_answer(card, project)), ECHO)


def _can_answer(card: Card, project: Project) -> bool:
    artifact = embeddable(card.artifacts)
    return card.chat_format is not None and artifact is not None and present(artifact, project.cache)
