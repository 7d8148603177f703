"""E-mails, by the standard library: headers, the text, and what is attached, one level deep."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from typing import Any

from changeover.core.errors import DocumentError
from changeover.tools.documents import formats
from changeover.tools.documents.formats.web import visible
from changeover.tools.documents.kinds import recognised
from changeover.tools.documents.reading import Reading
from changeover.tools.documents.texts import decoded

MOST_ATTACHMENTS = 50
MOST_PARTS = 1_000
MOST_NESTED = 100
_HEADERS = ("From", "To", "Cc", "Reply-To", "Date", "Subject")
_MOST_HEADER_CHARS = 2_000


def read(data: bytes, reading: Reading) -> None:
    """Read an e-mail. Its attachments become further pages; an e-mail that is attached is not opened."""
    if data.count(b"multipart/") > MOST_NESTED:
        raise DocumentError(f"`{reading.name}` has more than {MOST_NESTED} parts within parts, as no e-mail has.")
    message = message_from_bytes(data, policy=policy.default)
    if sum(1 for _ in message.walk()) > MOST_PARTS:
        raise DocumentError(f"`{reading.name}` has more than {MOST_PARTS:,} parts, as no e-mail that people write has.")
    headers = [f"{name}: {value}" for name in _HEADERS if (value := _header(message, name))]
    reading.title = _header(message, "Subject")[:300] or None
    body = _body(message, reading)
    attached = list(message.iter_attachments()) if message.is_multipart() else []
    if not headers and not body and not attached:
        raise reading.empty()
    names = [_name(each, number) for number, each in enumerate(attached, start=1)]
    if names:
        headers.append("Attachments: " + ", ".join(names[:MOST_ATTACHMENTS]))
    reading.sections(["\n".join(headers), *body], "e-mail, section {}")
    if len(attached) > MOST_ATTACHMENTS:
        reading.note(f"only {MOST_ATTACHMENTS} of its {len(attached)} attachments were read")
    for name, part in list(zip(names, attached, strict=True))[:MOST_ATTACHMENTS]:
        _read_attached(name, part, reading)


def _read_attached(name: str, part: EmailMessage, reading: Reading) -> None:
    """Read what is attached; where it cannot be read, the e-mail still is."""
    content = part.get_payload(decode=True) if not part.is_multipart() else None
    if not isinstance(content, bytes):
        reading.note(f"attachment {name} was not read: it is an e-mail itself")
        return
    outer = reading.name, reading.title
    reading.name = name
    try:
        kind = recognised(content, name) if content else None
        if kind is None or kind == "email":
            reading.note(f"attachment {name} was not read: it is {'an e-mail itself' if content else 'empty'}")
            return
        reading.within = f"{name}, "
        formats.read_as(kind, content, reading)
    except DocumentError as exc:
        if reading.pages >= reading.limits.most_pages or reading.chars > reading.limits.most_chars:
            raise
        reading.within = ""
        reading.note(f"attachment {name} was not read: {exc.message}")
    except (MemoryError, RecursionError):
        raise
    except Exception as exc:  # of a parser, on a damaged attachment
        reading.within = ""
        reading.note(f"attachment {name} was not read: it is damaged ({type(exc).__name__})")
    finally:
        reading.within = ""
        reading.name, reading.title = outer


def _header(message: EmailMessage, name: str) -> str:
    try:
        value = message.get(name)
    except Exception:  # the parser of headers raises many things on what nobody should send
        return "(unreadable)"
    return " ".join(str(value or "").split())[:_MOST_HEADER_CHARS]


def _body(message: EmailMessage, reading: Reading) -> list[str]:
    try:
        part = message.get_body(preferencelist=("plain", "html"))
    except (KeyError, AttributeError, ValueError):
        part = None
    if part is None:
        return []
    text = _text(part)
    if part.get_content_type() == "text/html":
        return visible(text, reading)[0]
    if not text.strip():
        other = message.get_body(preferencelist=("html",))
        return visible(_text(other), reading)[0] if other is not None else []
    return [each for each in text.replace("\r\n", "\n").split("\n\n") if each.strip()]


def _text(part: MIMEPart[Any, Any]) -> str:
    content = part.get_payload(decode=True)
    data = content if isinstance(content, bytes) else b""
    try:
        return data.decode(part.get_content_charset() or "utf-8")
    except (LookupError, UnicodeDecodeError, ValueError):
        return decoded(data)


def _name(part: EmailMessage, number: int) -> str:
    try:
        claimed = part.get_filename() or ""
    except Exception:  # as of headers
        claimed = ""
    last = claimed.replace("\\", "/").rsplit("/", 1)[-1]
    clean = "".join(letter for letter in last if letter.isprintable() and letter != "`").strip()
    return clean[:80] or f"attachment {number}"
