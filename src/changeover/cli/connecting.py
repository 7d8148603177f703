"""Which gateway a command about tools asks, with whose key, and how its refusals end the command."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from changeover.app.local import NOT_RUNNING, operator_key, running_address
from changeover.client import ToolFailed
from changeover.client.wire import URL_VARIABLE
from changeover.core.errors import ChangeoverError, ConfigError, RequestError, UnknownToolError
from changeover.core.settings import find_project


def address_and_key(url: str | None, key: str | None) -> tuple[str | None, str | None]:
    """Where to ask, and as whom: what is given or stands in the environment, else the project's running gateway.

    None of either: the client takes it from the environment.

    Raises:
        ConfigError: There is no project here, and no address.
        ChangeoverError: The project does not run.
    """
    if url or os.environ.get(URL_VARIABLE):
        return url, key
    project = find_project(Path.cwd())
    if project is None:
        raise ConfigError(
            f"No project here. Go into one, or give a gateway's address and a key: `--url`, `--key`, or `{URL_VARIABLE}`."
        )
    address = running_address(project.state)
    if address is None:
        raise ChangeoverError(NOT_RUNNING.format(name=project.settings.name))
    return address, key or operator_key(project.state)


def gateway_of(url: str | None) -> str:
    """Where to ask, for those whose callers have keys of their own.

    Raises:
        ConfigError, ChangeoverError: See `address_and_key`.
    """
    return address_and_key(url, None)[0] or os.environ[URL_VARIABLE]


@contextmanager
def refusals() -> Generator[None]:
    """Have a gateway's refusal of what was asked end the command as its own refusal would."""
    try:
        yield
    except ToolFailed as exc:
        if exc.code == UnknownToolError.code:
            raise UnknownToolError(exc.message) from exc
        if exc.code == RequestError.code:
            raise ConfigError(exc.message) from exc
        raise
