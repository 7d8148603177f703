"""The work of `changeover library serve`."""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop

from changeover.app.library_files import LibraryFiles
from changeover.app.library_server import ServedLibrary, require_loopback, serve
from changeover.app.listening import address_of, listen
from changeover.app.logs import set_up_logging
from changeover.cli.frame import here, note, out, plain, print_listening
from changeover.core.clock import SystemClock
from changeover.core.settings import find_project
from changeover.store.engine import Store


def serve_library(host: str, port: int, open_door: bool, as_json: bool) -> None:
    """Serve until a signal."""
    # Without a project, the library as it ships can be served to whoever is on this machine.
    project = find_project(Path.cwd()) if open_door else here()
    if open_door:
        require_loopback(host)
    if project is not None:
        set_up_logging(project.settings.telemetry.log, sys.stderr)
    library = ServedLibrary(LibraryFiles(project), SystemClock())
    store = None if open_door or project is None else Store.open(project.store_url)
    listener = listen(host, port)
    try:
        address = address_of(listener)
        uvloop.run(serve(listener, library, store, lambda: _announce(address, store is None, as_json)))
    finally:
        listener.close()
        if store is not None:
            store.close()
    note("stopped")


def _announce(address: str, open_door: bool, as_json: bool) -> None:
    if as_json:
        print_listening(address=address, open=open_door)
        return
    token = "" if open_door else " HF_TOKEN=KEY"
    out.print(f"[bold]library[/]  {plain(address)}   engines load from it with  HF_ENDPOINT={plain(address)}{token}")
    out.print(
        "      models  curl "
        + ("" if open_door else '-H "Authorization: Bearer KEY" ')
        + plain(f"{address}/api/models")
    )
    out.file.flush()
