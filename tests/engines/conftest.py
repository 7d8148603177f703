"""What the lane's tests have in common: engines in environments of their own, real weights, tiny checkpoints.

A test is marked with the engine that it is about, so that `--engine NAME` leaves out those of others. No phase of a test
goes on for ever, and no process is left when all are over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engines.limits import ending_all, no_longer_than
from tests.engines.places import ENGINES, NEEDS, TINY, python_of, run
from tests.engines.tiny.recipes import RECIPES

from changeover.core.settings import EngineHome, EngineSettings, cache_directory
from changeover.library.catalogue import Catalogue
from changeover.serving.deployments import plan_for_card
from changeover.serving.homes import Homes
from changeover.serving.weights import pending

PREPARING_S, TESTING_S, ENDING_S = 2400, 1200, 180
"""No wall-clock tests: a test that is not over by then hangs, on however busy a machine."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the names of engines."""
    parser.addoption(
        "--engine", action="append", default=[], choices=[*NEEDS], help="only the tests of this engine; again for more"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marks mean."""
    config.addinivalue_line("markers", "engine(name): the engine that a test is about")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of engines that were not asked for. One without a mark is about several, and runs always."""
    if wanted := config.getoption("--engine"):
        marks = {item: item.get_closest_marker("engine") for item in items}
        others = [item for item, mark in marks.items() if mark is not None and mark.args[0] not in wanted]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    with no_longer_than(PREPARING_S, f"Preparing `{item.name}`"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    with no_longer_than(TESTING_S, f"`{item.name}`"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    with no_longer_than(ENDING_S, f"Clearing up after `{item.name}`"):
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    """Whatever a test starts ends with it, wherever that has moved; what does not is ended and named."""
    with ending_all() as left:
        yield
    assert left == [], "processes were left, and have been ended"


def converted(model: str, backend: str) -> Path | None:
    """Weights of a card as a kind of engine takes them; None where they were not made."""
    card = Catalogue.load().card(model)
    plan = plan_for_card(card, cache_directory(), EngineSettings(), backend=backend)  # pyright: ignore[reportArgumentType]
    there = plan.artifact is not None and plan.artifact.exists() and pending(plan) is None
    return plan.artifact if there else None


@pytest.fixture(scope="session")
def home() -> Callable[[str], Path]:
    """The interpreter of an engine's environment; the test is skipped where it is not set up."""

    def find(engine: str) -> Path:
        python = python_of(engine)
        if python is None:
            pytest.skip(f"no environment `{engine}` in {ENGINES}: `make test-engines` sets it up")
        return python

    return find


@pytest.fixture(scope="session")
def homes() -> Homes:
    """Where engines are, for backends: in the lane's environments alone, or beside us."""
    there = {name: python for name in NEEDS if (python := python_of(name)) is not None}
    return Homes(declared={name: EngineHome(python=str(python)) for name, python in there.items()})


@pytest.fixture(scope="session")
def weights() -> Callable[[str, str], Path]:
    """Weights of a card for a kind of engine; the test is skipped where they are not here."""

    def find(model: str, backend: str) -> Path:
        path = converted(model, backend)
        if path is None:
            pytest.skip(f"`{model}` is not here as `{backend}` takes it: `make test-engines` fetches and makes it")
        return path

    return find


@pytest.fixture(scope="session")
def safetensors(weights: Callable[[str, str], Path]) -> Callable[[str], Path]:
    """A card's weights in safetensors."""
    return lambda model: weights(model, "vllm")


@pytest.fixture(scope="session")
def built(home: Callable[[str], Path]) -> dict[str, str | None]:
    """What went wrong with each tiny checkpoint when it was built: mostly nothing. Built where a recipe has changed."""
    return _made_once("built.json", home("transformers"), "build.py", ("formats.py", "recipes.py", "build.py"))


@pytest.fixture(scope="session")
def tiny(built: dict[str, str | None]) -> Callable[[str], Path]:
    """The directory of a tiny checkpoint, by its recipe's name."""

    def find(name: str) -> Path:
        if wrong := built[name]:
            pytest.fail(f"`{name}` could not be built: {wrong}")
        return TINY / name

    return find


@pytest.fixture(scope="session")
def ggufs(built: dict[str, str | None], home: Callable[[str], Path]) -> dict[str, str | None]:
    """What went wrong when each tiny checkpoint was made a GGUF file."""
    return _made_once("ggufs.json", home("convert"), "to_gguf.py", ("built.json", "to_gguf.py"))


def _made_once(record: str, python: Path, script: str, depends: tuple[str, ...]) -> dict[str, str | None]:
    """What a script made of all recipes; it runs where something that it depends on is newer than its record."""
    file, beside = TINY / record, Path(__file__).with_name("tiny")
    TINY.mkdir(parents=True, exist_ok=True)
    newest = max(each.stat().st_mtime for name in depends for each in (beside / name, TINY / name) if each.exists())
    if not file.exists() or file.stat().st_mtime < newest:
        said = run(python, script, str(TINY), *RECIPES, timeout_s=1800)
        assert len(said) == len(RECIPES), said[-1]
        file.write_text(json.dumps({each["name"]: each["wrong"] for each in said}))
    return json.loads(file.read_bytes())


@pytest.fixture(scope="session")
def loads() -> Iterator[dict[tuple[str, str], dict[str, Any]]]:
    """What loaded where, by recipe and engine; written at the end to the file that `CHANGEOVER_LOADS` names."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    yield found
    if not (name := os.environ.get("CHANGEOVER_LOADS")) or not found:
        return
    file = Path(name)
    before = json.loads(file.read_bytes()) if file.exists() else []
    titles = {recipe.title for recipe in RECIPES.values()}
    rows = {(row["architecture"], row["engine"]): row for row in before if row["architecture"] in titles} | found
    places = {recipe.title: place for place, recipe in enumerate(RECIPES.values())}
    ordered = sorted(rows.values(), key=lambda row: (places[row["architecture"]], row["engine"]))
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in ordered)
    file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
