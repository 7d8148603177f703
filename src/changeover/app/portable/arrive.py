"""Import: an export is checked whole, then brought into an empty installation in one transaction, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from changeover.app.local import make_private, only_one
from changeover.app.portable.archive import Archive, beside, check_whole, lines, read_small, reading
from changeover.app.portable.files import read_settings
from changeover.app.portable.manifest import (
    DECLARATIONS,
    MANIFEST,
    PUBLIC_KEY,
    SIGNATURE,
    Manifest,
    Table,
    read_manifest,
    table_file,
)
from changeover.app.portable.queries import Shape, add_rows, columns_of, go_on_counting, is_empty, is_portable, shapes
from changeover.core.digest import BLOCK_BYTES
from changeover.core.errors import ConfigError, StoreError
from changeover.core.settings import SETTINGS_FILE, Project, open_project
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.store.schema import REVISION

LONGEST_PATH = 500
"""Of a dataset's file in the store; the end of a longer one is kept."""


@contextmanager
def checked(place: Path, trusted: Ed25519PublicKey | None) -> Generator[tuple[Archive, Manifest]]:
    """Open an export and check everything of it that can be checked without a store.

    Raises:
        ConfigError: It is none, is damaged, was edited, or a newer version wrote it.
    """
    with reading(place) as archive:
        manifest = read_manifest(
            read_small(archive, MANIFEST), read_small(archive, SIGNATURE), read_small(archive, PUBLIC_KEY), trusted
        )
        if manifest.schema > REVISION:
            raise ConfigError(
                f"This export has schema `{manifest.schema}`, newer than this changeover's `{REVISION}`. Upgrade changeover."
            )
        check_whole(archive, manifest.files)
        yield archive, manifest


def arrive_in_new(archive: Archive, manifest: Manifest, directory: Path) -> None:
    """Make a project of an export in a new directory, its store a SQLite file there.

    Raises:
        ConfigError: Something is there already, the export names a store of its own, or its rows contradict each other.
            Nothing is left then.
    """
    directory = directory.absolute()
    if directory.is_symlink() or (directory.exists() and (not directory.is_dir() or any(directory.iterdir()))):
        raise ConfigError(f"`{directory}` is there already. Name a directory that is not there yet: `--into`.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    draft = beside(directory)
    draft.mkdir()
    try:
        settings = f"{DECLARATIONS}{SETTINGS_FILE}"
        (draft / SETTINGS_FILE).write_bytes(read_small(archive, settings))
        project = open_project(draft)
        _require_own_store(project)
        make_private(project.state)
        _fill(archive, manifest, project, root=directory, but=(settings,))
        draft.replace(directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def arrive_here(archive: Archive, manifest: Manifest, project: Project) -> None:
    """Bring an export into a project that has settings and nothing else. Its settings stay, and so does its store's place.

    Raises:
        ConfigError: It is not empty, has its declarations elsewhere, runs, or the rows contradict each other. Then it is as
            it was.
        StoreError: Its store cannot be used.
    """
    _check_free(archive, manifest, project)
    fresh = not project.state.exists()
    make_private(project.state)
    try:
        with only_one(project.state):
            _fill(archive, manifest, project, root=project.root, but=(f"{DECLARATIONS}{SETTINGS_FILE}",))
    except BaseException:
        if fresh:
            shutil.rmtree(project.state, ignore_errors=True)
        raise


def _require_own_store(project: Project) -> None:
    """Refuse settings that would have the rows written into whatever store an export names."""
    if project.settings.store.url is not None:
        raise ConfigError(
            f"The {SETTINGS_FILE} of this export names a store, and `changeover export` writes none. Nothing was imported: "
            "make a project with the store of your choice, and import into that."
        )


def _check_free(archive: Archive, manifest: Manifest, project: Project) -> None:
    """Refuse a project whose directories are called otherwise, or that has declarations of its own."""
    theirs = read_settings(read_small(archive, f"{DECLARATIONS}{SETTINGS_FILE}"))
    for key in ("tasks", "library", "policy"):
        if (here := getattr(project.settings, key)) != (there := getattr(theirs, key)):
            raise ConfigError(
                f"`{key}` is `{here}` in {SETTINGS_FILE} here and `{there}` in the export. Make them alike."
            )
    taken = [project.root / name for name in _declared(manifest) if name != SETTINGS_FILE]
    own = [path for directory in (project.tasks, project.cards) for path in directory.rglob("*") if path.is_file()]
    found = next((path for path in (*taken, *own) if path.exists()), None)
    if found is not None:
        raise ConfigError(
            f"This project is not empty: it has `{found.relative_to(project.root)}`. Import into a project that has only "
            f"{SETTINGS_FILE}, or into a new directory with `--into`."
        )


def _declared(manifest: Manifest) -> Iterator[str]:
    """Declarations of an export, by their path in the project."""
    yield from (name.removeprefix(DECLARATIONS) for name in manifest.files if name.startswith(DECLARATIONS))


def _fill(archive: Archive, manifest: Manifest, project: Project, *, root: Path, but: tuple[str, ...]) -> None:
    """Write the rows into a project's empty store and its files beside it.

    Args:
        archive: Checked.
        manifest: The archive's.
        project: Where.
        root: The directory that the project will have in the end.
        but: Files that are not written.
    """
    store = Store.connect(project.store_url)
    written: list[Path] = []
    try:
        _make_room(store, manifest)
        with _contradictions(), store.write() as connection:
            for table in manifest.tables:
                _fill_table(connection, archive, table, root)
            go_on_counting(connection, [table.name for table in manifest.tables])
            for name in manifest.files:
                if name.startswith(DECLARATIONS) and name not in but:
                    _copy(archive, name, project.root / name.removeprefix(DECLARATIONS), written)
        migrate(store)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    finally:
        store.close()


def _make_room(store: Store, manifest: Manifest) -> None:
    """Have empty tables of the export's schema.

    Raises:
        ConfigError: The store has rows, or tables of another schema.
    """
    found = store.revision()
    if found is None:
        migrate(store, to=manifest.schema)
        return
    if found != manifest.schema or found != REVISION:
        raise ConfigError(
            f"The store here has schema `{found}` and the export `{manifest.schema}`. Import into a store that was never used."
        )
    with store.read() as connection:
        full = [shape.name for shape in shapes() if not is_empty(connection, shape.name)]
    if full:
        raise ConfigError(
            f"This installation is not empty: its store has rows in `{'`, `'.join(full[:5])}`. Import into a new one: `--into`."
        )


def _fill_table(connection: Connection, archive: Archive, table: Table, root: Path) -> None:
    name = table.name
    columns = columns_of(connection, name) if is_portable(name) else set[str]()
    unknown = sorted(table.columns.keys() - columns)
    if unknown:
        what = f"no column `{unknown[0]}`" if columns else "no such table"
        raise ConfigError(f"This export has a table `{name}` that its schema does not have so: {what}.")
    change = _CHANGES.get(name)
    rows = _rows(archive, name)
    if change is not None:
        rows = (change(row, root) for row in rows)
    number = add_rows(connection, Shape(name, table.columns), rows)
    if number != table.rows:
        raise ConfigError(f"`{table_file(name)}` has {number} rows, and the manifest says {table.rows}.")


def _rows(archive: Archive, name: str) -> Iterator[Mapping[str, Any]]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    for number, line in enumerate(lines(archive, table_file(name)), start=1):
        try:
            yield decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise ConfigError(f"`{table_file(name)}` of this export: row {number} is no JSON object: {exc}.") from exc


def _dataset_version(row: Mapping[str, Any], root: Path) -> Mapping[str, Any]:
    """A dataset's file has its whole path in the store: so it is known again whatever a task calls it."""
    path = row.get("path")
    if not isinstance(path, str) or Path(path).is_absolute():
        return row
    return {**row, "path": str(root.resolve() / path)[-LONGEST_PATH:]}


_CHANGES: Mapping[str, Callable[[Mapping[str, Any], Path], Mapping[str, Any]]] = {"dataset_versions": _dataset_version}


def _copy(archive: Archive, name: str, path: Path, written: list[Path]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(name) as file, path.open("xb") as out:
            written.append(path)
            while block := file.read(BLOCK_BYTES):
                out.write(block)
    except OSError as exc:
        raise ConfigError(f"`{path}` cannot be written: {exc.strerror or exc}. Nothing was imported.") from exc


@contextmanager
def _contradictions() -> Generator[None]:
    """Say of rows that the database refuses what that means."""
    try:
        yield
    except StoreError as exc:
        if isinstance(exc.__cause__, IntegrityError | DataError):
            said = str(exc.__cause__.orig).partition("\n")[0]
            raise ConfigError(
                f"The rows of this export contradict each other or its schema: {said}. Nothing was imported."
            ) from exc
        raise
