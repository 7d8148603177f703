"""Load a tiny checkpoint in vLLM and generate eight tokens.

Run in the environment `vllm`: `python load_vllm.py DIRECTORY NAME`. Prints one JSON object.
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import sys
from pathlib import Path

from recipes import RECIPES
from vllm import LLM, SamplingParams

TOKENS = 8


def main(directory: str, name: str) -> None:
    sees = {} if RECIPES[name].eyes is None else {"limit_mm_per_prompt": {"image": 0, "video": 0}}
    place = str(Path(directory) / name)
    engine = LLM(model=place, enforce_eager=True, max_model_len=512, dtype="bfloat16", **sees)
    answers = engine.chat(
        [{"role": "user", "content": "hello"}], SamplingParams(max_tokens=TOKENS, temperature=0, ignore_eos=True)
    )
    print(json.dumps({"name": name, "tokens": len(answers[0].outputs[0].token_ids), "wrong": None}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
