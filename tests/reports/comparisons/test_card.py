"""A comparison as a picture: its SVG, and the PNG that is rendered from it."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
import resvg_py

from bench.base.errors import UsageError
from reports.pages.comparisons.card import card
from reports.render.picture import font_family, png_of, rules
from tests.reports.comparisons.invented import PAGES, comparison


def texts_of(svg: str) -> str:
    return " ".join(" ".join(ElementTree.fromstring(svg).itertext()).split())


def test_a_card_has_the_answer_the_intervals_and_what_differs() -> None:
    found = texts_of(card(comparison()))

    assert "gateway regressed: one turn in twenty now takes longer than 2.64 s, 1.04 s" in found
    assert "+65 % (+47 to +87 %)" in found
    assert "what differs: gateway 1.8.4 → gateway 1.9.0" in found
    assert "SIMULATED, no real service" in found


@pytest.mark.parametrize("name", PAGES)
def test_only_the_card_of_an_invalid_comparison_says_not_to_use_it(name: str) -> None:
    svg = card(comparison(**PAGES[name]()))

    assert ("Do not use these results" in texts_of(svg)) == (name == "invalid")


def test_the_style_of_a_drawing_has_a_value_for_each_colour() -> None:
    """The renderer has no custom properties."""
    found = dict(rules())
    assert "var(" not in "".join(found.values())
    assert "stroke:#b3201a" in found[".ci.v-regressed"]
    assert "fill:#1a1f24" in found["svg text"]


def test_a_machine_without_fonts_is_told_to_install_some(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_fonts(**options: Any) -> bytes:
        return render(**options | {"skip_system_fonts": True})

    render = resvg_py.svg_to_bytes
    monkeypatch.setattr(resvg_py, "svg_to_bytes", without_fonts)
    font_family.cache_clear()

    with pytest.raises(UsageError, match=r"a picture needs fonts.*apt-get install fonts-dejavu"):
        png_of(card(comparison()))
    font_family.cache_clear()


def test_texts_have_the_first_family_that_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renderer finds a family by its name alone, so a machine may lack that of `sans-serif`."""

    def with_dejavu_alone(**options: Any) -> bytes:
        text = options.pop("sans_serif_family", "") == "DejaVu Sans"
        return bytes(render(**options | {"skip_system_fonts": True})) + b"text" * text

    render = resvg_py.svg_to_bytes
    monkeypatch.setattr(resvg_py, "svg_to_bytes", with_dejavu_alone)
    font_family.cache_clear()

    assert png_of(card(comparison())).endswith(b"text")
    font_family.cache_clear()
