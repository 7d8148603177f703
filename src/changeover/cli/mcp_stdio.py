"""The work of `changeover mcp`, which an agent starts and waits for."""

from __future__ import annotations

import sys
from pathlib import Path

from changeover.app.logs import set_up_logging
from changeover.cli.connecting import address_and_key
from changeover.cli.frame import run
from changeover.core.errors import ConfigError
from changeover.tools.mcp.stdio import serve_stdio


def serve(url: str | None, key: str | None, files: Path | None) -> None:
    """Serve one agent over standard input and output, until it closes them."""
    if files is not None and not files.is_dir():
        raise ConfigError(f"`--files {files}`: no such folder.")
    set_up_logging("text", sys.stderr)  # standard output is the protocol's
    run(serve_stdio(*address_and_key(url, key), files))
