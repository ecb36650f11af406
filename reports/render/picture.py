"""Drawings as files of their own: SVG with its style, and PNG, which resvg renders without a
browser.

resvg has no custom properties (`var(--ink)`), so the style has their values in light colours.
"""

from __future__ import annotations

import re

from bench.base.errors import UsageError
from reports.render.html import environment

ZOOM = 2.0
"""The pixels of a PNG for each unit of its SVG."""
_AT_RULE = re.compile(r"@[^{}]+\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_DEFINED = re.compile(r"(--[\w-]+):([^;]+)")
_USED = re.compile(r"var\((--[\w-]+)\)")


def style() -> str:
    """Return the rules of the style sheet that apply to drawings, without custom properties."""
    sheet = environment().get_template("style.css").render(page={"targets": ()}, tabs=())
    rules = [
        (selector.strip(), declarations)
        for selector, declarations in _RULE.findall(_AT_RULE.sub("", sheet))
    ]
    of_page = dict[str, str]()
    of_class = dict[str, list[tuple[str, str]]]()
    for selector, declarations in rules:
        for name, value in _DEFINED.findall(declarations):
            if selector == ":root":
                of_page[name] = value
            elif re.fullmatch(r"\.[\w-]+", selector):
                of_class.setdefault(name, []).append((selector, value))
    made = list[str]()
    for selector, declarations in rules:
        if not re.search(r"fill|stroke|^svg", f"{selector}{declarations}"):
            continue
        name = next((name for name in _USED.findall(declarations) if name in of_class), "")
        for with_class, value in of_class.get(name, [("", "")]):
            text = declarations.replace(f"var({name})", value)
            text = _USED.sub(lambda used: of_page.get(used[1], "none"), text)
            mine = ",".join(f"{part.strip()}{with_class}" for part in selector.split(","))
            made.append(f"{mine}{{{text}}}")
    return "".join(made)


def png_of(svg: str) -> bytes:
    """Render a drawing. Raise UsageError without fonts: its texts would be missing."""
    from resvg_py import svg_to_bytes

    made, without_fonts = (
        svg_to_bytes(svg_string=svg, zoom=ZOOM, skip_system_fonts=skipped)
        for skipped in (False, True)
    )
    if made == without_fonts:
        raise UsageError(
            "a picture needs fonts, and this machine has none: install some, e.g. with"
            " apt-get install fonts-dejavu-core"
        )
    return bytes(made)
