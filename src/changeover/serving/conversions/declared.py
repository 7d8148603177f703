"""Which forms of weights can be made of which, and what makes them. Read by plans, and by who makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

SCRIPTS: Final = Path(__file__).parent / "scripts"
"""Run by an engine's own interpreter, which has none of our packages: they import nothing of ours."""

Form = Literal["gguf", "safetensors"]


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """One form of weights made of another. Every source is one GGUF file, since that is what most cards here have."""

    name: str
    """Also the end of the directory where its result stands."""
    makes: Form
    quantisation: str
    homes: Sequence[str]
    """Engines in whose environment it can run, the first that has all `packages`."""
    packages: Sequence[str]
    script: str
    """Below `SCRIPTS`; called with the source, the target, and nothing else."""
    bits: float
    """What a weight takes in the result, to say beforehand how large it becomes."""
    seconds_per_gib: int
    """Of the source; on two busy cores, so an upper bound."""
    revision: int = 1
    """Raised when the script gives other files: what an older one made is made anew."""

    @property
    def result(self) -> str:
        """The name of the file or directory that it makes."""
        return "model.gguf" if self.makes == "gguf" else "files"


TO_SAFETENSORS: Final = Conversion(
    name="safetensors-bf16",
    makes="safetensors",
    quantisation="BF16",
    homes=("transformers", "vllm", "sglang"),
    packages=("transformers", "torch", "safetensors", "gguf"),
    script="gguf_to_safetensors.py",
    bits=16,
    seconds_per_gib=700,
)
TO_Q8_0: Final = Conversion(
    name="gguf-q8_0",
    makes="gguf",
    quantisation="Q8_0",
    homes=("openvino", "transformers"),
    packages=("gguf", "numpy"),
    script="gguf_to_q8_0.py",
    bits=8.5,
    seconds_per_gib=60,
)
CONVERSIONS: Final = (TO_SAFETENSORS, TO_Q8_0)


@dataclass(frozen=True, kw_only=True)
class Making:
    """Weights that are made of others, and where both are. Whether they are there already is not said by it."""

    conversion: Conversion
    source: Path
    """A GGUF file, verified when it was fetched."""
    source_bytes: int
    source_digest: str
    source_quantisation: str
    cache: Path

    @property
    def target(self) -> Path:
        """The file or directory that comes out."""
        name = f"{self.source_digest[:16]}-{self.conversion.name}"
        return self.cache / "converted" / name / self.conversion.result

    @property
    def quantisation(self) -> str:
        """As bundles state it: what was lost when the source was quantised does not come back."""
        return f"{self.conversion.quantisation} from {self.source_quantisation}"
