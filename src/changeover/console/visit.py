"""One request of somebody who is signed in: who they are, what they look at, and how they are answered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cached_property, partial
from typing import Any, TypeVar

from sqlalchemy import Connection
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from changeover.app.discretion import discreet, hidden_from, seen_by
from changeover.app.installation import Installation
from changeover.console import pages
from changeover.console.desk import Desk
from changeover.console.languages import language_of, translated
from changeover.console.people import Person, Right
from changeover.console.sessions import Session, Sessions
from changeover.core.clock import SystemClock
from changeover.core.errors import PermissionError_, RequestError
from changeover.core.threads import in_thread
from changeover.rollouts.actions import By
from changeover.store.engine import Store

COOKIE = "changeover_session"
HOST_ONLY = "__Host-"
"""Before the names of cookies that go by HTTPS only: no other name of the same domain can put such a one into a browser."""
MOST_FILES = 200
MOST_FIELD_BYTES = 32 << 20
LONGEST_REASON = 2_000
NO_PROJECT = (
    "This console was started outside of a project, so that it has tools and conversations only. "
    "Start it in the project for everything else: `changeover console`."
)
WHOLE = "Whoever is limited to some tasks may not do this: it concerns the tasks of others too. Ask an administrator."

Found = TypeVar("Found")


class SignInFirst(Exception):
    """The page is for those who are signed in."""


class OldForm(RequestError):
    """The form was not made here, or for another session."""

    status = 403
    code = "old_form"


class Visit:
    """A request with everything that a page needs to answer it."""

    def __init__(self, request: Request, session: Session) -> None:
        self.request = request
        self.session = session
        self._installation: Installation | None = None
        self.hidden: frozenset[str] = frozenset()
        """Names that whoever looks is not told, see `app.discretion`."""

    @classmethod
    def of(cls, request: Request) -> Visit:
        """The visit of somebody who is signed in.

        Raises:
            SignInFirst: Nobody is.
        """
        sessions: Sessions = request.app.state.sessions
        session = sessions.find(request.cookies.get(request.app.state.cookie))
        if session is None:
            raise SignInFirst
        return cls(request, session)

    @property
    def person(self) -> Person:
        return self.session.person

    @property
    def desk(self) -> Desk | None:
        return self.request.app.state.desk

    @property
    def installation(self) -> Installation:
        """The project; only pages that are not there everywhere have one."""
        assert self._installation is not None, "`come_in` was called"
        return self._installation

    @cached_property
    def theirs(self) -> Installation:
        """The project as whoever looks may see it, for what speaks of all tasks."""
        tasks = self.person.tasks
        return self.installation if tasks is None else seen_by(self.installation, tasks)

    @property
    def store(self) -> Store:
        return self.installation.store

    @property
    def now(self) -> datetime:
        """This moment, by the project's clock where there is a project."""
        return (SystemClock() if self._installation is None else self._installation.clock).now()

    async def come_in(self) -> None:
        """Take the project as it is now.

        Raises:
            RequestError: The console has none.
        """
        if self.desk is None:
            raise RequestError(NO_PROJECT)
        installation = self._installation = await self.desk.now()
        tasks = self.person.tasks
        if tasks is not None:
            self.hidden = await self.read(partial(_hidden, installation, tasks))
            self.request.state.hidden = self.hidden

    def require(self, right: Right) -> None:
        """Refuse whoever may not.

        Raises:
            PermissionError_: Says which role it takes.
        """
        if not self.person.may(right):
            raise PermissionError_(f"A key of the role `{self.person.role}` may not do this; ask an administrator.")

    def require_whole(self) -> None:
        """Refuse whoever may see some tasks only.

        Raises:
            PermissionError_: They are.
        """
        if self.person.tasks is not None:
            raise PermissionError_(WHOLE)

    def require_task(self, task: str) -> None:
        """Refuse a task that is not theirs. Only for one that they named: what else names one must not.

        Raises:
            PermissionError_: It is another's.
        """
        if not self.person.may_see(task):
            raise PermissionError_(f"This key may not look at or change `{task[:80]}`.")

    def sees(self, deployment: str) -> bool:
        """Whether a deployment is shown to them: it is shared, and no engine that is another's task's alone."""
        return deployment not in self.hidden

    def discreet(self, message: str) -> str:
        """What they are told, without names that are not theirs to know."""
        return discreet(message, self.hidden)

    def parameter(self, name: str) -> str:
        """A part of the address."""
        return _storable(str(self.request.path_params[name]))

    def query(self, name: str, default: str = "") -> str:
        """What the address asks for after its `?`, without space around it."""
        return _storable(self.request.query_params.get(name, default))

    def number(self, name: str) -> int | None:
        """A number that the address asks for; None where it asks for none, or for something else."""
        text = self.query(name)
        return int(text) if text.isdecimal() and len(text) <= 12 else None

    async def read(self, look: Callable[[Connection], Found]) -> Found:
        """Look something up, in a thread and one transaction.

        Raises:
            StoreError: The store cannot be used.
        """
        return await in_thread(partial(_read, self.store, look))

    async def do(self, work: Callable[[], Found]) -> Found:
        """Do what takes its time, in a thread."""
        return await in_thread(work)

    def by(self, reason: str) -> By:
        """Who acts, for histories.

        Raises:
            RequestError: There is no reason, or it is too long.
        """
        said = reason.strip()
        if not said or len(said) > LONGEST_REASON:
            raise RequestError(f"Say why, in at most {LONGEST_REASON} characters: it stands in the history.")
        return By(actor=self.person.actor, reason=said, now=self.installation.clock.now())

    @asynccontextmanager
    async def form(self) -> AsyncGenerator[FormData]:
        """The form that was sent.

        Raises:
            OldForm: It was not made here.
        """
        async with self.request.form(max_files=MOST_FILES, max_part_size=MOST_FIELD_BYTES) as form:
            if not self.session.came_from_us(form.get("csrf")):
                raise OldForm("This form is out of date. Go back, and send it again.")
            yield form

    def page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page, with what all of them show."""
        told = {name: self.discreet(value) if type(value) is str else value for name, value in values.items()}
        return pages.page(self.request, template, status, **told)

    def part(self, template: str, **values: Any) -> HTMLResponse:
        """A part of a page, as it is exchanged in one that is open."""
        return self.page(template, 200, **values)

    def go(self, path: str) -> RedirectResponse:
        """Have the browser go on there."""
        return RedirectResponse(path, 303)

    def tell(self, words: str, *values: object) -> None:
        """Say something at the head of the next page, once, in the reader's language.

        Args:
            words: As the catalogues have it, with `{}` for each value.
            values: Names and numbers in it.
        """
        self.session.told = self.discreet(translated(self.language, words).format(*values))

    @property
    def language(self) -> str:
        return language_of(self.request)


def text_of(form: FormData, name: str) -> str:
    """A field of a form as text; empty where it was not sent, or is a file."""
    value = form.get(name)
    return _storable(value) if isinstance(value, str) else ""


def _storable(text: str) -> str:
    """Without space around it, and without the one character that no text of PostgreSQL holds."""
    return text.replace("\x00", "").strip()


def _hidden(installation: Installation, tasks: frozenset[str], connection: Connection) -> frozenset[str]:
    return hidden_from(installation, connection, tasks)


def _read(store: Store, look: Callable[[Connection], Found]) -> Found:
    with store.read() as connection:
        return look(connection)
