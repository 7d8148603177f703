"""Frames as one SVG that moves by CSS alone: what a page of a repository shows without a script and without a font of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import accumulate

from docs.record.cast import Cast, digest
from docs.record.screens import Frame, Line, Run, Style, frames

CHARACTER, LINE = 8.4, 18
"""Of a character of 14 pixels: its width, and the height of a line."""
MARGIN, BAR = 18, 34
"""Around the text, and above it."""
FONTS = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"
PAPER, BAR_COLOUR, INK, QUIET = "#0d1117", "#161b22", "#d7dee6", "#8b949e"
COLOURS: Mapping[str, str] = {
    "default": INK,
    "white": INK,
    "black": "#6e7681",
    "brightblack": "#6e7681",
    "red": "#ff7b72",
    "green": "#56d364",
    "brown": "#e3b341",
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#56d4dd",
}
"""By what terminals call them; the bright ones look the same."""


def svg(cast: Cast) -> str:
    """The whole recording as one picture."""
    shown = frames(cast)
    width, height = _size(cast)
    lines = _Lines()
    film = "".join(_frame(frame, number * width, lines) for number, frame in enumerate(shown))
    inner = f'<svg x="{MARGIN}" y="{BAR + MARGIN // 2}" width="{width}" height="{height}" overflow="hidden">'
    whole_width, whole_height = width + 2 * MARGIN, BAR + height + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole_width} {whole_height}" '
            f'width="{whole_width}" height="{whole_height}" role="img" aria-labelledby="title">',
            f'<title id="title">{escape(cast.title)}</title>',
            f"<!-- Drawn from switch.cast, SHA-256 {digest(cast.to_text())}, by `make recording`. -->",
            f"<style>{_style(shown, width)}</style>",
            f"<defs>{''.join(lines.drawn())}</defs>",
            *_window(cast, whole_width, whole_height),
            f'{inner}<g class="film" fill="{INK}">{film}</g></svg>',
            "</svg>\n",
        ]
    )


def _size(cast: Cast) -> tuple[int, int]:
    return round(cast.columns * CHARACTER), cast.rows * LINE


def _window(cast: Cast, width: int, height: int) -> Iterator[str]:
    """The paper, and the bar with the title."""
    yield f'<rect width="{width}" height="{height}" rx="10" fill="{PAPER}"/>'
    yield f'<path d="M0 {BAR}V10Q0 0 10 0H{width - 10}Q{width} 0 {width} 10V{BAR}Z" fill="{BAR_COLOUR}"/>'
    for number, colour in enumerate(("#ff5f57", "#febc2e", "#28c840")):
        yield f'<circle cx="{20 + 20 * number}" cy="{BAR // 2}" r="6" fill="{colour}"/>'
    yield f'<text class="title" x="{width / 2:g}" y="{BAR // 2 + 5}">{escape(cast.title)}</text>'


def _style(shown: Sequence[Frame], width: int) -> str:
    """The look, and when which frame is in the window."""
    begins = [0.0, *accumulate(frame.seconds for frame in shown)]
    whole = begins[-1]
    film = "".join(
        f"{100 * at / whole:.3f}%{{transform:translateX({-number * width}px)}}" for number, at in enumerate(begins[:-1])
    )
    last = -(len(shown) - 1) * width
    return (
        f"text{{font:14px {FONTS};white-space:pre}}"
        f".title{{font-size:13px;text-anchor:middle;fill:{QUIET}}}"
        ".b{font-weight:700}"
        f".d{{fill:{QUIET}}}"
        + "".join(f".{name}{{fill:{colour}}}" for name, colour in COLOURS.items() if name != "default")
        + f".cursor{{fill:{INK};opacity:.7}}"
        f".film{{animation:film {whole:.2f}s step-end infinite}}"
        f"@keyframes film{{{film}100%{{transform:translateX({last}px)}}}}"
        f"@media (prefers-reduced-motion:reduce){{.film{{animation:none;transform:translateX({last}px)}}}}"
    )


class _Lines:
    """Lines, each drawn once however often it is shown."""

    def __init__(self) -> None:
        self._names: dict[Line, str] = {}

    def name(self, line: Line) -> str:
        return self._names.setdefault(line, f"l{len(self._names)}")

    def drawn(self) -> Iterator[str]:
        for line, name in self._names.items():
            yield f'<g id="{name}">{"".join(_run(run) for run in line)}</g>'


def _frame(frame: Frame, left: int, lines: _Lines) -> str:
    parts = [
        f'<use href="#{lines.name(line)}" y="{row * LINE}"/>' for row, line in enumerate(frame.screen.lines) if line
    ]
    if frame.screen.cursor is not None:
        column, row = frame.screen.cursor
        parts.append(
            f'<rect class="cursor" x="{column * CHARACTER:g}" y="{row * LINE + 2}" width="8" height="{LINE - 3}"/>'
        )
    return f'<g transform="translate({left})">{"".join(parts)}</g>'


def _run(run: Run) -> str:
    """Text that is as wide as its columns, whichever font draws it."""
    return (
        f'<text x="{run.column * CHARACTER:g}" y="14" textLength="{len(run.text) * CHARACTER:g}" '
        f'lengthAdjust="spacingAndGlyphs"{_look(run.style)}>{escape(run.text, quote=False)}</text>'
    )


def _look(style: Style) -> str:
    """The attributes of a style."""
    colour = style.colour if style.colour in COLOURS else style.colour.removeprefix("bright")
    if colour not in COLOURS:
        colour, fill = "default", f' fill="#{colour}"'
    else:
        fill = ""
    names = [name for name, on in (("b", style.bold), ("d", style.dim), (colour, colour != "default")) if on]
    return fill + (f' class="{" ".join(names)}"' if names else "")
