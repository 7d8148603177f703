"""llama.cpp's own server program, under a warden: what a system's package manager installs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache

from changeover.core.errors import EngineError
from changeover.library.gguf import GgufHeader, read_header
from changeover.serving.backends.common import context_within, module, pooling, usable_cores, warden
from changeover.serving.backends.llama import ENVIRONMENT, EYES_BATCH, part_of, weights_file
from changeover.serving.backends.local import LocalBackend
from changeover.serving.backends.projector import checked
from changeover.serving.backends.protocol import Launch, Missing
from changeover.serving.homes import Homes
from changeover.serving.options import Json, LlamaServerOptions
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan

# The names and meanings of flags and variables: tools/server/README.md of ggml-org/llama.cpp.
SETTINGS: Mapping[str, str] = {
    "LLAMA_ARG_CACHE_RAM": "256",  # prompts kept beside the slots; the program's own default is 8 GiB
    "LLAMA_ARG_CONTEXT_SHIFT": "0",  # an over-long prompt is an error and never loses its beginning silently
    "LLAMA_ARG_FIT": "off",  # it would shrink the context to the memory that is free, and not say so
}
"""Settings that are ours and not the operator's; they are flags of the bundle too.

As variables, and not on the command line: an older program ignores those that it does not know, and would not start with
an unknown flag.
"""
CLOSED: Mapping[str, str] = {
    "LLAMA_ARG_CORS_ORIGINS": "http://127.0.0.1",  # else any web page in a browser here could ask
    "LLAMA_ARG_CORS_CREDENTIALS": "0",
    "LLAMA_ARG_UI": "0",
    "LLAMA_ARG_ENDPOINT_SLOTS": "0",  # it shows prompts
    "LLAMA_ARG_SSE_PING_INTERVAL": "-1",  # a comment line would pass for the first bytes of an answer
    "LLAMA_ARG_LOG_VERBOSITY": "1",  # errors; one more would write about every request
    "LLAMA_ARG_OFFLINE": "1",
}
BATCH = 128
"""A prefill is only interrupted between batches, so a caller who left frees the slot sooner."""
NOT_THERE = Missing(
    what="the program `llama-server`",
    remedy="Install llama.cpp (`brew install llama.cpp`), or name the program as `command` in "
    "`[engines.homes.llama-server]`.",
)
_VERSION = re.compile(r"^version: (\S+)", re.MULTILINE)


class LlamaServerBackend:
    """llama.cpp's own server program."""

    capabilities = LocalBackend.capabilities  # the embedded engine is the same server, as a library

    def __init__(self, homes: Homes) -> None:
        """Look for the program where `homes` says, or on the path."""
        self._homes = homes

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        return () if self._command() else (NOT_THERE,)

    def describe(self, plan: EnginePlan) -> EnginePart:
        header = read_header(weights_file(plan))
        options = plan.options_as(LlamaServerOptions)
        return part_of(
            plan,
            options,
            header,
            engine="llama.cpp (llama-server)",
            version=_version_of(self._found()),
            flags={
                "context_tokens": context_within(options.context_tokens, header),
                "slots": options.slots,
                "batch": BATCH if options.projector is None else EYES_BATCH,
                **SETTINGS,
                **({"embeddings": pooling(header)} if options.embeddings else {}),
                **({"flags": list(options.flags)} if options.flags else {}),
                **({"environment": options.environment} if options.environment else {}),
            },
        )

    def launch(self, plan: EnginePlan) -> Launch:
        path = weights_file(plan)
        options = plan.options_as(LlamaServerOptions)
        artifact = str(path.absolute())
        projector = () if options.projector is None else (str(checked(options.projector, plan.deployment)),)
        return Launch(
            argv=module("changeover.serving.engines.warden"),
            config=warden(
                (
                    self._found(),
                    *_flags(plan.deployment, artifact, options, read_header(path)),
                    *(part for file in projector for part in ("--mmproj", file)),
                    *options.flags,
                ),
                {
                    "LLAMA_API_KEY": "{secret}",  # by README, what `--api-key` reads too; /health alone needs no key
                    **SETTINGS,
                    **CLOSED,
                    **ENVIRONMENT,
                    **options.environment,
                },
                needs=(artifact, *projector),
            ),
            maps_weights=True,
            first_answer=not options.embeddings,  # a model that makes vectors may have no words
        )

    def _command(self) -> str | None:
        return self._homes.command("llama-server", "llama-server")

    def _found(self) -> str:
        command = self._command()
        if command is None:
            raise EngineError(f"The engine needs {NOT_THERE.what}. {NOT_THERE.remedy}")
        return command


def _flags(deployment: str, artifact: str, options: LlamaServerOptions, header: GgufHeader) -> Sequence[str]:
    context = context_within(options.context_tokens, header)
    threads = str(options.threads or usable_cores())
    said: dict[str, Json] = {
        "--model": artifact,
        "--alias": deployment,
        "--host": "127.0.0.1",
        "--port": "{port}",
        "--ctx-size": context * options.slots,  # for all slots together
        "--parallel": options.slots,
        "--threads": threads,
        "--threads-batch": threads,
        "--batch-size": BATCH if options.projector is None else EYES_BATCH,
    }
    if options.embeddings:
        # A text that does not fit into one physical batch is refused: all that the context holds has to.
        said |= {"--batch-size": context, "--ubatch-size": context}
        if pooling(header) == "mean":
            said["--pooling"] = "mean"
    flags = [str(part) for pair in said.items() for part in pair]
    return [*flags, "--jinja", *(["--embeddings"] if options.embeddings else [])]


def _version_of(command: str) -> str | None:
    """What the program says of itself; None if it says nothing of the kind."""
    try:
        return _asked(command, os.stat(command).st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=16)
def _asked(command: str, changed_ns: int) -> str | None:
    """Asked once for each state of the file: `version: 5873 (f5e96b36)` stands among its words."""
    try:
        said = subprocess.run((command, "--version"), capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(said.stdout + said.stderr)
    return found[1] if found else None
