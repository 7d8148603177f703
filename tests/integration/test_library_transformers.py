"""transformers loads a checkpoint from the library by `HF_ENDPOINT`. Needs transformers and torch, which no extra brings."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.shelves import card, pulled_directory, serving, today

from changeover.library.catalogue import Catalogue
from changeover.library.serve.repositories import Repositories, stored_in

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("transformers", "torch")),
    reason="needs transformers and torch: `pip install transformers torch` beside the development packages",
)

MAKE = """
import sys, torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
torch.manual_seed(7)
words = {word: place for place, word in enumerate("<s> </s> <unk> one two three four five".split())}
tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
tokenizer.pre_tokenizer = Whitespace()
config = LlamaConfig(vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                     num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64)
LlamaForCausalLM(config).save_pretrained(sys.argv[1], max_shard_size="8KB")
PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>").save_pretrained(sys.argv[1])
"""
ASK = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
with torch.no_grad():
    logits = model(**tokenizer("one two three", return_tensors="pt")).logits
print(json.dumps(logits.flatten().tolist()))
"""


def run(code: str, argument: str, **environment: str) -> str:
    done = subprocess.run(
        (sys.executable, "-c", code, argument),
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().rpartition("\n")[2]


def test_transformers_computes_from_the_library_what_it_computes_from_the_files(tmp_path: Path) -> None:
    directory = tmp_path / "checkpoint"
    run(MAKE, str(directory))
    assert len(list(directory.glob("*.safetensors"))) > 1, "weights in several files, as large models have them"
    weights = pulled_directory(directory, tmp_path / "cache")
    made = card("tiny", [weights], repositories=("Vendor/Tiny",))
    repositories = Repositories(Catalogue({made.id: made}), None, stored_in(tmp_path / "cache"), today)
    with serving(lambda: repositories) as hub:
        client = str(tmp_path / "client")
        loaded = run(ASK, "Vendor/Tiny", HF_ENDPOINT=hub.address, HF_HOME=client, HF_HUB_OFFLINE="0")
        fetched = {path.rpartition("/")[2] for method, path, _ in hub.asked if method == "GET" and "/resolve/" in path}
    assert json.loads(loaded) == json.loads(run(ASK, str(directory), HF_HUB_OFFLINE="1"))
    assert {path.name for path in directory.glob("*.safetensors")} <= fetched
