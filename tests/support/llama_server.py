"""llama.cpp's own server, in the clothes of its program: it takes the program's flags and variables.

The embedded engine's library holds the same server that `llama-server` is built from. What is tested so is everything
around it: flags, variables, key, readiness, answers. Unknown flags are refused, as the program does.

Usage: python -m tests.support.llama_server FLAGS…
"""

from __future__ import annotations

import argparse
import os
import signal
from typing import Any

import xllamacpp

_native: Any = xllamacpp


def main() -> None:
    parser = argparse.ArgumentParser(prog="llama-server", allow_abbrev=False)
    parser.add_argument("--version", action="version", version="version: 11549 (0123abcd)\nbuilt with cc for x86_64")
    for name in ("--model", "--alias", "--host", "--pooling"):
        parser.add_argument(name)
    for name in ("--port", "--ctx-size", "--parallel", "--threads", "--threads-batch", "--batch-size", "--ubatch-size"):
        parser.add_argument(name, type=int)
    parser.add_argument("--jinja", action="store_true")
    parser.add_argument("--embeddings", action="store_true")
    asked = parser.parse_args()
    params = _native.CommonParams()
    params.model.path = asked.model
    params.model_alias = {asked.alias}
    params.hostnames = [asked.host]
    params.port = asked.port
    params.n_ctx = asked.ctx_size
    params.n_parallel = asked.parallel
    params.n_batch = asked.batch_size
    if asked.ubatch_size:
        params.n_ubatch = asked.ubatch_size
    params.cpuparams.n_threads = asked.threads
    params.cpuparams_batch.n_threads = asked.threads_batch
    params.use_jinja = asked.jinja
    params.embedding = asked.embeddings
    if asked.pooling == "mean":
        params.pooling_type = _native.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.api_keys = [os.environ["LLAMA_API_KEY"]]
    params.cache_ram_mib = int(os.environ["LLAMA_ARG_CACHE_RAM"])
    params.ctx_shift = os.environ["LLAMA_ARG_CONTEXT_SHIFT"] == "1"
    params.fit_params = os.environ["LLAMA_ARG_FIT"] == "on"
    params.ui = os.environ["LLAMA_ARG_UI"] == "1"
    params.endpoint_slots = os.environ["LLAMA_ARG_ENDPOINT_SLOTS"] == "1"
    params.sse_ping_interval = int(os.environ["LLAMA_ARG_SSE_PING_INTERVAL"])
    params.verbosity = int(os.environ["LLAMA_ARG_LOG_VERBOSITY"])
    server = _native.Server(params)
    while server:
        signal.pause()


if __name__ == "__main__":
    main()
