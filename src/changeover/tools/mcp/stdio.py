"""The server over standard input and output: an agent starts it, and it ends with the agent."""

from __future__ import annotations

from pathlib import Path

from mcp.server.stdio import stdio_server

from changeover.client import AsyncClient
from changeover.tools.mcp.files import Files
from changeover.tools.mcp.server import Offer


async def serve_stdio(url: str | None, key: str | None, files: Path | None) -> None:
    """Serve until standard input ends.

    Args:
        url: Of the gateway.
        key: Whose tools are offered.
        files: Folder in which paths are followed; None: none is.

    Raises:
        ConfigError: There is no address or no key.
    """
    async with AsyncClient(url, key) as client:
        server = Offer(lambda _: ("", client), Files(files)).server()
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
