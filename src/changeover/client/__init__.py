"""The Python client of tools: `Client(url, key).run("document-summary", document=Path("report.pdf"))`.

Needs a gateway and a key, and nothing of the server's code beside its errors.
"""

from __future__ import annotations

from changeover.client.awaiting import AsyncClient
from changeover.client.blocking import Client
from changeover.client.failures import ClientError, JobCancelled, ToolFailed, Unreachable
from changeover.client.inputs import File
from changeover.client.values import Chat, Citation, Event, Job, Piece, Progress, Result, Tool

__all__ = [
    "AsyncClient",
    "Chat",
    "Citation",
    "Client",
    "ClientError",
    "Event",
    "File",
    "Job",
    "JobCancelled",
    "Piece",
    "Progress",
    "Result",
    "Tool",
    "ToolFailed",
    "Unreachable",
]
