"""From a model to a first answer: what to type, ready to paste, and what is missing where it cannot run here."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from changeover.app.installation import ECHO
from changeover.app.local import running_address
from changeover.app.planning.there import served_name
from changeover.app.shelf import Presence, Shelf
from changeover.core.sizes import GB, GIB
from changeover.library.artifacts import embeddable
from changeover.library.cards import Card
from changeover.library.licences.words import refusal
from changeover.library.search.lexical import asked_words
from changeover.library.search.spelling import words
from changeover.library.search.vocabulary import vocabulary
from changeover.library.successors import TEXT
from changeover.tasks.declarations import Task

DEFAULT_ADDRESS: Final = "http://127.0.0.1:8100"
"""Where a gateway listens unless its project says otherwise; shown where none runs."""
SEEN: Final = frozenset({"ocr", "vision"})
"""Scenarios in which a request brings a picture."""
ELSEWHERE: Final = "# in another terminal"
SERVER: Final = "# on the server"
PICTURE: Final = "PICTURE"
"""Stands for the picture until the shell puts it there."""


@dataclass(frozen=True, kw_only=True)
class FirstCall:
    """How to get a first answer from a model."""

    model: str
    task: str | None
    """A task of the project that the query is about; None: there is none yet."""
    answered: bool
    """Whether this model answers that task today."""
    steps: tuple[str, ...]
    """Commands, in order. Empty: it cannot answer a task at all."""
    needs: tuple[str, ...]
    """What it takes that may not be here, in words."""


def first_call(shelf: Shelf, card: Card, query: str, scenarios: tuple[str, ...]) -> FirstCall:
    """What to type for a first answer of a model to such a query."""
    use, needs = shelf.presence(card), tuple(_needs(card))
    judgement = shelf.judgement(card)
    if not judgement.allowed:
        return FirstCall(model=card.id, task=None, answered=False, steps=(), needs=(refusal(judgement),))
    reason = _no_task(card)
    if reason is not None:
        return FirstCall(model=card.id, task=None, answered=False, steps=(), needs=(reason, *needs))
    task = _answered(shelf, use, query, scenarios) or _task_about(shelf, query, scenarios)
    answered = task is not None and task in use.tasks
    bringing = [] if answered else [*_deploying(card, use), *_bringing_in(card, task, query, scenarios)]
    steps = [*_starting(shelf), *bringing]
    name = task or _new_name(scenarios, query)
    if SEEN.intersection(scenarios) and "image" in card.modalities_in:
        asking = [_curl_with_picture(shelf, name, query)]
    else:
        asking = [f"changeover ask {shlex.quote(name)} {shlex.quote(query)}", _curl(shelf, name, query)]
    here = embeddable(card.artifacts) is not None or use.at_all
    return FirstCall(model=card.id, task=task, answered=answered, steps=(*steps, *asking), needs=() if here else needs)


def _no_task(card: Card) -> str | None:
    """Why no task could be answered by it; None where one could, or where that is not known."""
    if card.modalities_out and TEXT not in card.modalities_out:
        return f"it writes {', '.join(card.modalities_out)}, and tasks are answered in text"
    if card.modalities_in and TEXT not in card.modalities_in:
        return f"it reads {', '.join(card.modalities_in)}, and tasks ask with text"
    return None


def _answered(shelf: Shelf, use: Presence, query: str, scenarios: tuple[str, ...]) -> str | None:
    """Of the tasks that a model answers already, the one that the query is about."""
    tasks = [shelf.declared_tasks[name] for name in use.tasks if name in shelf.declared_tasks]
    return _nearest(tasks, query, scenarios)


def _task_about(shelf: Shelf, query: str, scenarios: tuple[str, ...]) -> str | None:
    return _nearest(list(shelf.declared_tasks.values()), query, scenarios)


def _nearest(tasks: list[Task], query: str, scenarios: tuple[str, ...]) -> str | None:
    """The task whose name and description say most of what the query does."""
    asked = set(asked_words(query))
    stop = vocabulary().stop_words
    also = {
        word for name in scenarios if name in vocabulary().scenarios for word in vocabulary().scenarios[name].spelled
    }

    def common(task: Task) -> tuple[int, int]:
        said = set(words(f"{task.name} {task.declared.description}")) - stop
        return len(asked & said), len(also & said)

    best = max(tasks, key=common, default=None)
    return best.name if best is not None and common(best)[0] > 0 else None


def _deploying(card: Card, use: Presence) -> Iterator[str]:
    if use.deployments:
        return
    if embeddable(card.artifacts) is not None:
        if not use.fetched:
            yield f"changeover pull {card.id}"
        yield f"changeover deploy {card.id}"
        return
    hosted = next((each for each in card.hosted if each.id and each.base_url and each.api != "other"), None)
    recipe = next(iter(card.recipes), None)
    if card.weights != "closed" and recipe is not None:
        yield f"{recipe.command}  {SERVER}"
        yield f"changeover deploy {served_name(recipe.command, card)} --engine openai --url http://SERVER:PORT/v1 --name {card.id}"
    elif hosted is not None:
        key = f" --key-env {hosted.key_variable}" if hosted.key_variable else ""
        yield f"changeover deploy {hosted.id} --engine openai --url {hosted.base_url}{key} --name {card.id}"
    else:
        served = card.repositories[0] if card.repositories else "NAME"
        yield f"changeover deploy {served} --engine openai --url http://SERVER:PORT/v1 --name {card.id}"


def _starting(shelf: Shelf) -> Iterator[str]:
    if shelf.project is None:
        yield "changeover init my-org && cd my-org"
    if _address(shelf) is None:
        yield f"changeover up  {ELSEWHERE}"


def _bringing_in(card: Card, task: str | None, query: str, scenarios: tuple[str, ...]) -> Iterator[str]:
    if task is None:
        task = _new_name(scenarios, query)
        # A task begins with what the embedded engine runs; whoever runs elsewhere takes it over from the echo engine.
        embedded = any(artifact.format == "gguf" for artifact in card.artifacts)
        yield f"changeover dataset import CASES.csv --new-task {task} --first {card.id if embedded else ECHO}"
        yield "changeover apply"
        if embedded:
            return
    yield f"changeover switch {task} --to {card.id}"


def _new_name(scenarios: tuple[str, ...], query: str) -> str:
    """A name for a task that is not there yet: the query's, where it says what to do and can be a name."""
    if not scenarios:
        return "my-task"
    spelled = "-".join(re.findall(r"[a-z0-9]+", query.casefold()))[:40].strip("-")
    return spelled if len(spelled) >= 3 else scenarios[0]


def _curl(shelf: Shelf, task: str, query: str) -> str:
    """The request, for any shell."""
    return f"curl {_door(shelf)} -d {shlex.quote(_body(task, query))}"


def _curl_with_picture(shelf: Shelf, task: str, query: str) -> str:
    """The request with a picture inside it: the gateway lets no model fetch one."""
    picture = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{PICTURE}"}}
    before, after = _body(task, [{"type": "text", "text": query}, picture]).split(PICTURE)
    encoded = "\"$(base64 < page.jpg | tr -d '\\n')\""
    written = f"{shlex.quote(before)}{encoded}{shlex.quote(after)}"
    # Through a pipe: a picture is longer than an argument may be.
    return f"printf %s {written} | curl {_door(shelf)} -d @-"


def _body(task: str, content: Any) -> str:
    return json.dumps({"model": task, "messages": [{"role": "user", "content": content}]}, ensure_ascii=False)


def _door(shelf: Shelf) -> str:
    key = '-H "Authorization: Bearer $CHANGEOVER_KEY"'
    return f"{_address(shelf) or DEFAULT_ADDRESS}/v1/chat/completions {key} -H 'Content-Type: application/json'"


def _address(shelf: Shelf) -> str | None:
    """Where this project's gateway listens; None where it does not run."""
    return None if shelf.project is None else running_address(shelf.project.state)


def _needs(card: Card) -> Iterator[str]:
    """What running it takes, as far as somebody published it."""
    if card.weights == "closed":
        yield "its weights are closed: only its vendor runs it"
        return
    if card.memory:
        recipe = next(iter(card.recipes), None)
        named = [each for each in card.memory if recipe is not None and each.quantisation == recipe.quantisation]
        least = min(named or card.memory, key=lambda each: each.minimum_gb)
        amount = f"{least.minimum_gb:g} GB ({least.minimum_gb * GB / GIB:.0f} GiB)"
        yield f"accelerators with at least {amount} of memory together, as {least.quantisation}"
    if card.minimum_hardware:
        yield card.minimum_hardware
    if not card.memory and not card.minimum_hardware:
        yield f"memory that nobody published: `changeover fit {card.id} --on h100x1` estimates it"
