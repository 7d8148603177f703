"""`changeover sandbox`: prepared once, quick ever after."""

from __future__ import annotations

import time

import typer

from changeover.cli.frame import Json, err, out, print_json
from changeover.core.settings import cache_directory
from changeover.evals.sandbox import prepare

app = typer.Typer(add_completion=False)


@app.command()
def sandbox(as_json: Json = False) -> None:
    """Compile the sandbox that runs model-written code, once, into the cache. Later runs find it there.

    Example: changeover sandbox
    """
    started = time.perf_counter()
    with err.status("compiling CPython for WebAssembly, once (about a minute)"):
        prepare(cache_directory() / "sandbox")
    seconds = time.perf_counter() - started
    if as_json:
        print_json({"ready": True, "seconds": round(seconds, 1)})
    else:
        out.print(f"sandbox ready ({seconds:.1f} s)")
