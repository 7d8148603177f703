"""What a judge may see of an answer: its text, never who wrote it."""

from __future__ import annotations

import json
import re

from changeover.core.digest import sha256_text
from changeover.evals.answers import Answer
from changeover.library.lineage import family_names

_NAME = rf"(?:{'|'.join(re.escape(word) for word in sorted(family_names(), key=len, reverse=True))})"
_MODEL = rf"(?<![A-Za-z]){_NAME}(?![A-Za-z])(?:[-. ]?v?\d[A-Za-z\d]*(?:\.\d[A-Za-z\d]*)*|-[A-Za-z\d]+)*"
"""A family's word with what versions and sizes add to it: `Qwen2.5-7B-Instruct`, `Gemma 3`."""
_MAKER = (
    r"(?:Alibaba(?: Cloud)?|DeepSeek|Meta(?: AI)?|Google(?: DeepMind)?|Mistral(?: AI)?|OpenAI|Anthropic"
    r"|Zhipu(?: AI)?|Z\.ai|Moonshot(?: AI)?|MiniMax|Tencent|Baidu|Hugging ?Face|Microsoft|NVIDIA|Nous Research"
    r"|阿里云|阿里巴巴|深度求索)"
)
_MADE = rf"\s*,?\s*(?:(?:which|that)\s+(?:is|was)\s+)?(?:created|developed|made|trained|built)\s+by\s+{_MAKER}"
_KIND = r"(?:(?:large|small|AI|language|chat|virtual)\s+)*(?:model|assistant|chatbot|AI)"
_FLAGS = re.IGNORECASE

_BY_NAME = re.compile(
    rf"(?P<who>\b(?:I\s+am|I['\u2019]m|my\s+name\s+is|call\s+me|this\s+is|as)\s+)"
    rf"(?:{_MODEL}|(?:an?|the)\s+{_MODEL}[-\s]+{_KIND})(?:\s*,\s*an?\s+{_KIND})?(?:{_MADE})?",
    _FLAGS,
)
_BY_MAKER = re.compile(rf"(?P<who>\b(?:I\s+am|I['\u2019]m|as)\s+an?\s+{_KIND}){_MADE}", _FLAGS)
_IN_CHINESE = re.compile(rf"(?P<who>我是|我叫|作为)\s*{_MODEL}", _FLAGS)
_IN_JAPANESE = re.compile(rf"(?P<who>(?:私|わたし|僕)(?:は|の名前は)\s*){_MODEL}", _FLAGS)


def shown(answer: Answer) -> str:
    """All of an answer as text: what it said and the tools it called."""
    if not answer.tool_calls:
        return answer.text
    calls = [{"name": call.name, "arguments": call.arguments} for call in answer.tool_calls]
    return f"{answer.text}\n\nTool calls: {json.dumps(calls, ensure_ascii=False)}".strip()


def without_identity(text: str) -> str:
    """A text in which the writer does not say which model it is.

    Only where a text speaks of itself: a market brief about Qwen keeps the name.

    >>> without_identity("As Qwen, I think so.")
    'As an assistant, I think so.'
    >>> without_identity("Qwen 3 was released in April.")
    'Qwen 3 was released in April.'
    """
    text = _BY_NAME.sub(r"\g<who>an assistant", text)
    text = _BY_MAKER.sub(r"\g<who>", text)
    text = _IN_CHINESE.sub(r"\g<who>助手", text)
    return _IN_JAPANESE.sub(r"\g<who>アシスタント", text)


def same_words(text: str) -> str:
    """One form for texts that differ in white space only."""
    return " ".join(text.split())


def text_digest(answer: Answer) -> str:
    """What people's labels name an answer by: white space and the model do not matter."""
    return sha256_text(same_words(shown(answer)))
