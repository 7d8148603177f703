"""What holds for every test."""

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.support import postgres, processes
from tests.support.tool_projects import write_tools_project

# A job that a shell started in the background ignores Ctrl-C, and so would every command that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, and as long as they take: a busy machine is no failure, and neither is another day. To look
# for new ones: `pytest --hypothesis-profile=default`.
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")


@pytest.fixture
def own_logs() -> Iterator[None]:
    """The root logger, which the test may set up; afterwards it is pytest's again."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """One PostgreSQL server for all tests; nobody stops it but the end. Skips where none is installed."""
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.server() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[postgres.Server]:
    """A server that the test may stop, kill and freeze."""
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: postgres.Server) -> str:
    """Address of a fresh, empty database."""
    return postgres_server.fresh()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty database, one of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture(scope="session")
def tools_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[processes.Up]:
    """A gateway with the tools of `write_tools_project`, for every test that only calls it."""
    project = write_tools_project(tmp_path_factory.mktemp("tools") / "project")
    with processes.system(project) as up:
        processes.until(lambda: up.ready("echo"))
        yield up
