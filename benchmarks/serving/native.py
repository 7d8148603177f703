"""llama.cpp by itself: one process that loads a model, says so, and answers by native calls; nothing of ours is in it.

Reads one line of JSON, prints `ready`, and for each further line answers so many requests and prints their pace.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import xllamacpp

_native: Any = xllamacpp
SILENT = 0


def main() -> None:
    server = _load(json.loads(sys.stdin.readline()))
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.perf_counter()
        with ThreadPoolExecutor(asked["at_once"]) as pool:
            answers = pool.map(server.handle_chat_completions, asked["bodies"])
            tokens = sum(answer["usage"]["completion_tokens"] for answer in answers)
        print(json.dumps({"seconds": time.perf_counter() - began, "tokens": tokens}), flush=True)


def _load(config: dict[str, Any]) -> Any:
    params = _native.CommonParams()
    params.model.path = config["artifact"]
    params.n_ctx = config["context_tokens"] * config["slots"]
    params.n_parallel = config["slots"]
    params.cpuparams.n_threads = config["threads"]
    params.cpuparams_batch.n_threads = config["threads"]
    params.fit_params = False
    params.port = 0
    params.verbosity = SILENT
    return _native.Server(params)


if __name__ == "__main__":
    main()
