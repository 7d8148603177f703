"""The work of `changeover export` and `changeover import`."""

from __future__ import annotations

from pathlib import Path

from changeover.app.local import make_private
from changeover.app.portable.arrive import arrive_here, arrive_in_new, checked
from changeover.app.portable.leave import Asking, leave
from changeover.app.portable.manifest import PUBLIC_KEY, Manifest
from changeover.cli.frame import here, note, out, plain, print_json
from changeover.cli.running import opened
from changeover.rollouts.pack.sign import fingerprint, signing_key, trusted_key


def give_out(place: Path, *, content: bool, keys: bool, as_json: bool) -> None:
    """Write an export."""
    installation = opened()
    make_private(installation.project.state)
    key = signing_key(installation.project.state)
    manifest = leave(installation, place, Asking(content=content, keys=keys), key)
    for path in manifest.outside:
        note(f"not in it, for it lies outside the project: {path}")
    if as_json:
        print_json({"export": place, **_counted(manifest), "key": fingerprint(key.public_key())})
        return
    out.print(_in_short(manifest))
    out.print(f"      where   {plain(place)}")
    out.print(f"      key     {fingerprint(key.public_key())} signed it; {PUBLIC_KEY} in it")
    out.print(f"      next    changeover import {plain(place)} --into DIRECTORY")


def bring_in(source: Path, into: Path | None, trusted: str | None, as_json: bool) -> None:
    """Import an export."""
    key = None if trusted is None else trusted_key(trusted)
    project = None if into is not None else here()
    with checked(source, key) as (archive, manifest):
        if into is not None:
            arrive_in_new(archive, manifest, into)
        elif project is not None:
            arrive_here(archive, manifest, project)
    where = into or Path()
    for path in manifest.outside:
        note(f"not here, for it lay outside the project: {path}")
    if as_json:
        print_json({"project": where, **_counted(manifest)})
        return
    out.print(_in_short(manifest))
    if not manifest.keys:
        out.print("      keys    open nothing here: changeover key new NAME makes new ones")
    out.print(f"      next    {'' if into is None else f'cd {plain(into)} && '}changeover up")


def _counted(manifest: Manifest) -> dict[str, object]:
    return {
        "name": manifest.project,
        "schema": manifest.schema,
        "created_at": manifest.created_at,
        "content": manifest.content,
        "keys": manifest.keys,
        "rows": {table.name: table.rows for table in manifest.tables},
        "files": len(manifest.files),
        "bytes": sum(listed.bytes for listed in manifest.files.values()),
        "outside": manifest.outside,
    }


def _in_short(manifest: Manifest) -> str:
    rows = sum(table.rows for table in manifest.tables)
    size = sum(listed.bytes for listed in manifest.files.values())
    content = "" if manifest.content else ", without content"
    declared = len(manifest.files) - len(manifest.tables)
    return (
        f"{plain(manifest.project)}: {rows:,} rows of {len(manifest.tables)} tables and {declared} declarations, "
        f"{size:,} bytes{content}"
    )
