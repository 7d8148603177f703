"""LoRA adapters as files: what one says of itself, and whether it belongs to given weights. Nothing is believed unread.

Two forms: a GGUF file as llama.cpp's `convert_lora_to_gguf.py` writes it, and a directory as PEFT saves it
(`adapter_config.json`, `adapter_model.safetensors`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from changeover.core.errors import ArtifactError
from changeover.library import gguf, safetensors
from changeover.library.damage import shown

CONFIG: Final = "adapter_config.json"
TENSORS: Final = "adapter_model.safetensors"
MAX_RANK: Final = 4096
_MAX_CONFIG_BYTES: Final = 1 << 20
_PREFIX: Final = "base_model.model."
_LOWER: Final = ".lora_A.weight"
_UPPER: Final = ".lora_B.weight"
_EMBEDDING: Final = "token_embd.weight"
"""The one tensor of llama.cpp whose pair lies the other way round."""


@dataclass(frozen=True)
class Pair:
    """The two small matrices that stand for the change of one large one."""

    inputs: int
    rank: int
    outputs: int
    stacked: tuple[int, ...] = ()
    """Further dimensions of a large one that is many in one, as those of experts are."""

    @property
    def changes(self) -> tuple[int, ...]:
        """The shape of what it changes, the inner dimension first."""
        return self.inputs, self.outputs, *self.stacked


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA adapter, as its files say."""

    form: Literal["gguf", "safetensors"]
    architecture: str | None
    """`general.architecture` of a GGUF file."""
    base: str | None
    """What it says it was trained on; often a directory of whoever trained it."""
    pairs: Mapping[str, Pair]
    """By the name of the tensor that each changes."""

    @property
    def rank(self) -> int:
        """The largest of any tensor."""
        return max(pair.rank for pair in self.pairs.values())


def read(path: Path) -> Lora:
    """Read an adapter's header and configuration.

    Raises:
        ArtifactError: It is whole weights, an adapter of another kind, or damaged; says which.
    """
    return _read_peft(path) if path.is_dir() else _read_gguf(path)


def check_fits(lora: Lora, weights: Path) -> None:
    """Refuse an adapter for other weights than these: by architecture, and tensor by tensor.

    Raises:
        ArtifactError: Says what does not fit.
    """
    if lora.form == "gguf":
        header = gguf.read_header(weights)
        if header.architecture != lora.architecture:
            raise ArtifactError(
                f"it is an adapter for the architecture {shown(str(lora.architecture))}, and the base's is "
                f"{shown(header.architecture)}. "
                "Attach it to the model that it was trained on."
            )
        shapes = header.shapes
    else:
        files = sorted(weights.glob("*.safetensors")) if weights.is_dir() else []
        tensors = (tensor for file in files for tensor in safetensors.read_header(file).tensors)
        shapes = {each.name: (each.shape[1], each.shape[0]) for each in tensors if len(each.shape) == 2}
    _compare(lora, shapes)


def _compare(lora: Lora, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, pair in lora.pairs.items():
        if name not in shapes:
            raise ArtifactError(
                f"it changes {shown(name)}, which the base does not have. Attach it to the model that it was trained on."
            )
        if _bare(shapes[name]) != _bare(pair.changes):
            has, its = (" × ".join(map(str, shape)) for shape in (shapes[name], pair.changes))
            raise ArtifactError(
                f"its {shown(name)} is {its}, and the base's is {has}. Attach it to the model that it was trained on."
            )


def _read_gguf(path: Path) -> Lora:
    header = gguf.read_header(path)
    kind, type_ = header.metadata.get("general.type"), header.metadata.get("adapter.type")
    if kind != "adapter":
        raise ArtifactError(
            f"`{path.name}` is not an adapter: its `general.type` is {shown(str(kind or 'model'))}. Whole weights are deployed "
            "without `--engine adapter`."
        )
    if type_ != "lora":
        raise ArtifactError(
            f"`{path.name}` is an adapter of the type {shown(str(type_))}; only `lora` can be attached."
        )
    base = header.metadata.get("general.base_model.0.name")
    return Lora(
        form="gguf",
        architecture=header.architecture,
        base=base if isinstance(base, str) else None,
        pairs=_pairs(path.name, header.shapes),
    )


def _pairs(file: str, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Pair]:
    """Pairs of a GGUF file; shapes stand with the inner dimension first."""
    pairs: dict[str, Pair] = {}
    for changed in _changed(file, shapes, ".lora_a", ".lora_b"):
        a, b = shapes.get(f"{changed}.lora_a", ()), shapes.get(f"{changed}.lora_b", ())
        if len(a) < 2 or len(b) < 2 or a[2:] != b[2:]:
            raise ArtifactError(f"`{file}` has half a pair for {shown(changed)}. Convert the adapter again.")
        if changed == _EMBEDDING:
            pairs[changed] = Pair(b[1], _same(file, changed, a[0], b[0]), a[1], a[2:])
        else:
            pairs[changed] = Pair(a[0], _same(file, changed, a[1], b[0]), b[1], a[2:])
    return pairs


def _read_peft(directory: Path) -> Lora:
    config = _config(directory / CONFIG)
    if config.get("peft_type") != "LORA":
        raise ArtifactError(
            f"`{directory.name}` is an adapter of the type {shown(str(config.get('peft_type')))}; only `LORA` can be attached."
        )
    for key, what in (("use_dora", "DoRA"), ("modules_to_save", "whole modules (`modules_to_save`)")):
        if config.get(key):
            raise ArtifactError(
                f"`{directory.name}` holds {what} besides LoRA, which engines leave out silently. Merge it into the "
                "weights instead."
            )
    shapes = {each.name: each.shape for each in safetensors.read_header(directory / TENSORS).tensors}
    pairs: dict[str, Pair] = {}
    for stem in _changed(TENSORS, shapes, _LOWER, _UPPER):
        changed = f"{stem.removeprefix(_PREFIX)}.weight"
        a, b = shapes.get(stem + _LOWER, ()), shapes.get(stem + _UPPER, ())
        if len(a) != 2 or len(b) != 2:
            raise ArtifactError(f"`{TENSORS}` has half a pair for {shown(changed)}. Save the adapter again.")
        pairs[changed] = Pair(a[1], _same(TENSORS, changed, a[0], b[1]), b[0])
    base = config.get("base_model_name_or_path")
    return Lora(
        form="safetensors",
        architecture=None,
        base=base if isinstance(base, str) else None,
        pairs=pairs,
    )


def _config(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ArtifactError(f"`{CONFIG}` is longer than {_MAX_CONFIG_BYTES >> 20} MiB. Use another artifact.")
        read: Any = json.loads(path.read_bytes())
    except OSError as exc:
        raise ArtifactError(
            f"`{path.parent.name}` is not an adapter: its `{CONFIG}` cannot be read ({exc.strerror})."
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise ArtifactError(f"`{CONFIG}` is not JSON. Save the adapter again.") from exc
    if not isinstance(read, dict):
        raise ArtifactError(f"`{CONFIG}` is not a JSON object. Save the adapter again.")
    return cast("dict[str, Any]", read)


def _same(file: str, name: str, one: int, other: int) -> int:
    if one != other or not 0 < one <= MAX_RANK:
        raise ArtifactError(f"`{file}`: the ranks of {shown(name)} are {one} and {other}. Convert the adapter again.")
    return one


def _changed(file: str, names: Iterable[str], *endings: str) -> Iterable[str]:
    """What the matrices of a file change. Anything besides is refused: engines leave it out silently, or do not start."""
    changed: dict[str, None] = {}
    other = None
    for name in names:
        ending = next((each for each in endings if name.endswith(each)), None)
        if ending is None:
            other = other or name
        else:
            changed[name.removesuffix(ending)] = None
    if not changed:
        raise ArtifactError(f"`{file}` holds no LoRA matrices. Name the file that the training wrote.")
    if other is not None:
        raise ArtifactError(
            f"`{file}` holds {shown(other)} besides LoRA matrices, which engines do not take. Merge it into the weights instead."
        )
    return changed


def _bare(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without what says nothing."""
    bare = list(shape)
    while len(bare) > 2 and bare[-1] == 1:
        bare.pop()
    return tuple(bare)
