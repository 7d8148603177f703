"""A server that answers as Ollama's documentation says, without a model: docs/api.md and the page on OpenAI compatibility.

No Ollama can be had from a package registry, so this stands in for it: real HTTP on a real socket, real files under
`OLLAMA_MODELS`. A model that was not created or pulled is not there. What it says is what it was told: a created model
answers with the first bytes of its file and with what its environment held.

Usage: python -m tests.support.fake_ollama serve
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LIBRARY = {"qwen3:0.6b"}
"""What can be pulled."""
TOLD = ("OLLAMA_CONTEXT_LENGTH", "OLLAMA_NUM_PARALLEL", "OLLAMA_KEEP_ALIVE", "OLLAMA_HOST")


class FakeOllama(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        found = self.path.startswith("/api/blobs/") and self.blob(self.path.removeprefix("/api/blobs/")).exists()
        self.say(200 if found else 404, {})

    def do_GET(self) -> None:
        if self.path == "/api/version":
            self.say(200, {"version": "0.0.0"})
        elif self.path == "/v1/models":
            self.say(200, {"object": "list", "data": [{"id": each, "object": "model"} for each in self.models()]})
        else:
            self.say(404, {"error": "not found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path.startswith("/api/blobs/"):
            self.keep(self.path.removeprefix("/api/blobs/"), body)
            return
        asked = json.loads(body)
        known = asked["model"] in self.models()
        if self.path == "/api/show":
            self.say(200, {"details": {}}) if known else self.say(404, {"error": f"model '{asked['model']}' not found"})
        elif self.path == "/api/pull":
            self.pull(asked["model"])
        elif self.path == "/api/create":
            self.create(asked)
        elif self.path == "/v1/chat/completions":
            self.chat(asked) if known else self.say(404, self.openai(f"model '{asked['model']}' not found"))
        else:
            self.say(404, {"error": "not found"})

    def keep(self, digest: str, body: bytes) -> None:
        if digest != f"sha256:{hashlib.sha256(body).hexdigest()}":
            self.say(400, {"error": "digest mismatch"})
            return
        self.blob(digest).write_bytes(body)
        self.say(201, {})

    def pull(self, name: str) -> None:
        if name not in LIBRARY:
            self.say(500, {"error": "pull model manifest: file does not exist"})
            return
        (store / "manifests" / name).write_text("")
        self.say(200, {"status": "success"})

    def create(self, asked: dict[str, Any]) -> None:
        for digest in asked["files"].values():
            if not self.blob(digest).exists():
                self.say(400, {"error": f"blob {digest} does not exist"})
                return
            if not self.blob(digest).read_bytes().startswith(b"GGUF"):
                self.say(400, {"error": "unsupported content type: unknown"})
                return
        (store / "manifests" / asked["model"]).write_text(json.dumps(asked["files"]))
        self.say(200, {"status": "success"})

    def chat(self, asked: dict[str, Any]) -> None:
        content = json.dumps({name: os.environ.get(name) for name in TOLD})
        usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
        head = {"id": "chatcmpl-1", "created": 1, "model": asked["model"], "system_fingerprint": "fp_ollama"}
        message = {"role": "assistant", "content": content}
        if asked.get("stream"):
            chunk = {"index": 0, "delta": message, "finish_reason": "stop"}
            self.stream({**head, "object": "chat.completion.chunk", "choices": [chunk], "usage": usage})
            return
        whole = {"index": 0, "message": message, "finish_reason": "stop"}
        self.say(200, {**head, "object": "chat.completion", "choices": [whole], "usage": usage})

    def stream(self, event: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())

    def say(self, status: int, body: dict[str, Any]) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(encoded)

    def models(self) -> list[str]:
        return [each.name for each in (store / "manifests").iterdir()]

    def blob(self, digest: str) -> Path:
        return store / "blobs" / digest.replace(":", "-")

    def openai(self, message: str) -> dict[str, Any]:
        return {"error": {"message": message, "type": "not_found_error", "param": None, "code": None}}

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    if sys.argv[1:] != ["serve"]:
        sys.exit(f"unknown command {sys.argv[1:]}")
    if "HOME" not in os.environ:
        sys.exit("Error: $HOME is not defined")
    store = Path(os.environ["OLLAMA_MODELS"])
    for each in ("manifests", "blobs"):
        (store / each).mkdir(parents=True, exist_ok=True)
    host, port = os.environ["OLLAMA_HOST"].split(":")
    ThreadingHTTPServer((host, int(port)), FakeOllama).serve_forever()
