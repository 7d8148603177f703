"""Events that are what an earlier one of their stream was, but for their text: an engine writes one for every token.

What was found out about the earlier one holds for them, so they are not looked through again. Where engine and gateway
share the cores, that is time in which the engine computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from changeover.gateway.sse import telling_from

_TEXTS: Final = (b'"content":"', b'"content": "', b'"reasoning_content":"', b'"reasoning_content": "', b'"text":"')
"""What comes before a text. Inside a JSON string its quotes would be escaped, so these are fields and never content."""
_AFTER_VALUE: Final = (b",", b"}")


class Alike(msgspec.Struct, frozen=True, gc=False):
    """An event without its text."""

    before: bytes
    after: bytes
    sent_before: bytes
    """What the caller gets in place of `before`."""
    sent_after: bytes

    def sent(self, chunk: bytes) -> bytes | None:
        """What the caller gets for an event that differs in its text alone; None if this is none, or not just one.

        A text without a quote and without a line break ends where `after` begins, and the event with it.
        """
        before, after = self.before, self.after
        if not (chunk.startswith(before) and chunk.endswith(after)):
            return None
        text = chunk[len(before) : len(chunk) - len(after)]
        if b'"' in text or b"\n" in text or len(chunk) < len(before) + len(after):
            return None
        return self.sent_before + text + self.sent_after


def alike(event: bytes, named: Sequence[bytes], task: bytes) -> Alike | None:
    """What events have to be that are as this one; None where it says more than a text.

    Args:
        event: As the engine wrote it.
        named: Forms in which the engine writes its name.
        task: What the caller gets for each of them.
    """
    if not (event.startswith(b"data: {") and event.endswith(b"}\n\n") and event.count(b"\n") == 2):
        return None
    if b'"error"' in event or telling_from(event) < len(event):
        return None
    for field in _TEXTS:
        if event.count(field) != 1:
            continue
        start = event.index(field) + len(field)
        end = event.find(b'"', start)
        before, after = event[:start], event[end:]
        if end < 0 or b"\\" in event[start:end] or not after.startswith(_AFTER_VALUE, 1):
            return None
        sent_before, sent_after = before, after
        for form in named:
            sent_before, sent_after = sent_before.replace(form, task), sent_after.replace(form, task)
        return Alike(before, after, sent_before, sent_after)
    return None
