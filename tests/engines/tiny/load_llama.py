"""Load a tiny GGUF file in the embedded engine and generate eight tokens.

Run in our own environment: `python load_llama.py FILE`. Prints one JSON object. A process of its own, since a failed assertion ends it.
"""

from __future__ import annotations

import json
import os
import sys

os.environ["GGML_NO_BACKTRACE"] = "1"  # before the engine is imported: it would start a debugger

import xllamacpp

TOKENS = 8


def main(file: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 512, 1, 1
    params.warmup = params.fit_params = False
    params.port = 0
    server = xllamacpp.Server(params)
    asked = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": TOKENS, "ignore_eos": True}
    answer = server.handle_chat_completions({**asked, "temperature": 0})
    answer = json.loads(answer) if isinstance(answer, str | bytes) else answer
    print(json.dumps({"tokens": answer["usage"]["completion_tokens"], "wrong": None}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
