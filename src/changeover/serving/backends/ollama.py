"""Ollama: its server under a warden, with one model made of our file or of its own library; or one that already runs.

Written from Ollama's documentation (docs/api.md, docs/faq.md and the page on OpenAI compatibility) and, where that is
silent, from its source (envconfig/config.go, openai/openai.go). No Ollama could be run where this was written: the tests
speak to a server of our own that answers as documented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from changeover.core.digest import sha256_file
from changeover.core.errors import ConfigError, EngineError
from changeover.library.gguf import read_header
from changeover.serving.backends.common import context_within, module, stored_profile, warden
from changeover.serving.backends.protocol import Capabilities, Elsewhere, Launch, Missing
from changeover.serving.homes import Homes
from changeover.serving.options import Json, OllamaOptions
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan
from changeover.serving.profiles import family_profile

NOT_THERE = Missing(
    what="the program `ollama`",
    remedy="Install Ollama from ollama.com, name the program as `command` in `[engines.homes.ollama]`, or say with "
    "`--option base_url=http://127.0.0.1:11434/v1` where one runs.",
)


class OllamaBackend:
    """Ollama. It knows no key: whoever can reach its port may ask it, so it is only ever started on loopback."""

    capabilities = Capabilities(
        chat=True,
        completions=True,
        stop_reasons=True,
        stop_sequences=True,
        usage=True,  # in streams by `stream_options.include_usage`
        reasoning=True,
        tools=True,
        tools_streamed=True,  # ollama.com/blog/streaming-tool
        json_schema=True,  # `response_format` becomes its `format`: openai/openai.go
        embeddings=True,
        batches=True,  # OLLAMA_NUM_PARALLEL
        seeds=True,
        # Not context_refused: an over-long prompt loses its beginning without a word in most versions (issue 4967).
        # Not tools_forced: `tool_choice` is not read. Not logprobs, cancels, tools_parallel, vision: not shown.
    )

    def __init__(self, homes: Homes) -> None:
        """Look for the program where `homes` says, or on the path."""
        self._homes = homes

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        if plan is not None and plan.options_as(OllamaOptions).base_url is not None:
            return ()
        return () if self._command() else (NOT_THERE,)

    def describe(self, plan: EnginePlan) -> EnginePart:
        options = plan.options_as(OllamaOptions)
        ours = options.base_url is None and options.name is None
        path = plan.artifact if ours else None
        header = None if path is None else read_header(path)
        architecture = None if header is None else header.architecture
        flags: Mapping[str, Json] = {
            "context_tokens": _context_tokens(plan, options),
            "slots": options.slots,
            "name": options.name,
            **({"base_url": options.base_url} if options.base_url else {}),
            **({"environment": options.environment} if options.environment else {}),
        }
        return EnginePart(
            backend=plan.backend,
            engine="ollama",
            engine_version=None,  # it says so only while it runs
            model=options.name or plan.model,
            weights_digest=None if path is None else plan.weights_digest or sha256_file(path),
            quantisation=plan.quantisation if ours else None,
            tokenizer_digest=None if header is None else header.tokenizer_digest,
            # Not the file's template: Ollama takes one of its own that is most like it.
            flags=flags,
            profile=stored_profile(plan, _spoken(plan, options, architecture), architecture=architecture),
        )

    def launch(self, plan: EnginePlan) -> Launch | Elsewhere:
        options = plan.options_as(OllamaOptions)
        if options.base_url is not None:
            return Elsewhere(
                base_url=options.base_url,
                model=options.name or plan.model,
                api_key_env=None,
                first_answer=not options.embeddings,
            )
        command = self._command()
        if command is None:
            raise EngineError(f"The engine needs {NOT_THERE.what}. {NOT_THERE.remedy}")
        model, steps = _steps(plan, options)
        folder = self._homes.keeps("ollama")
        kept = "{folder}" if folder is None else str(folder.absolute())
        return Launch(
            argv=module("changeover.serving.engines.warden"),
            config=warden(
                (command, "serve", *options.flags),
                {
                    "OLLAMA_HOST": "127.0.0.1:{port}",
                    "OLLAMA_MODELS": f"{kept}/models",
                    "HOME": kept,  # it makes itself a key pair there, and does not start without
                    "OLLAMA_CONTEXT_LENGTH": str(_context_tokens(plan, options)),  # for each request
                    "OLLAMA_NUM_PARALLEL": str(options.slots),
                    "OLLAMA_MAX_LOADED_MODELS": "1",
                    "OLLAMA_KEEP_ALIVE": options.keep_alive,
                    "OLLAMA_NOPRUNE": "1",  # another one that starts beside it would take files away under way
                    **options.environment,
                },
                ready_path="/api/version",
                needs=() if plan.artifact is None else (str(plan.artifact.absolute()),),
                owns=[] if folder is None else [kept],
                after=steps,
            ),
            first_answer=not options.embeddings,
            probe_path="/api/version",
            model=model,
            start_s=30.0 if options.name is None else 1800.0,  # what a pull may take is not known here
        )

    def _command(self) -> str | None:
        return self._homes.command("ollama", "ollama")


def _context_tokens(plan: EnginePlan, options: OllamaOptions) -> int:
    if plan.artifact is None or options.name is not None:
        return options.context_tokens
    return context_within(options.context_tokens, read_header(plan.artifact))


def _spoken(plan: EnginePlan, options: OllamaOptions, architecture: str | None) -> Mapping[str, Any]:
    """What is said of the profile: thinking is switched by `reasoning_effort`, whatever the family's own template reads."""
    family = family_profile(options.name or plan.model, architecture) or {}
    effort = {"effort": "field"} if family.get("effort", "none") != "none" else {}
    return {"context_tokens": _context_tokens(plan, options), **effort, **options.profile}


def _steps(plan: EnginePlan, options: OllamaOptions) -> tuple[str, list[Json]]:
    """The model's name in Ollama, and what makes it be there."""
    if options.name is not None:
        asked: Json = {"model": options.name}
        pull: Json = {"model": options.name, "stream": False}
        return options.name, [{"post": "/api/pull", "json": pull, "unless": "/api/show", "asked": asked}]
    if plan.artifact is None:
        raise ConfigError(
            f"deployment `{plan.deployment}`: Ollama needs a file of weights, or `name`, a model of its own library."
        )
    # A blob for the file, then a model of it: docs/api.md, "Create a Model" and "Push a Blob".
    digest = f"sha256:{plan.weights_digest or sha256_file(plan.artifact)}"
    name = f"changeover-{digest[7:23]}"  # the same file is the same model, whichever deployment brings it
    create: Json = {"model": name, "files": {"model.gguf": digest}, "stream": False}
    return name, [
        {"post": f"/api/blobs/{digest}", "file": str(plan.artifact.absolute()), "unless": f"/api/blobs/{digest}"},
        {"post": "/api/create", "json": create},
    ]
