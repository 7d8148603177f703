"""The server: every tool that the caller's key may use is a tool of the protocol; calling one runs it as a job."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp_types as types
import msgspec
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from changeover import __version__
from changeover.client import AsyncClient, ClientError, Progress, Result, Tool
from changeover.client.values import cited
from changeover.core.errors import ChangeoverError
from changeover.tools.mcp.files import Files

LINGER_S = 60.0
"""How long a run whose caller went away without a word goes on and waits to be asked for again."""
INSTRUCTIONS = (
    "Tools of this organisation: they read what they are given, and change nothing. Long ones report progress. What an "
    "answer is taken from stands below it; say so when you pass it on."
)

Context = ServerRequestContext[Any, Any]
Sessions = Callable[[Context], tuple[str, AsyncClient]]
"""Who calls: a name that is the same for the same key, and a client with that key."""


@dataclass
class Offer:
    """Tools, offered."""

    sessions: Sessions
    files: Files
    connections_break: bool = False
    """Whether a connection may break under a run, which looks like a cancellation: over HTTP, in the newer versions."""
    linger_s: float = LINGER_S
    _left: dict[str, tuple[str, asyncio.Task[None]]] = field(default_factory=dict[str, tuple[str, asyncio.Task[None]]])
    """By call: runs whose caller is gone, and what will cancel them."""

    def server(self) -> Server[Any]:
        """The server, to be put on a transport."""
        return Server(
            "changeover",
            version=__version__,
            title="Changeover tools",
            instructions=INSTRUCTIONS,
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
        )

    async def list_tools(self, context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """Every tool that the caller's key may use."""
        del params
        _, client = self.sessions(context)
        try:
            tools = await client.tools()
        except ChangeoverError as exc:
            raise MCPError(types.INTERNAL_ERROR, exc.message) from exc
        return types.ListToolsResult(tools=[self._described(tool) for tool in tools])

    async def call_tool(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Run one. What goes wrong is the result's own text: whoever asked may mend it and ask again."""
        who, client = self.sessions(context)
        try:
            inputs = await asyncio.to_thread(self.files.read, params.arguments or {})
            call = _digest(who, params.name, inputs)
            job = await self._begun(call, client, params.name, inputs)
            result = await self._followed(context, client, job, call)
        except ChangeoverError as exc:
            return types.CallToolResult(content=[types.TextContent(text=exc.message)], is_error=True)
        return types.CallToolResult(content=[types.TextContent(text=_text(result))], structured_content=result.value)

    def _described(self, tool: Tool) -> types.Tool:
        return types.Tool(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            input_schema=self.files.schema(tool.inputs),
            output_schema=tool.output if tool.output.get("type") == "object" else None,
            annotations=types.ToolAnnotations(title=tool.title, read_only_hint=True, open_world_hint=False),
        )

    async def _begun(self, call: str, client: AsyncClient, name: str, inputs: dict[str, Any]) -> str:
        """A job for a call: the one that goes on if the same call was left a moment ago."""
        left = self._left.pop(call, None)
        if left is not None:
            job, ending = left
            ending.cancel()
            return job
        with anyio.fail_after(None, shield=True):  # a job that began is known, and can be cancelled
            return (await client.submit(name, **inputs)).id

    async def _followed(self, context: Context, client: AsyncClient, job: str, call: str) -> Result:
        reported = -1.0

        async def report(progress: Progress) -> None:
            nonlocal reported
            if progress.share > reported:  # the protocol wants it to rise
                reported = progress.share
                await context.session.report_progress(reported, progress.steps, str(progress))

        try:
            result = await client.wait(job, report)
        except anyio.get_cancelled_exc_class():
            if self.connections_break and context.protocol_version in MODERN_PROTOCOL_VERSIONS:
                self._left[call] = (job, asyncio.create_task(self._leave(call, client, job)))
            else:
                with anyio.CancelScope(shield=True):
                    await _quietly(client.cancel(job))
            raise
        await _quietly(client.cancel(job))  # its result is here, and need not lie there too
        return result

    async def _leave(self, call: str, client: AsyncClient, job: str) -> None:
        """Cancel a run that nobody asks for again."""
        await asyncio.sleep(self.linger_s)
        if self._left.get(call, ("",))[0] == job:  # else another that asked for the same has left since
            del self._left[call]
        await _quietly(client.cancel(job))


async def _quietly(ending: Coroutine[Any, Any, None]) -> None:
    """Cancel or delete a job; where that fails it ends, or is deleted, by itself."""
    try:
        await ending
    except ClientError:
        return


def _digest(who: str, name: str, inputs: dict[str, Any]) -> str:
    seen = msgspec.json.encode([who, name, inputs], order="sorted")
    return hashlib.sha256(seen).hexdigest()


def _text(result: Result) -> str:
    """The answer, what it is taken from, and what is not as it should be."""
    parts = [result.text.rstrip()]
    if result.citations:
        parts.append("Sources:\n" + "\n".join(cited(result.citations)))
    if result.problems:
        parts.append("Note: " + " ".join(result.problems))
    return "\n\n".join(parts)
