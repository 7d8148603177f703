"""Transformers with a tiny random checkpoint of a real class: what it says means nothing, how it says it does."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.support.engines import COMPLETIONS, ask, chat, events, running

from changeover.core.errors import ContextOverflow, RequestError
from changeover.serving.backends import TransformersBackend
from changeover.serving.homes import Homes
from changeover.serving.plan import EnginePlan
from changeover.serving.upstream import Upstream

MAKE = """
import sys, torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import Glm4Config, Glm4ForCausalLM, PreTrainedTokenizerFast
letters = sorted(pre_tokenizers.ByteLevel.alphabet())
vocabulary = {letter: number for number, letter in enumerate([*letters, "<|end|>", "<|user|>", "<|assistant|>"])}
tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", additional_special_tokens=["<|user|>", "<|assistant|>"])
fast.chat_template = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}<|assistant|>"
torch.manual_seed(0)
config = Glm4Config(vocab_size=len(vocabulary), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=512,
    eos_token_id=vocabulary["<|end|>"], pad_token_id=vocabulary["<|end|>"])
Glm4ForCausalLM(config).to(torch.bfloat16).save_pretrained(sys.argv[1])
fast.save_pretrained(sys.argv[1])
"""
"""Letters are its tokens, so that an end inside a character comes by itself."""

pytestmark = pytest.mark.engine("transformers")


@pytest.fixture
async def transformers(home: Callable[[str], Path], homes: Homes, tmp_path: Path) -> AsyncIterator[Upstream]:
    python = home("transformers")
    await asyncio.to_thread(subprocess.run, [python, "-c", MAKE, tmp_path / "tiny"], check=True, timeout=300)
    plan = EnginePlan(
        deployment="tiny", backend="transformers", model="tiny-glm", artifact=tmp_path / "tiny",
        options={"context_tokens": 4096},
    )  # fmt: skip
    backend = TransformersBackend(homes)
    assert not backend.missing(plan)
    async with running(backend, plan, tmp_path) as upstream:
        yield upstream


async def test_a_model_of_a_real_class_answers_as_every_capability_that_is_declared_says(
    transformers: Upstream,
) -> None:
    """One engine for all of it: torch takes its time to load."""
    await says_the_same_whole_and_streamed(transformers)
    await ends_where_it_should(transformers)
    await scores_and_repeats(transformers)
    await refuses_without_harm(transformers)
    await frees_the_place_of_who_left(transformers)


async def says_the_same_whole_and_streamed(upstream: Upstream) -> None:
    whole = await ask(upstream, messages=[{"role": "user", "content": "Hello"}], temperature=0, max_tokens=32)
    *pieces, usage = await events(
        upstream, messages=[{"role": "user", "content": "Hello"}], temperature=0, max_tokens=32,
        stream_options={"include_usage": True},
    )  # fmt: skip
    text = "".join(each["choices"][0]["delta"].get("content", "") for each in pieces)
    assert text == whole["choices"][0]["message"]["content"]
    assert usage["usage"] == whole["usage"]
    assert whole["usage"]["prompt_tokens"] == len("Hello") + 2


async def ends_where_it_should(upstream: Upstream) -> None:
    cut = await chat(upstream, "Hello", max_tokens=5)
    assert cut["finish_reason"] == "length"
    text = (await chat(upstream, "Hello", max_tokens=32, temperature=1.5, seed=3))["message"]["content"]
    stop = next(letter for letter in text[3:] if letter not in text[:3])
    stopped = await chat(upstream, "Hello", max_tokens=32, temperature=1.5, seed=3, stop=stop)
    assert (stopped["message"]["content"], stopped["finish_reason"]) == (text[: text.index(stop)], "stop")


async def scores_and_repeats(upstream: Upstream) -> None:
    scored = await chat(upstream, "Hello", max_tokens=4, logprobs=True, top_logprobs=3)
    for entry in scored["logprobs"]["content"]:
        likeliest = [each["logprob"] for each in entry["top_logprobs"]]
        assert likeliest == sorted(likeliest, reverse=True)
        assert entry["logprob"] == likeliest[0]  # at temperature 0 the likeliest is chosen
    sampled = {"messages": [{"role": "user", "content": "Hi"}], "temperature": 1, "max_tokens": 16, "n": 2}
    once, again, other = [
        [each["message"]["content"] for each in (await ask(upstream, **sampled, seed=seed))["choices"]]
        for seed in (7, 7, 8)
    ]
    assert once == again != other
    assert once[0] != once[1]
    answer = await ask(upstream, COMPLETIONS, prompt=["ab", "cde"], max_tokens=2, temperature=0, echo=True)
    assert [each["text"][:2] for each in answer["choices"]] == ["ab", "cd"]
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    known = (await ask(upstream, COMPLETIONS, prompt="abcd", max_tokens=1, temperature=0, echo=True, logprobs=2))[
        "choices"
    ][0]
    assert known["logprobs"]["tokens"][:4] == ["a", "b", "c", "d"]
    assert known["logprobs"]["token_logprobs"][0] is None
    after = (await ask(upstream, COMPLETIONS, prompt="abc", max_tokens=1, temperature=0, logprobs=20))["choices"][0]
    best, same = (
        max(each.values()) for each in (known["logprobs"]["top_logprobs"][3], after["logprobs"]["top_logprobs"][0])
    )
    assert best == pytest.approx(same, abs=0.05)  # computed with the prompt and after it, in half precision
    bent = await chat(upstream, "Hello", max_tokens=24, presence_penalty=2, frequency_penalty=2)
    assert bent["message"]["content"] != (await chat(upstream, "Hello", max_tokens=24))["message"]["content"]


async def refuses_without_harm(upstream: Upstream) -> None:
    with pytest.raises(ContextOverflow) as caught:
        await chat(upstream, "x" * 600)
    assert (caught.value.prompt_tokens, caught.value.context_tokens) == (602, 512)
    with pytest.raises(RequestError, match="no schema"):
        await chat(upstream, "Hello", response_format={"type": "json_object"})
    with pytest.raises(RequestError, match="temperature"):
        await chat(upstream, "Hello", temperature="hot")
    assert await upstream.probe(5.0) is None


async def frees_the_place_of_who_left(upstream: Upstream) -> None:
    """One waits and one runs; neither takes the time of who comes next."""
    leaving = [asyncio.create_task(chat(upstream, "Hello", max_tokens=480)) for _ in range(8)]
    await asyncio.sleep(0.5)
    for each in leaving:
        each.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    began = time.monotonic()
    await chat(upstream, "Hello", max_tokens=1)
    assert time.monotonic() - began < 10
