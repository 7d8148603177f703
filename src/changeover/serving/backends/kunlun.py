"""vLLM with Baidu's plugin `vllm-kunlun` for the Kunlun P800, under our warden.

The plugin reports itself as CUDA and replaces Python's own import, so it has a home of its own and shares it with nothing.
Written by its documentation, and not run: there was no P800. Source: github.com/baidu/vLLM-Kunlun, docs/source/installation.md,
quick_start.md, user_guide/configuration/env_vars.md and setup_env.sh, read on 2026-11-30.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from changeover.core.errors import EngineError
from changeover.library.fit.detect import Detected
from changeover.serving.backends.foreign import cards_for, lacking_cards, lacking_package, machine
from changeover.serving.backends.protocol import Launch, Missing
from changeover.serving.backends.vllm import BASE_ENVIRONMENT, CAPABILITIES, START_COMPILING_S, Served
from changeover.serving.homes import Homes
from changeover.serving.options import KunlunOptions
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan

ENGINE: Final = "vllm-kunlun"
"""The package, and what accelerators' cards call it."""
PACKAGES: Final = (ENGINE, "vllm")
INSTALL: Final = "Set its environment up as github.com/baidu/vLLM-Kunlun says, with Kunlun's own PyTorch"
"""No registry has all of it, so no command of ours can."""
ENVIRONMENT: Final[Mapping[str, str]] = {
    "XPU_USE_MOE_SORTED_THRES": "1",
    "XFT_USE_FAST_SWIGLU": "1",
    "XPU_USE_FAST_SWIGLU": "1",
    "XMLIR_CUDNN_ENABLED": "1",
    "XPU_USE_DEFAULT_CTX": "1",
    "XMLIR_FORCE_USE_XPU_GRAPH": "1",
    "XMLIR_ENABLE_MOCK_TORCH_COMPILE": "false",
    "VLLM_HOST_IP": "127.0.0.1",
}
"""As the plugin's documentation recommends for every model. The last one is to be the address by which workers reach each other:
on one machine that is loopback. It also wants XPU_DUMMY_EVENT unset, which no engine of ours ever inherits. What it names for
single models alone, such as FUSED_QK_ROPE_OP and USE_ORI_ROPE, is not set: an operator does it by the option `environment`."""
SPLITTING: Final = (
    "vllm.unified_attention",
    "vllm.unified_attention_with_output",
    "vllm.unified_attention_with_output_kunlun",
    "vllm.mamba_mixer2",
    "vllm.mamba_mixer",
    "vllm.short_conv",
    "vllm.linear_attention",
    "vllm.plamo2_mamba_mixer",
    "vllm.gdn_attention",
    "vllm.sparse_attn_indexer",
)
"""Where its graphs are cut, as in each of its examples."""


class KunlunBackend:
    """vLLM with Baidu's plugin."""

    # As vLLM itself, which its documentation says it keeps up with; what is enforced of a forced call needs a later vLLM.
    capabilities = replace(CAPABILITIES, tools_forced=False, prompt_logprobs=False, embeddings=False, beyond="unknown")

    def __init__(self, homes: Homes, detected: Callable[[], Detected] = machine) -> None:
        self._home = homes.python("kunlun")
        self._detected = detected

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        options = KunlunOptions() if plan is None else plan.options_as(KunlunOptions)
        wanted = options.tensor_parallel * options.pipeline_parallel
        detected = self._detected()
        lacking = [
            *lacking_package(self._home, PACKAGES, "kunlun", INSTALL),
            *lacking_cards(
                ENGINE,
                detected,
                wanted=wanted,
                share=options.gpu_memory_share,
                weights=None if plan is None else plan.artifact,
            ),
        ]
        here = sum(each.count for each in cards_for(ENGINE, detected))
        if here and (absent := [each for each in options.devices if each >= here]):
            what = f"card {absent[0]} of `devices`: here are {here}, counted from 0"
            lacking.append(Missing(what=what, remedy="Name cards that `xpu-smi` lists."))
        if 0 < len(options.devices) < wanted:
            what = f"{wanted} cards in `devices` for `tensor_parallel` × `pipeline_parallel`: it names {len(options.devices)}"
            lacking.append(Missing(what=what, remedy="Name more cards, or share the weights between fewer."))
        return lacking

    def describe(self, plan: EnginePlan) -> EnginePart:
        plugin, server = self._home.version(ENGINE), self._home.version("vllm")
        if plugin is None or server is None:
            lacking = lacking_package(self._home, PACKAGES, "kunlun", INSTALL)[0]
            raise EngineError(f"Kunlun needs {lacking.what}. {lacking.remedy}")
        flags = {"on": "kunlun", "device_flags": list(_flags(Served(plan))), "device_environment": dict(ENVIRONMENT)}
        return Served(plan).part(engine=f"vLLM ({ENGINE} {plugin})", version=server, flags=flags)

    def launch(self, plan: EnginePlan) -> Launch:
        served = Served(plan)
        devices = ",".join(map(str, _devices(plan.options_as(KunlunOptions))))
        environment = {
            **BASE_ENVIRONMENT,
            **ENVIRONMENT,
            "XPU_VISIBLE_DEVICES": devices,
            "CUDA_VISIBLE_DEVICES": devices,  # to keep its indices in line with the first, as its documentation says
        }
        return served.launch(self._home, _flags(served), environment, start_s=START_COMPILING_S, reads=_nodes(devices))


def _devices(options: KunlunOptions) -> Sequence[int]:
    return options.devices or range(options.tensor_parallel * options.pipeline_parallel)


def _nodes(devices: str) -> Sequence[Path]:
    return [Path("/dev/xpuctrl"), *(Path(f"/dev/xpu{each}") for each in devices.split(","))]


def _flags(served: Served) -> Sequence[str]:
    """As in its examples, but for `--trust-remote-code`: code of a model's is run only where a person has approved it."""
    return (
        *("--gpu-memory-utilization", f"{served.options.gpu_memory_share:g}"),
        *("--dtype", "float16", "--block-size", "128", "--distributed-executor-backend", "mp"),
        *("--no-enable-prefix-caching", "--no-enable-chunked-prefill"),
        *("--max-num-batched-tokens", str(served.context_tokens)),  # a prompt is computed at once
        *("--compilation-config", json.dumps({"splitting_ops": SPLITTING}, separators=(",", ":"))),
    )
