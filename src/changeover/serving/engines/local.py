"""The embedded engine's process: llama.cpp, loaded with one model, answering through its own native HTTP server."""

from __future__ import annotations

import signal
import time
from typing import Any
from urllib.parse import urlsplit

import xllamacpp

from changeover.serving.engines.child import Child

_native: Any = xllamacpp  # a compiled module without types

LAST_WORDS_S = 0.3
"""llama.cpp writes its log from a thread of its own, which on busy cores has often not come to the cause when it gives up."""
ERRORS_ONLY = 1
"""llama.cpp's log level. One more would write about every request."""


def main() -> None:
    """Load the model, answer until the parent is gone."""
    child = Child()
    try:
        server = serve(child.config, child.secret)
    except (RuntimeError, ValueError, OSError) as exc:
        time.sleep(LAST_WORDS_S)
        child.failed(str(exc))
    note = child.drop_rights()
    address: str = server.listening_address
    child.ready(0 if child.config.get("socket") else urlsplit(address).port or 0, note)
    while True:
        signal.pause()


def serve(config: dict[str, Any], secret: str) -> Any:
    """Start the server; it has loaded the model and listens when this returns.

    Raises:
        RuntimeError: The model could not be loaded; the log says why.
    """
    params = _native.CommonParams()
    params.model.path = config["artifact"]
    params.model_alias = {config["deployment"]}
    params.n_ctx = config["context_tokens"] * config["slots"]
    params.n_parallel = config["slots"]
    params.cpuparams.n_threads = config["threads"]
    params.cpuparams_batch.n_threads = config["threads"]
    for name, value in config["settings"].items():
        setattr(params, name, value)
    if config.get("embeddings"):
        params.embedding = True
        # A text to be embedded is computed in one piece; what does not fit into that would be refused.
        params.n_batch = params.n_ubatch = max(config["context_tokens"], params.n_batch)
        if config["embeddings"] == "mean":
            params.pooling_type = _native.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.mmproj.path = config.get("projector", "")
    params.lora_adapters = [_adapter(path) for path in config.get("adapters", ())]
    params.fit_params = False  # it would shrink the context to the memory that is free, and not say so
    params.offline = True
    _close_doors(params, secret, config.get("socket"))
    return _native.Server(params)


def _adapter(path: str) -> Any:
    adapter = _native.CommonAdapterLoraInfo()
    adapter.path = path
    adapter.scale = 0.0  # until a request says otherwise
    return adapter


def _close_doors(params: Any, secret: str, socket: str | None) -> None:
    params.hostnames = [socket or "127.0.0.1"]
    params.port = 0
    params.api_keys = [secret]
    params.cors_origins = "http://127.0.0.1"  # else any web page in a browser here could ask
    params.cors_credentials = False
    params.ui = False
    params.endpoint_slots = False  # it shows prompts
    params.endpoint_props = False
    params.endpoint_metrics = False
    params.sse_ping_interval = -1  # a comment line would pass for the first bytes of an answer
    params.verbosity = ERRORS_ONLY


if __name__ == "__main__":
    main()
