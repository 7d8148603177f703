"""Getting files over HTTP: on from where it broke off, however often, and nothing but what was meant.

The Hub's own client begins every file anew in each process: `file_download.py` of huggingface_hub 2.4.0 gives its partial
files random names. So the bytes are fetched here, by the routes that it uses.

Beside a partial file `NAME.part` stands `NAME.part.json`: the ETag of what it is a part of.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx2

from changeover import __version__
from changeover.core.clock import SystemClock
from changeover.core.errors import ArtifactError
from changeover.library.fetch.access import Access

Report = Callable[[int], None]
"""Told how many bytes of the file are there."""

MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PORTS: Final = {"http": 80, "https": 443}
_BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same question may get an answer."""
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e]{1,200}"')


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where something is asked for."""

    url: str
    server: str
    """What errors call it. An address itself may carry a signature."""
    what: str
    """What is asked for, for errors."""
    explain: Callable[[int, str], str]
    """From a status that refuses, and the code that the server gives with it, to a sentence that says what to do."""
    token: str | None = None
    """Sent to this host only, wherever it redirects to."""
    stays: bool = False
    """Whether a redirect to another host or port is refused."""
    commit: str | None = None
    """The commit that the server has to answer with, if it names one."""
    sha256: str | None = None
    """What the file has to be, if the server says before it sends it."""


class _Trouble(Exception):
    """Something that another try may mend; the middle of a sentence about the server."""

    def __init__(self, says: str, *, wait_s: float | None = None) -> None:
        super().__init__(says)
        self.wait_s = wait_s


def download(origin: Origin, size_bytes: int, part: Path, report: Report, access: Access) -> bool:
    """Have all of a file in `part`, going on from what is in it. Returns whether it came in one answer.

    Raises:
        ArtifactError: The server refuses, sends something else, or breaks off too often. What arrived is kept if it may
            be a part of the right file.
        OSError: The disk is full.
    """
    began_with: list[int] = []
    """How much was there before each answer."""

    def once(client: httpx2.Client) -> None:
        begun = _length(part)
        if begun > size_bytes:
            begun = _discard(part)
        if begun == size_bytes:
            part.touch()
            return
        began_with.append(begun)
        while _length(part) < size_bytes:
            _go_on(client, origin, size_bytes, part, report)

    _patiently(origin, access, once, lambda: _length(part))
    return began_with == [0]


def read(origin: Origin, most_bytes: int, access: Access) -> bytes:
    """All of a small answer.

    Raises:
        ArtifactError: The server refuses, breaks off too often, or the answer is longer than it may be.
    """
    content = b""

    def once(client: httpx2.Client) -> None:
        nonlocal content
        with _answer(client, origin, {}) as response:
            found = bytearray()
            for block in response.iter_raw():
                found += block
                if len(found) > most_bytes:
                    raise ArtifactError(f"{origin.server} sends more than {most_bytes} bytes for {origin.what}.")
            content = bytes(found)

    _patiently(origin, access, once, lambda: 0)
    return content


def discard(part: Path) -> None:
    """Forget a partial file."""
    _discard(part)


def _patiently(
    origin: Origin, access: Access, once: Callable[[httpx2.Client], None], arrived: Callable[[], int]
) -> None:
    patience, tries, mark = access.patience, 0, arrived()
    with httpx2.Client(follow_redirects=False, timeout=access.sources.timeout_s) as client:
        while True:
            try:
                return once(client)
            except _Trouble as exc:
                if arrived() - mark >= patience.fresh_bytes:
                    tries, mark = 0, arrived()
                tries += 1
                wait_s = patience.first_wait_s * 2 ** (tries - 1) if exc.wait_s is None else exc.wait_s
                if tries >= patience.tries or wait_s > patience.longest_wait_s:
                    raise ArtifactError(_gives_up(origin, exc, tries, wait_s, access)) from exc
                time.sleep(wait_s)


def _gives_up(origin: Origin, exc: _Trouble, tries: int, wait_s: float, access: Access) -> str:
    if exc.wait_s is not None and wait_s > access.patience.longest_wait_s:
        return f"{origin.server} {exc} for {origin.what} and asks to wait {wait_s:.0f} s. Pull again then; what arrived is kept."
    return f"{origin.server} {exc} for {origin.what}, {tries} times in a row. Pull again later; what arrived is kept."


def _go_on(client: httpx2.Client, origin: Origin, size_bytes: int, part: Path, report: Report) -> None:
    """Have what one answer has of the rest: all of it, or as much as a server gives at once (RFC 9110, section 15.3.7)."""
    end = size_bytes
    begun, etag = _length(part), _etag_of(part)
    headers = {"Range": f"bytes={begun}-"} if begun else {}
    if begun and etag:
        headers["If-Range"] = etag
    with _answer(client, origin, headers) as response:
        if response.status_code == 206 and begun:
            end = _end_of_range(response, begun, size_bytes, part)
            _require_same(response, etag, part)
        elif response.status_code == 416:
            _discard(part)
            raise _Trouble("has no such part")
        elif begun:
            begun = _discard(part)
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and begun + int(announced) != end:
            _discard(part)
            raise ArtifactError(
                f"{origin.server} announces {begun + int(announced)} bytes for {origin.what}, and `{size_bytes}` are known. "
                "Nothing of it is kept. Check the revision and the digest."
            )
        _keep_etag(part, response.headers.get("ETag", ""))
        _write(response, origin, begun, size_bytes, part, report)
    if _length(part) < end:
        raise _Trouble("broke off")


def _write(response: httpx2.Response, origin: Origin, done: int, size_bytes: int, part: Path, report: Report) -> None:
    with part.open("ab", buffering=0) as file:  # what arrived is in the file, however this process ends
        report(done)
        for block in response.iter_raw():
            done += len(block)
            if done > size_bytes:
                _discard(part)
                raise ArtifactError(
                    f"{origin.server} sends more than the `{size_bytes}` bytes of {origin.what}. Nothing of it is kept."
                )
            file.write(block)
            report(done)


@contextmanager
def _answer(client: httpx2.Client, origin: Origin, headers: dict[str, str]) -> Generator[httpx2.Response]:
    """The answer to a request, at the end of its redirects, once it is one."""
    headers = {"Accept-Encoding": "identity", "User-Agent": f"changeover/{__version__}", **headers}
    url = origin.url
    try:
        for _ in range(MOST_REDIRECTS + 1):
            credentials = (
                {"Authorization": f"Bearer {origin.token}"} if origin.token and _same_origin(url, origin) else {}
            )
            with client.stream("GET", url, headers={**headers, **credentials}) as response:
                if url == origin.url:
                    _check_promises(response, origin)
                if response.status_code not in _REDIRECTS:
                    _check_status(response, origin)
                    yield response
                    return
                url = _redirected(url, response, origin)
        raise ArtifactError(
            f"{origin.server} redirects more than {MOST_REDIRECTS} times for {origin.what}. Check its address."
        )
    except httpx2.ConnectError as exc:
        raise _Trouble("cannot be reached") from exc
    except httpx2.TimeoutException as exc:
        raise _Trouble("is silent") from exc
    except httpx2.TransportError as exc:
        raise _Trouble("broke off") from exc
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as exc:
        raise ArtifactError(f"{origin.server} answers what is not HTTP for {origin.what}. Check its address.") from exc


def _check_status(response: httpx2.Response, origin: Origin) -> None:
    status = response.status_code
    if status in _BUSY:
        raise _Trouble(f"answers {status}", wait_s=_retry_after(response))
    if status >= 400 and status != 416:
        raise ArtifactError(origin.explain(status, response.headers.get("X-Error-Code", "")))
    if status not in (200, 206, 416):
        raise ArtifactError(f"{origin.server} answers {status} for {origin.what}. Check its address.")


def _check_promises(response: httpx2.Response, origin: Origin) -> None:
    """Compare what a hub says of a file, before it sends it, with what is known."""
    commit = response.headers.get("X-Repo-Commit", origin.commit)
    if origin.commit is not None and commit != origin.commit:
        raise ArtifactError(f"{origin.server} answers with another commit than `{origin.commit}` for {origin.what}.")
    linked = response.headers.get("X-Linked-ETag", "").strip('"')
    if origin.sha256 is not None and re.fullmatch(r"[0-9a-f]{64}", linked) and linked != origin.sha256:
        raise ArtifactError(
            f"{origin.server} has a file of digest `{linked[:16]}…` as {origin.what}, and `{origin.sha256[:16]}…` is known. "
            "It is not fetched. Check the revision and the digest."
        )


def _redirected(url: str, response: httpx2.Response, origin: Origin) -> str:
    location = response.headers.get("Location", "")
    target = urljoin(url, location)
    old, new = urlsplit(url), urlsplit(target)
    if not location or new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
        raise ArtifactError(
            f"{origin.server} redirects {origin.what} to where no file is fetched from. Check its address."
        )
    if origin.stays and not _stays(urlsplit(origin.url), new):
        raise ArtifactError(
            f"{origin.server} redirects {origin.what} to another host or port, which is not followed. "
            "Name the address where the file is, in `artifacts.sources`."
        )
    return target


def _stays(asked: SplitResult, new: SplitResult) -> bool:
    """Whether an address is on the same host and port; from 80 to 443 is the same server, only safer."""
    before, after = ((url.scheme, url.port or _PORTS[url.scheme]) for url in (asked, new))
    upgraded = (before, after) == (("http", 80), ("https", 443))
    return asked.hostname == new.hostname and (before == after or upgraded)


def _same_origin(url: str, origin: Origin) -> bool:
    mine, theirs = urlsplit(url), urlsplit(origin.url)
    return (mine.scheme, mine.hostname, mine.port) == (theirs.scheme, theirs.hostname, theirs.port)


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds that the server asks for; None where it asks for nothing that can be read."""
    said = response.headers.get("Retry-After", "").strip()
    if said.isdigit():
        return float(said[:9])
    try:
        return max(0.0, (parsedate_to_datetime(said) - SystemClock().now()).total_seconds()) if said else None
    except (TypeError, ValueError):
        return None


def _end_of_range(response: httpx2.Response, begun: int, size_bytes: int, part: Path) -> int:
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    first, last, total = map(int, match.groups()) if match else (0, 0, 0)
    if (first, total) != (begun, size_bytes) or not first <= last < total:
        _discard(part)
        raise _Trouble("sent another part than it was asked")
    return last + 1


def _require_same(response: httpx2.Response, etag: str | None, part: Path) -> None:
    if etag is not None and response.headers.get("ETag", etag) != etag:
        _discard(part)
        raise _Trouble("changed the file meanwhile")


def _length(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _discard(part: Path) -> int:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)
    return 0


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _keep_etag(part: Path, etag: str) -> None:
    # A weak one does not promise the same bytes, and If-Range does not take it.
    if _STRONG_ETAG.fullmatch(etag):
        _note(part).write_text(json.dumps({"etag": etag}))


def _etag_of(part: Path) -> str | None:
    try:
        etag = json.loads(_note(part).read_bytes())["etag"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return etag if isinstance(etag, str) and _STRONG_ETAG.fullmatch(etag) else None
