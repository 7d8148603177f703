"""The environment variables that are read, for the page of configuration; a test finds those of the code here."""

from __future__ import annotations

from collections.abc import Mapping

VARIABLES: Mapping[str, str] = {
    "`CHANGEOVER_CACHE`": "Directory of weights, engines and compiled parts, shared by all projects of a user. Default: "
    "`changeover` below `$XDG_CACHE_HOME`, else below `~/.cache`.",
    "`CHANGEOVER_URL`, `CHANGEOVER_KEY`": "Address of a gateway and a key: of the Python client, and of the commands that "
    "call tools where `--url` and `--key` are not given.",
    "`HF_TOKEN`, or what `sources.hub_token_variable` names": "Token for the hub, sent to `sources.hub_endpoint` alone.",
    "`MODELSCOPE_API_TOKEN`": "Token for ModelScope.",
    "`HF_HUB_OFFLINE`": "Set to `1` it forbids what `sources.online` and `--online` allow.",
    "what `--key-env` or a card's host names": "Key of another server. Read by `changeover up`, so it must be set there.",
    "what `console.client_secret_env` names": "Secret of the console's client at the identity provider. Read by `changeover console`.",
    "what `telemetry.otlp_headers_env` names": "Headers for the collector of traces. Read by `changeover up`.",
    "`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`": "Proxies on the way to hubs and lists, and of the Python client. Engines and other "
    "servers are asked without.",
    "`LOGNAME`, `USER`": "Who a command says it is, in histories and audits.",
    "`COLUMNS`, `NO_COLOR`": "Width and colours of what is printed.",
    "`PATH`, `LD_LIBRARY_PATH`, `LANG`, `LC_…`, `TZ`, `TMPDIR`, `GGML_…`, `GOMP_…`, `OMP_…`": "The only ones that are handed on to "
    "engines, beside those that a backend sets. Tools' functions and the sandbox get fewer.",
    "`PGPASSWORD`, `PGPASSFILE` and the others of libpq": "Read by PostgreSQL's driver, where `store.url` says less.",
}


def table() -> str:
    """All of them, as the page has them."""
    rows = "\n".join(f"| {name} | {meaning} |" for name, meaning in VARIABLES.items())
    return f"| variable | meaning |\n|---|---|\n{rows}"
