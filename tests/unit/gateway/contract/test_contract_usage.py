from __future__ import annotations

import json

import pytest

from changeover.gateway.contract import estimate_tokens, estimated_usage

ENGLISH = (
    "The bank reported a rise in quarterly profit on Thursday, helped by stronger lending income and lower provisions for bad "
    "loans. Analysts had expected a smaller increase, and the shares rose by three per cent in early trading. "
)
CHINESE = "该银行周四公布季度利润上升\uff0c得益于贷款收入增加以及坏账准备金减少。分析师此前预计增幅较小\uff0c早盘股价上涨百分之三。"
JAPANESE = "銀行は木曜日、貸出収入の増加と不良債権引当金の減少により四半期利益が増加したと発表しました。アナリストはより小幅な増加を予想していました。"
RECORDS = json.dumps(
    [{"id": i, "name": f"item-{i}", "price": i * 1.37, "tags": ["a", "bb"], "ok": True} for i in range(80)]
)


@pytest.mark.parametrize(
    ("text", "counted"),
    # By Qwen2.5's tokenizer, then by Gemma 3's.
    [(ENGLISH * 4, (173, 169)), (CHINESE * 4, (128, 156)), (JAPANESE * 4, (208, 168)), (RECORDS, (3600, 3600))],
)
def test_an_estimate_is_within_a_quarter_of_what_tokenizers_count(text: str, counted: tuple[int, int]) -> None:
    for tokens in counted:
        assert 0.75 < estimate_tokens(text) / tokens < 1.3


def test_nothing_has_no_tokens_and_anything_has_one() -> None:
    assert estimate_tokens("") == 0
    assert estimate_tokens("a") == 1
    assert estimate_tokens("\ud800") == 1


def test_an_estimate_counts_what_the_model_reads_and_says_what_it_is() -> None:
    body = {
        "model": "m" * 400,
        "messages": [
            {"role": "user", "content": ENGLISH},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:" + "x" * 4000}}]},
        ],
    }

    usage = estimated_usage(body, ENGLISH)

    assert usage["estimated"] is True
    assert usage["completion_tokens"] == estimate_tokens(ENGLISH)
    assert estimate_tokens(ENGLISH) <= usage["prompt_tokens"] <= estimate_tokens(ENGLISH) + 20
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_an_estimate_has_the_names_of_its_endpoint() -> None:
    usage = estimated_usage({"input": [1, 2, 3], "system": ENGLISH}, "", ("input_tokens", "output_tokens"))

    assert usage["input_tokens"] == 3 + estimate_tokens(ENGLISH)
    assert usage["output_tokens"] == 0
