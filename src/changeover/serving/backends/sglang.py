"""SGLang's server, under our warden. It needs an accelerator: its packages hold no kernels for processors.

Written by sglang 0.5.23's own code and documentation, and not run: there was no accelerator to run it on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from changeover.core.errors import EngineError
from changeover.library.fit.detect import Detected
from changeover.serving.backends.checkpoint import read_checkpoint, weights_digest, without_eyes
from changeover.serving.backends.common import stored_profile
from changeover.serving.backends.foreign import OFFLINE, lacking_cards, lacking_package, machine, under_warden
from changeover.serving.backends.parsing import choose
from changeover.serving.backends.protocol import Capabilities, Launch, Missing
from changeover.serving.engines.warden import PORT, SECRET
from changeover.serving.homes import Homes
from changeover.serving.options import SglangOptions
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan

START: Final = (
    "import os, runpy, sys; "
    "sys.argv += ['--api-key', os.environ['SGLANG_API_KEY']]; "
    "runpy.run_module('sglang.launch_server', run_name='__main__', alter_sys=True)"
)
"""It takes its key as an argument only, where every user of the machine could read it (sgl-project/sglang issue 36346). So the
argument is added inside the process."""
START_S: Final = 600.0
"""It captures graphs and answers to itself before it is ready. Not measured."""


class SglangBackend:
    """SGLang's own server."""

    # By its documentation. What it enforces of a forced call and of the context's length was not seen, so it is not declared.
    capabilities = Capabilities(
        chat=True,
        completions=True,
        stop_reasons=True,
        stop_sequences=True,
        usage=True,
        reasoning=True,
        tools=True,
        tools_streamed=True,
        tools_parallel=True,
        json_schema=True,
        grammar=True,
        logprobs=True,
        vision=True,
        cancels=True,
        batches=True,
        key=True,
        beyond="unknown",  # it has run nowhere that we could look
    )

    def __init__(self, homes: Homes, detected: Callable[[], Detected] = machine) -> None:
        self._home = homes.python("sglang")
        self._detected = detected

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        options = SglangOptions() if plan is None else plan.options_as(SglangOptions)
        cards = lacking_cards(
            "sglang",
            self._detected(),
            wanted=options.tensor_parallel,
            share=options.memory_share,
            weights=None if plan is None else plan.artifact,
        )
        return [*lacking_package(self._home, ["sglang"], "sglang"), *cards]

    def describe(self, plan: EnginePlan) -> EnginePart:
        version = self._home.version("sglang")
        if version is None:
            lacking = lacking_package(self._home, ["sglang"], "sglang")[0]
            raise EngineError(f"SGLang needs {lacking.what}. {lacking.remedy}")
        served = _Served(plan)
        options, found = served.options, served.checkpoint
        return EnginePart(
            backend=plan.backend,
            engine="SGLang",
            engine_version=version,
            model=plan.model,
            weights_digest=plan.weights_digest or weights_digest(served.path),
            quantisation=plan.quantisation,
            tokenizer_digest=found.tokenizer_digest,
            chat_template_digest=found.chat_template_digest,
            flags={
                "context_tokens": served.context_tokens,
                "slots": options.slots,
                "tensor_parallel": options.tensor_parallel,
                "tool_parser": served.parsers.tools,
                "reasoning_parser": served.parsers.reasoning,
                "structured": {"backend": "xgrammar", "disable_any_whitespace": True},
                "flags": [*served.parsers.flags, *options.flags],
                "environment": options.environment,
            },
            profile=stored_profile(
                plan,
                {**served.parsers.profile, **without_eyes(found, options.profile)},
                architecture=found.model_type,
            ),
        )

    def launch(self, plan: EnginePlan) -> Launch:
        served = _Served(plan)
        options, tools, reasoning = served.options, served.parsers.tools, served.parsers.reasoning
        argv = (
            *(self._home.executable, "-c", START),
            *("--model-path", str(served.path.absolute()), "--served-model-name", plan.model),
            *("--host", "127.0.0.1", "--port", PORT),
            *("--log-level", "warning"),  # at `info` it logs all of its arguments, the key among them (issue 37457)
            *("--context-length", str(served.context_tokens), "--max-running-requests", str(options.slots)),
            *("--mem-fraction-static", f"{options.memory_share:g}"),
            *(("--tp-size", str(options.tensor_parallel)) if options.tensor_parallel > 1 else ()),
            *("--grammar-backend", "xgrammar", "--constrained-json-disable-any-whitespace"),
            *(("--tool-call-parser", tools) if tools else ()),
            *(("--reasoning-parser", reasoning) if reasoning else ()),
            *served.parsers.flags,
            *options.flags,
        )
        return under_warden(
            argv,
            {**OFFLINE, "SGLANG_API_KEY": SECRET, "PYTHONPATH": "", "PYTHONSAFEPATH": "1", **options.environment},
            reads=(served.path, Path(self._home.executable).parent.parent / "pyvenv.cfg"),
            model=plan.model,
            start_s=START_S,
            first_answer=True,
        )


class _Served:
    """What the files beside the weights make of a plan."""

    def __init__(self, plan: EnginePlan) -> None:
        path = plan.artifact
        assert path is not None, "a plan for this backend is refused without weights"
        self.path = path
        self.options = plan.options_as(SglangOptions)
        self.checkpoint = read_checkpoint(path)
        self.context_tokens = min(
            self.options.context_tokens, self.checkpoint.context_length or self.options.context_tokens
        )
        self.parsers = choose(
            plan,
            "sglang",
            self.checkpoint,
            tools=self.options.tool_parser,
            reasoning=self.options.reasoning_parser,
            flags=self.options.flags,
        )
