"""Starts a module of ours inside an engine's own environment, by path: `python -P …/at_home.py MODULE`.

That environment has the engine's packages and none of ours, and ours must not reach into it: another version of one that
both have would come first. So `changeover` is made importable from its own files alone, and nothing else of where we are
installed. A module that is started so imports the standard library, the engine, and its like.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the module whose name stands on the command line."""
    ours = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location(
        ours.name, ours / "__init__.py", submodule_search_locations=[str(ours)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = package
    spec.loader.exec_module(package)
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
