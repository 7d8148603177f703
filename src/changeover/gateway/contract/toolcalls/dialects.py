"""Which dialect is opened by which markers, by the names that profiles use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from changeover.gateway.contract.source import Found, Source, Steps
from changeover.gateway.contract.toolcalls.gemma4 import OPEN, gemma4
from changeover.gateway.contract.toolcalls.json_calls import DEEPSEEK_OPENS, KIMI_OPENS, bare, deepseek, hermes, kimi
from changeover.gateway.contract.toolcalls.tags import DSML, GLM, MINIMAX, QWEN_CODER
from changeover.gateway.contract.toolcalls.tools import Tools

Handler = Callable[[Source, Found, str, Tools], Steps[bool]]
"""Reads what follows an opening marker. False if it is no call: then nothing was taken."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one family writes tool calls."""

    handlers: Mapping[str, Handler] = field(default_factory=dict[str, Handler])
    """By opening marker."""
    bare: Handler | None = None
    """Tried where an answer begins, without a marker."""
    ends_thought: bool = False
    """The markers are tokens that never stand in prose, so they end a thought that was not closed."""


DIALECTS: Mapping[str, Dialect] = {
    "native": Dialect(),
    "native_or_bare": Dialect(bare=bare),
    "hermes": Dialect(handlers={"<tool_call>": hermes}, bare=bare),
    "qwen_coder": Dialect(handlers={mark: QWEN_CODER.read for mark in QWEN_CODER.heads}),
    "glm": Dialect(handlers={mark: GLM.read for mark in GLM.heads}),
    "minimax": Dialect(handlers={mark: MINIMAX.read for mark in MINIMAX.heads}),
    "kimi": Dialect(handlers={mark: kimi for mark in KIMI_OPENS}, ends_thought=True),
    "deepseek": Dialect(
        handlers={**{mark: deepseek for mark in DEEPSEEK_OPENS}, **{mark: DSML.read for mark in DSML.heads}},
        ends_thought=True,
    ),
    "harmony": Dialect(),  # its calls are messages like any other: see reasoning.py
    "gemma4": Dialect(handlers={OPEN: gemma4}, ends_thought=True),
    "none": Dialect(bare=bare),
}
