"""Build tiny checkpoints. Run in the environment `transformers`: `python build.py DIRECTORY [NAME…]`.

Prints one JSON object for each: its name, and what went wrong if anything did.
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import tokenizers
import torch
import transformers
from recipes import BASE, RECIPES, VOCABULARY, Recipe

PAD, UNKNOWN = "<pad>", "<unk>"


def main(directory: str, *names: str) -> None:
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    for name in names or RECIPES:
        wrong = None
        try:
            torch.manual_seed(0)
            build(RECIPES[name], Path(directory) / name)
        except Exception as exc:  # the others are built all the same
            wrong = f"{type(exc).__name__}: {exc}"
        print(json.dumps({"name": name, "wrong": wrong}), flush=True)


def build(recipe: Recipe, place: Path) -> None:
    """Make one from nothing and save it."""
    shutil.rmtree(place, ignore_errors=True)
    tokenizer = tokenizer_of(recipe)
    model = getattr(transformers, recipe.model)(configuration(recipe, tokenizer)).to(torch.bfloat16).eval()
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    file = place / "config.json"
    file.write_text(json.dumps(merged(json.loads(file.read_text()), recipe.written), indent=1))
    turn(recipe.transposed, place / "model.safetensors")


def tokenizer_of(recipe: Recipe) -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE, learnt from the standard library's own text, in which the format's marks are one piece each."""
    format = recipe.format
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None))
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(dict.fromkeys((*format.marks, PAD, UNKNOWN))),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train([str(each) for each in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:20]], trainer)
    first = next((mark for mark in format.marks if format.begin.startswith(mark)), format.marks[0])
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=first, eos_token=format.end, pad_token=PAD, unk_token=UNKNOWN
    )
    made.chat_template = format.template()
    made.model_max_length = BASE["max_position_embeddings"]
    return made


def configuration(recipe: Recipe, tokenizer: transformers.PreTrainedTokenizerFast) -> transformers.PreTrainedConfig:
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = {**BASE, **ids, **recipe.options}
    make = getattr(transformers, recipe.config)
    if recipe.eyes is None:
        return make(**text)
    tokens = {option: tokenizer.convert_tokens_to_ids(token) for option, token in recipe.tokens.items()}
    return make(text_config=text, vision_config=dict(recipe.eyes), **tokens, **recipe.beside)


def merged(config: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with what other engines want to read, part by part."""
    for key, value in more.items():
        config[key] = merged(config.get(key, {}), value) if isinstance(value, dict) else value
    return config


def turn(ends: tuple[str, ...], file: Path) -> None:
    if not ends:
        return
    tensors = safetensors.torch.load_file(file)
    for name, tensor in tensors.items():
        if name.endswith(ends):
            tensors[name] = tensor.transpose(1, 2).contiguous()
    safetensors.torch.save_file(tensors, file, metadata={"format": "pt"})


if __name__ == "__main__":
    main(*sys.argv[1:])
