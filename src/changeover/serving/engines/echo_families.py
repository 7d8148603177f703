"""How families of open models write their reasoning and their tool calls into plain text, where no engine takes them out.

Sources: the models' chat templates, and OpenAI's description of the harmony format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec


@dataclass(frozen=True, slots=True)
class Called:
    """A tool call."""

    name: str
    arguments: Mapping[str, Any]

    def text(self) -> str:
        """The arguments as JSON."""
        return _json(self.arguments)


def with_reasoning(form: str, reasoning: str, text: str, *, cut: bool = False) -> str:
    """Content that begins with reasoning, as a family writes it.

    Args:
        form: `think`, `think_open`, `harmony` or `gemma4`.
        reasoning: What was thought.
        text: The answer.
        cut: The model was stopped while it thought: its mark at the end is missing.
    """
    before, after = REASONING[form]
    return before + reasoning + ("" if cut else after + text)


def with_calls(form: str, calls: Sequence[Called]) -> str:
    """Tool calls, as a family writes them."""
    return TOOLS[form](calls)


REASONING = {
    "think": ("<think>\n", "\n</think>\n\n"),
    "think_open": ("", "\n</think>\n\n"),
    "harmony": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant"),
    "gemma4": ("<|channel>thought\n", "<channel|>"),
}
HARMONY_FINAL = "<|channel|>final<|message|>"
"""Before an answer; each call has a channel of its own."""


def _hermes(calls: Sequence[Called]) -> str:
    return "\n".join(
        f'<tool_call>\n{{"name": {_json(call.name)}, "arguments": {call.text()}}}\n</tool_call>' for call in calls
    )


def _qwen_coder(calls: Sequence[Called]) -> str:
    return "\n".join(
        f"<tool_call>\n<function={call.name}>\n"
        + "".join(f"<parameter={key}>\n{_plain(value)}\n</parameter>\n" for key, value in call.arguments.items())
        + "</function>\n</tool_call>"
        for call in calls
    )


def _glm(calls: Sequence[Called]) -> str:
    return "\n".join(
        f"<tool_call>{call.name}\n"
        + "".join(
            f"<arg_key>{key}</arg_key>\n<arg_value>{_plain(value)}</arg_value>\n"
            for key, value in call.arguments.items()
        )
        + "</tool_call>"
        for call in calls
    )


def _minimax(calls: Sequence[Called]) -> str:
    inside = "".join(
        f'<invoke name="{call.name}">\n'
        + "".join(f'<parameter name="{key}">{_plain(value)}</parameter>\n' for key, value in call.arguments.items())
        + "</invoke>\n"
        for call in calls
    )
    return f"<minimax:tool_call>\n{inside}</minimax:tool_call>"


def _kimi(calls: Sequence[Called]) -> str:
    inside = "".join(
        f"<|tool_call_begin|>functions.{call.name}:{number}<|tool_call_argument_begin|>{call.text()}<|tool_call_end|>"
        for number, call in enumerate(calls)
    )
    return f"<|tool_calls_section_begin|>{inside}<|tool_calls_section_end|>"


def _deepseek(calls: Sequence[Called]) -> str:
    inside = "\n".join(
        _deep("call▁begin")
        + "function"
        + _deep("sep")
        + f"{call.name}\n```json\n{call.text()}\n```"
        + _deep("call▁end")
        for call in calls
    )
    return _deep("calls▁begin") + inside + _deep("calls▁end")


def _deep(mark: str) -> str:
    """One of DeepSeek's marks, between bars of full width."""
    return f"<\uff5ctool▁{mark}\uff5c>"


def _harmony(calls: Sequence[Called]) -> str:
    return "<|start|>assistant".join(
        f"<|channel|>commentary to=functions.{call.name} <|constrain|>json<|message|>{call.text()}<|call|>"
        for call in calls
    )


def _gemma4(calls: Sequence[Called]) -> str:
    return "".join(f"<|tool_call>call:{call.name}{_bare(call.arguments)}<tool_call|>" for call in calls)


def _bare(value: Any) -> str:
    """Gemma's own notation: keys without quotes, texts between marks and unescaped."""
    if isinstance(value, str):
        return f'<|"|>{value}<|"|>'
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, Any]", value).items()
        return "{" + ",".join(f"{key}:{_bare(inner)}" for key, inner in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_bare(inner) for inner in cast("list[Any]", value)) + "]"
    return _json(value)


def _plain(value: Any) -> str:
    """Between tags: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


TOOLS: Mapping[str, Callable[[Sequence[Called]], str]] = {
    "hermes": _hermes,
    "qwen_coder": _qwen_coder,
    "glm": _glm,
    "minimax": _minimax,
    "kimi": _kimi,
    "deepseek": _deepseek,
    "harmony": _harmony,
    "gemma4": _gemma4,
}
