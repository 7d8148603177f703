"""Calls whose arguments stand between tags, one by one: Qwen3-Coder's, GLM's, MiniMax's and DeepSeek V3.2's.

Values are plain text there, so the tool's schema says which of them are numbers. An argument is passed on when it is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import regex

from changeover.gateway.contract.source import Found, Markers, Source, Steps
from changeover.gateway.contract.toolcalls.json_calls import BAR
from changeover.gateway.contract.toolcalls.tools import Tools, quoted

Pattern = regex.Pattern[str]


@dataclass(frozen=True, kw_only=True)
class Tags:
    """One way to write calls with tags."""

    heads: Mapping[str, Pattern]
    """What follows each opening marker, up to and with the tool's `name`."""
    argument: Pattern
    """The `key` of an argument, up to where its value begins; `text`, where there is one, says if it is text."""
    value_end: Markers
    call_end: Pattern
    following: Pattern | None = None
    """The head of a further call in the same block."""
    block_end: Pattern | None = None

    def read(self, source: Source, found: Found, opened: str, tools: Tools) -> Steps[bool]:
        """Read the calls of one block; False if what follows the marker is none, with nothing taken."""
        head = yield from source.match(self.heads[opened])
        if head is None:
            return False
        while head is not None:
            found.call(head["name"].strip())
            if not (yield from self._arguments(source, found, head["name"].strip(), tools)):
                return True
            if self.block_end is None or (yield from source.match(self.block_end)) is not None:
                return True
            if self.following is None:
                return True
            head = yield from source.match(self.following)
        return True

    def _arguments(self, source: Source, found: Found, tool: str, tools: Tools) -> Steps[bool]:
        """Read one call's arguments; False, with their JSON left open, if the text ended within."""
        before = "{"
        while (tag := (yield from source.match(self.argument))) is not None:
            key, parts = tag["key"].strip(), list[str]()
            end = yield from source.until(self.value_end, parts.append)
            value = "".join(parts).removeprefix("\n")
            if end is None:
                found.arguments(f"{before}{quoted(key)}: {quoted(value)[:-1]}")
                return False
            value = value.removesuffix("\n")
            said = tag.groupdict().get("text")
            json = quoted(value) if said == "true" else tools.value(tool, key, value)
            found.arguments(f"{before}{quoted(key)}: {json}")
            before = ", "
        if (yield from source.match(self.call_end)) is None and self._is_cut(source.text):
            found.arguments("{" if before == "{" else "")
            source.text = ""
            return False
        found.arguments("{}" if before == "{" else "}")
        return True

    def _is_cut(self, text: str) -> bool:
        """Whether nothing is wrong with the text but that it ends; text that goes on otherwise is content."""
        return any(pattern.match(text, partial=True) is not None for pattern in (self.argument, self.call_end))


_QWEN_NAME = r"(?P<name>[^\s<>=]+)>"

QWEN_CODER = Tags(
    heads={"<tool_call>": regex.compile(r"\s*<function=" + _QWEN_NAME), "<function=": regex.compile(_QWEN_NAME)},
    argument=regex.compile(r"\s*<parameter=(?P<key>[^\n<>]+)>"),
    value_end=Markers(["</parameter>"]),
    call_end=regex.compile(r"\s*</function>"),
    following=regex.compile(r"\s*<function=" + _QWEN_NAME),
    block_end=regex.compile(r"\s*</tool_call>"),
)

GLM = Tags(
    heads={"<tool_call>": regex.compile(r"\s*(?P<name>[\w.\-]+)\s*(?=<arg_key>|</tool_call>)")},
    argument=regex.compile(r"\s*<arg_key>(?P<key>[^<]+)</arg_key>\s*<arg_value>"),
    value_end=Markers(["</arg_value>"]),
    call_end=regex.compile(r"\s*</tool_call>"),
)


def _invokes(blocks: tuple[str, ...], bar: str) -> Tags:
    """`<invoke name="…">` with parameters in a block; `bar` stands before each word of a tag."""
    head = rf'\s*<{bar}invoke name="?(?P<name>[^"<>]+)"?\s*>'
    return Tags(
        heads={f"<{bar}{block}>": regex.compile(head) for block in blocks},
        argument=regex.compile(
            rf'\s*<{bar}parameter name="?(?P<key>[^"<>]+?)"?(?:\s+string="(?P<text>true|false)")?\s*>'
        ),
        value_end=Markers([f"</{bar}parameter>"]),
        call_end=regex.compile(rf"\s*</{bar}invoke>"),
        following=regex.compile(head),
        block_end=regex.compile("|".join(rf"\s*</{bar}{block}>" for block in blocks)),
    )


MINIMAX = _invokes(("minimax:tool_call",), "")
DSML = _invokes(("function_calls", "tool_calls"), f"{BAR}DSML{BAR}")
