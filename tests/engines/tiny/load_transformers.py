"""Load tiny checkpoints and generate eight tokens of a chat.

Run in the environment `transformers`: `python load_transformers.py DIRECTORY NAME…`. Prints one JSON object for each.
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import transformers
from recipes import RECIPES

TOKENS = 8


def main(directory: str, *names: str) -> None:
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    for name in names:
        try:
            made, wrong = generated(name, str(Path(directory) / name)), None
        except Exception as exc:  # the others are tried all the same
            made, wrong = 0, f"{type(exc).__name__}: {exc}"
        print(json.dumps({"name": name, "tokens": made, "wrong": wrong}), flush=True)


def generated(name: str, place: str) -> int:
    kind = transformers.AutoModelForCausalLM
    if RECIPES[name].eyes is not None:
        kind = transformers.AutoModelForImageTextToText
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    asked.pop("token_type_ids", None)
    model = kind.from_pretrained(place, dtype=torch.float32).eval()
    answer = model.generate(**asked, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False)
    return answer.shape[1] - asked["input_ids"].shape[1]


if __name__ == "__main__":
    main(*sys.argv[1:])
