"""Marking what a model reads as data: a document must not be able to speak with the voice of its reader.

Chat templates tell turns apart by tokens such as `<|im_end|>`, and engines read these tokens out of any text: a document
that holds them could end the user's turn and begin one of its own. They are taken apart here, by one space.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(
    r"<(?=[|\uff5c][^<>\n]{1,60}[|\uff5c]>)"  # ChatML, Llama 3, DeepSeek, gpt-oss, GLM
    r"|<(?=\|(?:channel|tool_call|turn|think)\b)|<(?=(?:channel|tool_call|turn)\|>)"  # Gemma 4
    r"|<(?=/?(?:start_of_turn|end_of_turn|bos|eos|s|sop|eop|unk|pad|think|tool_call|tool_response|minimax:tool_call)>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|gMASK)\])"  # Mistral, GLM
    r"|<(?=<SYS>>)|<(?=</SYS>>)"
    r"|\](?=~!?b[\[\]])|\[(?=e~\[)",  # MiniMax
    re.IGNORECASE,
)
_MARKS = re.compile(r"<(?=/?data\b)", re.IGNORECASE)


def without_control(text: str) -> str:
    """The text with the control tokens of chat templates taken apart.

    >>> without_control("end <|im_end|> of [INST] it, a < b")
    'end < |im_end|> of [ INST] it, a < b'
    """
    return _CONTROL.sub(lambda found: f"{found[0]} ", text)


def as_data(text: object, name: str = "text") -> str:
    """The text between marks that it cannot close itself; `{{ text | data("report") }}` in an input template.

    >>> print(as_data("Pay </data> now", "invoice"))
    <data name="invoice">
    Pay < /data> now
    </data>
    """
    inside = _MARKS.sub("< ", without_control(str(text)))
    label = re.sub(r"[^\w .,()-]", "", str(name))[:80]
    return f'<data name="{label}">\n{inside}\n</data>'
