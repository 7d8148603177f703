"""Takes the console's pictures for the docs anew: `docs/pictures/*.png`.

`python -m docs.pictures [NAME …]`

They are few-coloured, so that they are small, and the same each time on one machine: the installation that they show is
made for it, and its clock stands still. Fonts are the machine's; `fonts.json` says how wide they are, so that a test
compares pages only with pictures of the same fonts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from PIL import Image
from tests.support import browser

from docs.pictures.likeness import FONTS, measured
from docs.pictures.playing import PLAYGROUND, played
from docs.pictures.scene import HERE, SHOTS, scene

COLOURS = 96
MOST_BYTES = 120_000


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m docs.pictures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    names = parser.parse_args().names
    if reason := browser.missing():
        sys.exit(reason)
    with tempfile.TemporaryDirectory(prefix="pictures-") as directory, scene(Path(directory) / "project") as made:
        for shot in SHOTS:
            if not names or shot.name in names:
                _keep(shot.name, made.taken(shot))
        FONTS.write_text(json.dumps(measured(made.browser), indent=1) + "\n")
    if not names or PLAYGROUND in names:
        with tempfile.TemporaryDirectory(prefix="playground-") as directory:
            _keep(PLAYGROUND, played(Path(directory) / "project"))


def _keep(name: str, picture: Image.Image) -> None:
    file = HERE / f"{name}.png"
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    size = file.stat().st_size
    print(f"{file.name}  {size / 1000:.0f} kB{'  too large' if size > MOST_BYTES else ''}")


if __name__ == "__main__":
    main()
