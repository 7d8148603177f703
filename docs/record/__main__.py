"""Records a switch under load and draws it: `docs/record/switch.cast`, and from it `docs/record/switch.svg`.

`python -m docs.record [--draw]`

The session runs the real commands on two echo engines with a steady load. Prompts are typed by this program, all else is
what the commands printed. The picture leaves out what nobody would wait for: nothing stands still for longer than 1.5
seconds, and figures alone change every 0.4 seconds. With `--draw`, only the picture is drawn anew, from the recording that
is there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from docs.record.cast import CastError, read_cast
from docs.record.session import record

try:
    from docs.record.picture import svg
except ModuleNotFoundError as exc:
    sys.exit(f"`{exc.name}` is not installed; the recording is drawn with it: pip install -e '.[recording]'")

HERE = Path(__file__).parent
CAST, PICTURE = HERE / "switch.cast", HERE / "switch.svg"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m docs.record", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draw", action="store_true", help="only draw, from the recording that is there")
    if not parser.parse_args().draw:
        _record()
    PICTURE.write_text(svg(read_cast(CAST.read_text())))
    print(f"{PICTURE.name}  {PICTURE.stat().st_size / 1000:.0f} kB")


def _record() -> None:
    try:
        with tempfile.TemporaryDirectory(prefix="recording-") as directory:
            cast = record(Path(directory))
    except CastError as exc:
        sys.exit(f"nothing was recorded: {exc}")
    CAST.write_text(cast.to_text())
    print(f"{CAST.name}  {cast.seconds:.0f} s")


if __name__ == "__main__":
    main()
