"""Environments of engines as they lie on a disk: an interpreter of our own version, and packages that claim to be there.

`model` makes the files beside the weights of a checkpoint: all that a backend reads of one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from changeover.core.settings import EngineHome
from changeover.library.accelerators import Accelerator
from changeover.library.fit.detect import Detected, Found
from changeover.serving.homes import Homes

CONFIG = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "max_position_embeddings": 32768}


def home(root: Path, *packages: str, files: Mapping[str, str] | None = None) -> EngineHome:
    """An environment with these packages, each `name==version`, and modules by their path in it."""
    site = root / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for package in packages:
        name, version = package.split("==")
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for path, text in (files or {}).items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    python = root / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.symlink_to(Path(sys.executable).resolve())
    (root / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    return EngineHome(python=str(python))


def homes(root: Path, engine: str, *packages: str, files: Mapping[str, str] | None = None) -> Homes:
    """Where one engine is, and no other."""
    return Homes(declared={engine: home(root / engine, *packages, files=files)})


def model(directory: Path, *, config: Mapping[str, Any] = CONFIG, template: str | None = "{{ messages }}") -> Path:
    """A checkpoint whose weights are eight bytes."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer.json").write_text('{"version": "1.0"}')
    (directory / "model.safetensors").write_bytes(b"weights.")
    if template is not None:
        (directory / "chat_template.jinja").write_text(template)
    return directory


def cards(accelerator: Accelerator, count: int) -> Detected:
    """A machine with so many of them, as its vendor's tool would list them."""
    return Detected((Found(accelerator=accelerator, count=count, how="listed"),), ())


NO_CARDS = Detected((), ())
