"""Drawings as files of their own: SVG with its style, and PNG, which resvg renders without a
browser.

resvg has no custom properties (`var(--ink)`), so the style has their values in light colours.
"""

import re
import textwrap
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from bench.base.errors import UsageError
from reports.render.html import environment
from reports.render.svg import WIDE, clean

ZOOM = 2.0
"""The pixels of a PNG for each unit of its SVG."""
FAMILIES = (
    "Arial",
    "Helvetica",
    "Liberation Sans",
    "DejaVu Sans",
    "Noto Sans",
    "Open Sans",
    "FreeSans",
    "Ubuntu",
    "Times New Roman",
)
"""The families of fonts that machines have, the first ones like those of a page. resvg does not ask
fontconfig which one is sans-serif, and draws no text if the machine lacks its own choice."""
MARGIN = 60
GAP = 12
_AT_RULE = re.compile(r"@[^{}]+\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_DEFINED = re.compile(r"(--[\w-]+):([^;]+)")
_USED = re.compile(r"var\((--[\w-]+)\)")
_OF_DRAWINGS = re.compile(r"svg text(\.[\w-]+)*|(svg )?(\.[\w-]+)+")
_DRAWS = re.compile(r"fill|stroke|opacity|font")
_SIZE = re.compile(r' width="(\d+)" height="(\d+)"')
_OF_PAGE = re.compile(r' (?:tabindex|data-[a-z]+)="[^"]*"')
"""What only the scripts of a page use."""


class TextStyle(NamedTuple):
    """A style of texts: its CSS, the letters of a line of `WIDE`, the height of a line, and the gap
    below, in units of the drawing.
    """

    css: str
    letters: int
    line: int
    gap: int


STYLES = {
    "answer": TextStyle("font-size:33px;font-weight:600", 62, 44, GAP),
    "more": TextStyle("font-size:18px", 118, 26, GAP),
    "about": TextStyle("font-size:16px;fill:#5a646e", 118, 26, 0),
}


class Text(NamedTuple):
    """A text of a sheet, with the name of its style."""

    text: str
    style: str


def sheet(parts: Sequence[Text | str]) -> str:
    """Return an SVG document that needs no other file: texts, and the SVG elements of plots, below
    each other on a white ground. The plots have the same width.
    """
    sizes = [size for part in parts if isinstance(part, str) and (size := _SIZE.search(part))]
    width = max((int(size[1]) for size in sizes), default=WIDE)
    y = MARGIN - STYLES["answer"].line // 2
    drawn = list[str]()
    for part in parts:
        if isinstance(part, Text):
            style = STYLES[part.style]
            for line in textwrap.wrap(part.text, style.letters * width // WIDE):
                y += style.line
                drawn.append(
                    f'<text x="{MARGIN}" y="{y}" class="{part.style}">{clean(line)}</text>'
                )
            y += style.gap
        else:
            y += GAP
            drawn.append(f'<g transform="translate({MARGIN} {y})">{_OF_PAGE.sub("", part)}</g>')
            y += int(size[2]) if (size := _SIZE.search(part)) else 0
    w, h = width + 2 * MARGIN, y + MARGIN
    body = "".join(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}">'
        f'<style>{_style(body)}</style><rect width="{w}" height="{h}" fill="#fff"/>{body}</svg>'
    )


def _style(body: str) -> str:
    """Return the rules for the elements of a drawing: those of which it has all classes."""
    used = {name for names in re.findall(r' class="([^"]*)"', body) for name in names.split()}
    made = dict[str, None]()
    for selector, declarations in rules():
        if used.issuperset(re.findall(r"\.([\w-]+)", selector)):
            made[f"{selector}{{{declarations}}}"] = None
    return "".join(made)


@cache
def rules() -> tuple[tuple[str, str], ...]:
    """Return the rules of the style sheet that can apply to drawings, each with one selector, and
    without custom properties.
    """
    css = environment().get_template("style.css").render(page={"targets": ()}, tabs=())
    of_page = dict[str, str]()
    of_class = dict[str, list[tuple[str, str]]]()
    found = [
        (selector.strip(), declarations)
        for selectors, declarations in _RULE.findall(_AT_RULE.sub("", css))
        for selector in selectors.split(",")
    ]
    for selector, declarations in found:
        for name, value in _DEFINED.findall(declarations):
            if selector == ":root":
                of_page[name] = value
            elif re.fullmatch(r"\.[\w-]+", selector):
                of_class.setdefault(name, []).append((selector, value))
    made = list[tuple[str, str]]()
    for selector, declarations in found:
        if not (_OF_DRAWINGS.fullmatch(selector) and _DRAWS.search(declarations)):
            continue
        name = next((name for name in _USED.findall(declarations) if name in of_class), "")
        for with_class, value in of_class.get(name, [("", "")]):
            text = declarations.replace(f"var({name})", value)
            made.append(
                (
                    f"{selector}{with_class}",
                    _USED.sub(lambda use: of_page.get(use[1], "none"), text),
                )
            )
    return (*made, *((f"svg .{name}", style.css) for name, style in STYLES.items()))


def png_of(svg: str) -> bytes:
    """Render a drawing. Raise UsageError without fonts: its texts would be missing."""
    from resvg_py import svg_to_bytes

    family = font_family()
    if family is None:
        raise UsageError(
            "a picture needs fonts, and this machine has none: install some, e.g. with"
            " apt-get install fonts-dejavu-core"
        )
    return bytes(svg_to_bytes(svg_string=svg, zoom=ZOOM, sans_serif_family=family))


@cache
def font_family() -> str | None:
    """Return the family of the texts: the first of `FAMILIES` that this machine has, if any."""
    from resvg_py import svg_to_bytes

    letter = sheet([Text("A", "answer")])
    without_fonts = svg_to_bytes(svg_string=letter, skip_system_fonts=True)
    return next(
        (
            family
            for family in FAMILIES
            if svg_to_bytes(svg_string=letter, sans_serif_family=family) != without_fonts
        ),
        None,
    )
