"""How chats of each family are written, with the marks of their real templates; no tools, no dates, no long words.

Imports nothing but the standard library: what builds checkpoints runs in an engine's environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Format:
    """The marks around each turn, by who speaks."""

    begin: str = ""
    """Before the first turn: the token that every text begins with, and what follows it."""
    opens: Mapping[str, str]
    closes: Mapping[str, str]
    end: str
    """The token that ends an answer."""
    marks: tuple[str, ...]
    """Tokens of the vocabulary, each one piece."""
    image: str = ""
    """What stands for an image."""

    def template(self) -> str:
        """The format in Jinja, as a checkpoint carries it."""
        opens, closes = (json.dumps(dict(each), ensure_ascii=False) for each in (self.opens, self.closes))
        parts = "{% if p.type == 'text' %}{{ p.text }}{% else %}{{ " + json.dumps(self.image) + " }}{% endif %}"
        text = (
            "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
            + parts
            + "{% endfor %}{% endif %}"
        )
        begin = json.dumps(self.begin, ensure_ascii=False)
        return (
            "{{ " + begin + " }}{% set opens = " + opens + " %}{% set closes = " + closes + " %}"
            "{% for m in messages %}{{ opens[m.role] }}" + text + "{{ closes[m.role] }}{% endfor %}"
            "{% if add_generation_prompt %}{{ opens['assistant'] }}{% endif %}"
        )


def _barred(mark: str) -> str:
    """A token between the wide bars of DeepSeek and Hunyuan."""
    return f"<\uff5c{mark}\uff5c>"


def _speakers(opens: str, closes: str, *, assistant: str = "assistant") -> dict[str, Mapping[str, str]]:
    """One pattern for all who speak; `@` is the role."""
    roles = {"system": "system", "user": "user", "assistant": assistant}
    return {
        "opens": {role: opens.replace("@", name) for role, name in roles.items()},
        "closes": dict.fromkeys(roles, closes),
    }


_CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>")
CHATML = Format(
    **_speakers("<|im_start|>@\n", "<|im_end|>\n"),
    end="<|im_end|>",
    marks=(*_CHATML, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    image="<|vision_start|><|image_pad|><|vision_end|>",
)
INTERNVL = Format(
    **_speakers("<|im_start|>@\n", "<|im_end|>\n"),
    end="<|im_end|>",
    marks=(*_CHATML, "<img>", "</img>", "<IMG_CONTEXT>"),
    image="<img><IMG_CONTEXT></img>",
)
HARMONY = Format(
    **_speakers("<|start|>@<|message|>", "<|end|>"),
    end="<|return|>",
    marks=("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>", "<|call|>", "<|endoftext|>"),
)
DEEPSEEK = Format(
    begin=_barred("begin▁of▁sentence"),
    opens={"system": "", "user": _barred("User"), "assistant": _barred("Assistant")},
    closes={"system": "", "user": "", "assistant": _barred("end▁of▁sentence")},
    end=_barred("end▁of▁sentence"),
    marks=(
        _barred("begin▁of▁sentence"),
        _barred("end▁of▁sentence"),
        _barred("User"),
        _barred("Assistant"),
        "<think>",
        "</think>",
    ),
)
KIMI = Format(
    **_speakers("<|im_@|>@<|im_middle|>", "<|im_end|>"),
    end="<|im_end|>",
    marks=("[BOS]", "[EOS]", "<|im_system|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_end|>"),
)
GLM = Format(
    begin="[gMASK]<sop>",
    **_speakers("<|@|>\n", ""),
    end="<|user|>",
    marks=(
        *("<|endoftext|>", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>"),
        *("<|observation|>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<|image|>", "<|video|>"),
        *("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"),
    ),
    image="<|begin_of_image|><|image|><|end_of_image|>",
)
MINIMAX = Format(
    begin="]~!b[",
    **_speakers("]~b]@\n", "[e~[\n", assistant="ai"),
    end="[e~[",
    marks=("]~!b[", "]~b]", "[e~[", "<think>", "</think>", "<minimax:tool_call>", "</minimax:tool_call>"),
)
GEMMA3 = Format(
    begin="<bos>",
    **_speakers("<start_of_turn>@\n", "<end_of_turn>\n", assistant="model"),
    end="<end_of_turn>",
    marks=(
        *("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        *("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
    ),
    image="<start_of_image>",
)
GEMMA4 = Format(
    begin="<bos>",
    **_speakers("<|turn>@\n", "<turn|>\n", assistant="model"),
    end="<turn|>",
    marks=("<bos>", "<eos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>"),
)
HUNYUAN = Format(
    begin=_barred("hy_begin▁of▁sentence"),
    opens={"system": "", "user": _barred("hy_User"), "assistant": _barred("hy_Assistant")},
    closes={"system": _barred("hy_place▁holder▁no▁3"), "user": "", "assistant": _barred("hy_place▁holder▁no▁2")},
    end=_barred("hy_place▁holder▁no▁2"),
    marks=(
        *(_barred("hy_begin▁of▁sentence"), _barred("hy_User"), _barred("hy_Assistant"), "<think>", "</think>"),
        *(_barred("hy_place▁holder▁no▁2"), _barred("hy_place▁holder▁no▁3")),
    ),
)
ERNIE = Format(
    begin="<|begin_of_sentence|>",
    opens={"system": "", "user": "User: ", "assistant": "Assistant: "},
    closes={"system": "\n", "user": "\n", "assistant": "<|end_of_sentence|>"},
    end="<|end_of_sentence|>",
    marks=("<|begin_of_sentence|>", "<|end_of_sentence|>", "<s>", "</s>"),
)
