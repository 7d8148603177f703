"""The command that starts a model as it was laid out: a documented one with the layout put in, or one of our own."""

from __future__ import annotations

import re

from changeover.library.accelerators import Accelerator
from changeover.library.cards import Card
from changeover.library.fit.answer import Layout
from changeover.library.fit.quantisation import usual_quantisation
from changeover.library.fit.servers import GGUF_ENGINE
from changeover.library.running import Recipe

_STARTS = re.compile(r"(vllm serve|python3? -m) ")
"""A documented command that starts a server; others download, or only add to one."""


def flags_for(engine: str, layout: Layout, context: int, concurrency: int | None, usable: float) -> tuple[str, ...]:
    """An engine's flags for a layout; none where only its own documentation can say them.

    The number of requests is limited only where it was asked for.
    """
    if engine == "sglang":
        return (
            f"--tp {layout.tensor_parallel}",
            *((f"--pp-size {layout.pipeline_parallel}",) if layout.pipeline_parallel > 1 else ()),
            *((f"--nnodes {layout.nodes}",) if layout.nodes > 1 else ()),
            f"--context-length {context}",
            *((f"--max-running-requests {concurrency}",) if concurrency else ()),
            f"--mem-fraction-static {usable:g}",
        )
    if engine == GGUF_ENGINE:
        return (f"--ctx-size {context * (concurrency or 1)}", f"--parallel {concurrency or 1}")
    if not engine.startswith(("vllm", "fastdeploy")):
        return ()
    return (
        f"--tensor-parallel-size {layout.tensor_parallel}",
        *((f"--pipeline-parallel-size {layout.pipeline_parallel}",) if layout.pipeline_parallel > 1 else ()),
        *(("--distributed-executor-backend ray",) if layout.nodes > 1 else ()),
        *(("--enable-expert-parallel",) if layout.expert_parallel else ()),
        f"--max-model-len {context}",
        *((f"--max-num-seqs {concurrency}",) if concurrency else ()),
        f"--gpu-memory-utilization {usable:g}",
    )


def command_for(
    card: Card, accelerator: Accelerator, engine: str, quantisation: str, flags: tuple[str, ...]
) -> str | None:
    """A command to paste; None where nothing is documented and we know no way of our own.

    Without flags nothing of ours belongs into it: a documented command stands as it is.
    """
    recipe = _recipe(card.recipes, engine, quantisation)
    if not flags:
        return None if recipe is None else recipe.command
    if recipe is not None and _STARTS.match(recipe.command):
        return _with(recipe.command, flags)
    repository = _repository(card, quantisation)
    there = _recipe(accelerator.recipes, engine, quantisation)
    if there is not None:
        return _with(there.command.replace("…", repository, 1), flags)
    if engine in ("vllm", "vllm-ascend"):
        return " ".join(("vllm serve", repository, *flags))
    if engine == "sglang":
        return " ".join(("python -m sglang.launch_server --model-path", repository, *flags))
    if engine == GGUF_ENGINE:
        return " ".join(("llama-server --model FILE.gguf", *flags))
    return None


def _recipe(recipes: tuple[Recipe, ...], engine: str, quantisation: str) -> Recipe | None:
    for recipe in recipes:
        same = recipe.quantisation is None or recipe.quantisation.casefold() == quantisation.casefold()
        if recipe.engine == engine and same:
            return recipe
    return None


def _repository(card: Card, quantisation: str) -> str:
    """The repository on the Hub, if the card's first one is in this quantisation."""
    own = quantisation.casefold() == usual_quantisation(card).casefold()
    return card.repositories[0] if own and card.repositories else f"REPOSITORY-IN-{quantisation.upper()}"


def _with(command: str, flags: tuple[str, ...]) -> str:
    """A documented command in which these flags stand instead of its own, or after them."""
    for flag in flags:
        name = "[-_]".join(flag.split(" ")[0].removeprefix("--").split("-"))  # vLLM takes both spellings
        spelled = re.search(rf"(?<!\S)--{name}(?!\S)( +(?!-)\S+)?", command)
        command = f"{command[: spelled.start()]}{flag}{command[spelled.end() :]}" if spelled else f"{command} {flag}"
    return command
