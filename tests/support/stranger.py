"""A server that knows nothing of us: what a warden has to start, wait for, and clear away.

Usage: python -m tests.support.stranger PORT [how…], where `how` is any of `slow` (a second until it can answer), `deaf`
(ignores SIGTERM), `spent` (ends, with a word on why, once it was asked how it is), `parent` (has started a process in a session of its own), `dies` (at once, with a word on why), `beaten`
(finds its port taken, unless the file that is named after this word is there). PORT may be the path of a Unix socket.
"""

from __future__ import annotations

import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Stranger(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if "spent" in how:
            threading.Timer(0.3, _give_up).start()
        right = self.headers.get("authorization") == f"Bearer {os.environ['STRANGER_KEY']}"
        self.send_response(200 if right and "spent" not in how and time.monotonic() > ready_at else 503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def _give_up() -> None:
    print("no memory for the cache", file=sys.stderr, flush=True)
    os._exit(1)


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


if __name__ == "__main__":
    place, how = sys.argv[1], sys.argv[2:]
    if "dies" in how:
        sys.exit("no accelerator was found")
    if "deaf" in how:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "parent" in how:
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    if "beaten" in how and not (mark := Path(how[-1])).exists():
        mark.touch()
        program = f"import socket, time; each = socket.create_server(('127.0.0.1', {place})); print(flush=True); time.sleep(600)"
        quicker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        assert quicker.stdout is not None
        quicker.stdout.readline()
        sys.exit("address already in use")
    ready_at = time.monotonic() + (1 if "slow" in how else 0)
    if place.isdecimal():
        ThreadingHTTPServer(("127.0.0.1", int(place)), Stranger).serve_forever()
    else:
        UnixServer(place, Stranger).serve_forever()
