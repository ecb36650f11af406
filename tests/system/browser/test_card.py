"""Comparisons and figures as PNG. They need fonts, which a browser brings, and a bare machine lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.pages.comparisons.card import card
from reports.render.picture import png_of
from tests.command_line import call, call_or_raise
from tests.reports import synthetic
from tests.reports.comparisons.build import PAIRED, run
from tests.reports.comparisons.invented import PAGES, comparison
from tests.reports.synthetic import Plan

PNG = b"\x89PNG\r\n"


@pytest.mark.parametrize("name", PAGES)
def test_every_card_is_rendered(name: str) -> None:
    assert png_of(card(comparison(**PAGES[name]()))).startswith(PNG)


def test_compare_writes_the_picture(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", PAIRED)
    call_or_raise("compare", folder, "--png", tmp_path / "card.png")

    assert (tmp_path / "card.png").read_bytes().startswith(PNG)
    refused = call("compare", str(folder), "--png", str(tmp_path / "absent" / "card.png"))
    assert "cannot be written: No such file or directory" in str(refused.exception)


def test_the_figures_of_a_run_are_exported_as_pictures(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path / "run", Plan(sessions=4, turns=1))
    call_or_raise("runs", "export", folder, "--format", "png")
    written = [*(folder / "export").iterdir()]

    assert len(written) > 1
    assert all(path.read_bytes().startswith(PNG) for path in written)
