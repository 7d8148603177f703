"""Runs in Ray's own environment, under a warden: an application of Ray Serve whose replicas each keep one engine.

It imports nothing of ours, since Ray's environment does not have it: it is run as a file, and its class travels to the
replicas by value. A replica starts the engine's command exactly as the supervisor would, on whichever node it is; this
process is the only door. Ray's own HTTP proxy, which asks nobody for a key, is not started.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import queue
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final, NoReturn

# By name: our own environment, where types are checked, has no Ray.
aiohttp: Any = import_module("aiohttp")
web: Any = import_module("aiohttp.web")
ray: Any = import_module("ray")
serve: Any = import_module("ray.serve")

CONFIG: Final = "CHANGEOVER_RAY"
"""The variable with what to run, as JSON."""
KEY: Final = "CHANGEOVER_RAY_KEY"
"""The variable with the deployment's secret. It is gone before Ray starts: processes of Ray inherit our environment."""
WATCH: Final = Path(__file__).with_name("ray_watch.py")
NAME: Final = "engine"
TRIES: Final = 8
"""Replicas that are asked, one after the other, while none has said anything."""
LOOK_EVERY_S: Final = 1.0
SILENT_S: Final = 15.0
"""After which a Serve controller that says nothing counts as gone."""
LAST_LINES: Final = 20
"""Of an engine that does not start; one of them is its reason."""
LLAMA_ERROR: Final = re.compile(r"[\d.]+ E (.*)")
HANDED_ON: Final = re.compile(
    r"PATH|LD_LIBRARY_PATH|LANG|LC_[A-Z]+|TZ|TMPDIR|[A-Z]+_VISIBLE_DEVICES|(GGML|GOMP|OMP)_\w+"
)
"""What an engine may see of a replica's environment: where things are, and the devices that Ray gave it."""


class Replica:
    """One engine: a child process of this one, started and spoken to as the supervisor does it."""

    def __init__(self, launch: Mapping[str, Any]) -> None:
        """Start the engine and wait until it can answer.

        Raises:
            RuntimeError: It cannot; says why.
        """
        self._key = secrets.token_hex(16)
        self._prefix: str = launch["prefix"]
        self._session: Any = None
        self._ending = False
        said: queue.Queue[str | int] = queue.Queue()
        # A thread that lives as long as this process: the kernel takes a child's parent to be the thread that started it.
        threading.Thread(target=self._keep, args=(launch, said), name="engine", daemon=True).start()
        try:
            outcome = said.get(timeout=launch["ready_s"])
        except queue.Empty:
            outcome = f"it was not ready within {launch['ready_s']:.0f} s"
        if isinstance(outcome, str):
            raise RuntimeError(f"ENGINE: {outcome}")
        self._port = outcome

    async def answer(self, path: str, content_type: str, body: bytes) -> AsyncIterator[tuple[int, str, str] | bytes]:
        """Pass a request on; status, type and length of the answer come first, then its body as it arrives.

        A status of 0 says that the engine was not reached, so that another replica may be asked.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
            )
        headers = {
            "authorization": f"Bearer {self._key}",
            "content-type": content_type,
            "accept-encoding": "identity",
        }
        url = f"http://127.0.0.1:{self._port}{self._prefix}{path}"
        began = False
        try:
            async with self._session.post(url, data=body, headers=headers) as answer:
                began = True
                yield answer.status, answer.headers.get("content-type", ""), answer.headers.get("content-length", "")
                async for piece in answer.content.iter_any():
                    yield piece
        except aiohttp.ClientError as exc:
            if began:
                raise RuntimeError(f"ENGINE: the answer broke off: {exc}") from None
            yield 0, str(exc), ""

    def check_health(self) -> None:
        """Ray asks now and then; an engine that ended has taken this process with it."""

    def __del__(self) -> None:
        """Ray takes this replica away: its engine goes first."""
        self._ending = True
        with contextlib.suppress(AttributeError, ProcessLookupError):
            self._process.terminate()

    def _keep(self, launch: Mapping[str, Any], said: queue.Queue[str | int]) -> None:
        inherited = {name: value for name, value in os.environ.items() if HANDED_ON.fullmatch(name)}
        try:
            process = self._process = subprocess.Popen(
                launch["argv"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**inherited, **launch["environment"]},
            )
        except OSError as exc:
            said.put(f"it could not be started: {exc.strerror} (`{exc.filename}`)")
            return
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        last: deque[str] = deque(maxlen=LAST_LINES)
        reader = threading.Thread(target=_copy, args=(process.stderr, last), daemon=True)
        reader.start()
        # It stays open: at its end, whatever the reason, the engine ends.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps({**launch["config"], "secret": self._key, "parent": os.getpid()}).encode())
            process.stdin.write(b"\n")
            process.stdin.flush()
        line = process.stdout.readline()
        outcome: Mapping[str, Any] = json.loads(line) if line else {}
        if not outcome.get("ready"):
            status = process.wait()
            reader.join(1)
            reason = outcome.get("error") or f"it ended with status {status}"
            said.put(f"{reason}; its log says: {_cause(last)}" if last else str(reason))
            return
        said.put(int(outcome["port"]))
        process.wait()
        if not self._ending:
            # Ray sees a process that is gone at once, and a replica that only answers with errors much later.
            os._exit(1)


def _cause(last: Sequence[str]) -> str:
    """The line that says most: llama.cpp gives the cause first, and then only says that all failed; others give it last."""
    causes = [found[1] for line in last if (found := LLAMA_ERROR.match(line))]
    return causes[0] if causes else last[-1]


def _copy(log: IO[bytes], last: deque[str]) -> None:
    for line in log:
        text = line.decode(errors="replace")
        if text.strip():
            last.append(text.strip()[:300])
        sys.stderr.write(text)


class Door:
    """The only way in: asks for the key, passes requests on to replicas, and asks another one where that helps."""

    def __init__(self, key: str, config: Mapping[str, Any]) -> None:
        self._expected = f"Bearer {key}".encode()
        self._application = application_of(config)
        self._what: str = config["engine"]
        self._handle: Any = None
        self._running = 0
        self._heard_at = 0.0
        self._problem: str | None = "it starts"

    async def open(self, listening: socket.socket, handle: Any) -> None:
        """Answer requests until this process is asked to end."""
        self._handle = handle.options(stream=True).answer
        end = asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, end.set)
        await self._look()
        looking = asyncio.create_task(self._look_on())
        application = web.Application(client_max_size=1 << 30, middlewares=[_only_with(self._expected)])
        application.router.add_get("/health", self._health)
        application.router.add_post("/{path:v1/.*}", self._answer)
        runner = web.AppRunner(application, handler_cancellation=True, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        await end.wait()
        looking.cancel()

    async def _health(self, request: Any) -> Any:
        if asyncio.get_running_loop().time() - self._heard_at > SILENT_S:
            return _refusal(503, "Ray Serve's controller says nothing.")
        if self._problem is not None:
            return _refusal(503, self._problem)
        many = f"{self._running} replica{'s' if self._running != 1 else ''} of `{self._what}`"
        return web.json_response({"status": "ok", "replicas": self._running, "note": many})

    async def _answer(self, request: Any) -> Any:
        body = await request.read()
        content_type = request.headers.get("content-type", "application/json")
        for tried in range(TRIES):
            pieces = self._handle.remote(request.path, content_type, body)
            status, kind, length = 0, "", ""
            try:
                status, kind, length = await anext(pieces)
            except asyncio.CancelledError:
                pieces.cancel()
                raise
            except (ray.exceptions.RayError, StopAsyncIteration) as exc:
                _log(f"a replica was lost before it answered: {_first_line(exc)}")
            if status:
                return await self._relay(request, pieces, status, {"content-type": kind, "content-length": length})
            await asyncio.sleep(0.05 * 2**tried)
        return _refusal(503, "No replica could be reached. Try again shortly.")

    async def _relay(self, request: Any, pieces: Any, status: int, headers: Mapping[str, str]) -> Any:
        answer = web.StreamResponse(status=status, headers={name: value for name, value in headers.items() if value})
        try:
            await answer.prepare(request)
            async for piece in pieces:
                await answer.write(piece)
            await answer.write_eof()
        except BaseException as exc:
            pieces.cancel()  # whoever asked has left: the engine need not go on
            if isinstance(exc, ray.exceptions.RayError):
                _log(f"a replica was lost in the middle of an answer: {_first_line(exc)}")
                if request.transport is not None:
                    request.transport.abort()  # cut, so that nobody takes it for the whole answer
                return answer
            raise
        return answer

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if _has_lost_a_process():
                _log("a process of Ray's own has ended")
                os._exit(1)  # what is left of the cluster is of no use, and is ended after this
            await self._look()

    async def _look(self) -> None:
        try:
            status = (await asyncio.to_thread(serve.status)).applications.get(self._application)
        except Exception as exc:  # Ray's client raises of many kinds; it is asked again, and silence is noticed
            _log(f"Ray Serve does not say how it is: {_first_line(exc)}")
            return
        self._heard_at = asyncio.get_running_loop().time()
        if status is None or NAME not in status.deployments:
            self._problem = "The application is gone from Ray Serve."
            return
        running = int(status.deployments[NAME].replica_states.get("RUNNING", 0))
        if running != self._running:
            _log(f"{running} replicas run")
        self._running = running
        # While some start, and even while none runs, Ray is at work on it: requests wait.
        self._problem = "Ray Serve gave the application up." if status.status == "DEPLOY_FAILED" else None


def _has_lost_a_process() -> bool:
    """Whether one that this process started for its own cluster is gone; without one, Ray's client waits and says nothing."""
    node = ray._private.worker._global_node
    return node is not None and any(kind in ("raylet", "gcs_server") for kind, _ in node.dead_processes())


def _only_with(expected: bytes) -> Any:
    async def admit(request: Any, handler: Any) -> Any:
        given = request.headers.get("authorization", "").encode(errors="surrogateescape")
        return await handler(request) if hmac.compare_digest(given, expected) else _refusal(401, "Invalid API Key")

    return web.middleware(admit)


def application_of(config: Mapping[str, Any]) -> str:
    """The application's name in Ray Serve."""
    return f"changeover-{config['deployment']}"


def main() -> None:
    """Start or join a cluster, deploy, answer until asked to end."""
    key = os.environ.pop(KEY)
    config: Mapping[str, Any] = json.loads(os.environ.pop(CONFIG))
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Bound before Ray chooses its own ports, and not listening yet: whoever asks now is refused, and asks again.
    listening.bind(("127.0.0.1", int(config["port"])))
    watch = None if config["address"] else _watched(config)
    try:
        _reach(config)
        # Ray's own handler would end this process at once. Ours comes in the middle of a call to Ray, so another thread leaves.
        signal.signal(signal.SIGTERM, lambda signum, frame: threading.Thread(target=_leave, args=(config, 0)).start())
        handle = _deploy(config)
    except Exception as exc:  # whatever it was, the deployment's log ends with the reason
        _log(_reason(config, exc))
        _leave(config, 1)
    asyncio.run(Door(key, config).open(listening, handle))
    del watch  # until here its pipe had to be open
    _leave(config, 0)


def _watched(config: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """A process that clears away what is left of Ray when this one was killed, and the warden too. Its pipe is its sign."""
    return subprocess.Popen(
        (sys.executable, "-P", str(WATCH), config["folder"]), stdin=subprocess.PIPE, start_new_session=True
    )


def _leave(config: Mapping[str, Any], status: int) -> NoReturn:
    """End, without Ray's words of farewell, which would stand below a reason.

    A cluster of our own dies with this process, which is faster than taking it apart. Somebody else's goes on without the
    application; its answer need not be waited for.
    """
    if config["address"]:
        with contextlib.suppress(Exception):
            serve.delete(application_of(config), _blocking=False)
            serve.status()  # only asked of it, the other may still be here when we end; Serve hears them in order
    sys.stderr.flush()
    os._exit(status)


def _reach(config: Mapping[str, Any]) -> None:
    if config["address"]:
        ray.init(address=config["address"], log_to_driver=False, namespace="changeover")
    else:
        with open(
            os.environ["RAY_AUTH_TOKEN_PATH"], "w", opener=lambda path, flags: os.open(path, flags, 0o600)
        ) as token:
            token.write(secrets.token_hex(32))
        ray.init(
            num_cpus=config["cores"],
            include_dashboard=False,
            object_store_memory=config["object_store_bytes"],
            _temp_dir=config["folder"],
            _node_ip_address="127.0.0.1",
            log_to_driver=False,
            namespace="changeover",
        )
    serve.start(proxy_location="Disabled")


def _deploy(config: Mapping[str, Any]) -> Any:
    deployment = serve.deployment(
        Replica,
        name=NAME,
        max_constructor_retry_count=1,
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_wait_loop_s=0.5,
        **config["scale"],
    )
    # It waits without a word for a place that the cluster does not have.
    threading.Thread(target=_tell, args=(config,), daemon=True).start()
    return serve.run(deployment.bind(config["launch"]), name=application_of(config), route_prefix=None)


def _tell(config: Mapping[str, Any]) -> None:
    """Write what Ray Serve says of the deployment into our log, as long as it starts."""
    told = ""
    while True:
        time.sleep(LOOK_EVERY_S)
        try:
            deployment = serve.status().applications[application_of(config)].deployments[NAME]
        except Exception:  # it is not there yet, or Ray's client has one of its many errors
            continue
        if deployment.status == "HEALTHY":
            return
        if deployment.message and deployment.message != told and "ENGINE: " not in deployment.message:
            told = deployment.message
            _log(" ".join(told.split())[:300])


def _reason(config: Mapping[str, Any], exc: Exception) -> str:
    """What a replica said of its engine; Serve's own words for it only name the deployment."""
    with contextlib.suppress(Exception):
        status = serve.status().applications[application_of(config)]
        for text in (status.message, *(each.message for each in status.deployments.values())):
            if found := re.findall(r"^.*Error.*: ENGINE: (.+)$", text, re.MULTILINE):
                return found[-1]
    return _first_line(exc)


def _first_line(exc: BaseException) -> str:
    text = str(exc).strip() or type(exc).__name__
    return text.splitlines()[0][:300]


def _refusal(status: int, message: str) -> Any:
    return web.json_response({"error": {"message": message, "type": "ray_serve", "code": status}}, status=status)


def _log(text: str) -> None:
    print(f"ray: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
