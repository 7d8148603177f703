"""Weights behind an address of the organisation's own: plain HTTP or HTTPS, without credentials, on one host.

A mirror is named by the card, so it needs no `sources.online`. It is asked for nothing but the files, and followed to no
other host or port: whoever can write an answer of it decides no address that this machine asks.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit

from changeover.library.artifacts import ArtifactFile, MirrorSource
from changeover.library.fetch import http
from changeover.library.fetch.http import Origin
from changeover.library.fetch.remote import fetch_each
from changeover.library.fetch.staging import Staging


def fetch(source: MirrorSource, staging: Staging) -> None:
    """Have the file at the address, or the files below it."""
    server = f"The mirror `{urlsplit(source.url).netloc}`"

    def origin_of(file: ArtifactFile) -> Origin:
        url = f"{source.url.rstrip('/')}/{quote(file.path)}" if staging.several else source.url
        what = f"`{file.path if staging.several else urlsplit(source.url).path.rsplit('/', 1)[-1]}`"
        return Origin(
            url=url, server=server, what=what, explain=lambda status, _: _explain(server, what, status), stays=True
        )

    def get(file: ArtifactFile, part: Path, report: http.Report) -> bool:
        return http.download(origin_of(file), file.size_bytes, part, report, staging.access)

    fetch_each(staging, get)


def _explain(server: str, what: str, status: int) -> str:
    if status in (401, 403):
        return f"{server} wants credentials for {what} ({status}), and mirrors get none. Open it to this machine."
    if status in (404, 410):
        return f"{server} does not have {what} ({status}). Correct the address in `artifacts.sources`."
    return f"{server} refuses {what} ({status}). Check its address."
