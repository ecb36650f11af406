"""The figures of a report as files of their own."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.base.errors import UsageError
from reports.pages.run_report.figure_files import export_figures, figures, picture
from reports.pages.run_report.report import run_page
from tests.command_line import call
from tests.reports import synthetic
from tests.reports.shared import page_of, summary_of
from tests.reports.synthetic import Plan

PLAN = Plan(sessions=12, turns=3, targets=("direct", "gateway"), failed=0.1, usage=True)


def test_each_figure_of_the_page_is_a_file_with_the_name_of_its_anchor() -> None:
    """Figures without a drawing have no file."""
    html = re.sub('<div class="narrow">.*?</div>', "", page_of(PLAN), flags=re.S)
    found = {figure.name: figure.svg for figure in figures(run_page(summary_of(PLAN)))}

    assert html.count('<svg class="figure"') == len(found) > 10
    for name, svg in found.items():
        assert re.search(rf'id="{name}".*?(<svg class="figure".*?</svg>)', html, re.S)[1] == svg


def test_a_figure_needs_no_style_or_script_of_the_page() -> None:
    page = run_page(summary_of(PLAN))
    for figure in figures(page):
        svg = picture(page, figure)
        classes = {
            name
            for element in ElementTree.fromstring(svg).iter()
            for name in element.get("class", "").split()
        }
        (style,) = re.findall("<style>(.*)</style>", svg)
        styled = set(re.findall(r"\.([a-z][\w-]*)", re.sub(r"\{[^}]*\}", " ", style)))

        assert not re.search(r"var\(|data-|tabindex|href|url\(", svg)
        assert "svg text{font:13px" in style
        assert styled <= classes
        texts = " ".join(ElementTree.fromstring(svg).itertext())
        assert page.notes.replace("\u00a0", " ") in texts.replace("\u00a0", " ")


def test_a_figure_of_an_invalid_run_says_not_to_use_it() -> None:
    page = run_page(summary_of(PLAN, validity={"status": "invalid", "checks": []}))
    svg = picture(page, next(figures(page)))

    assert "INVALID RUN: do not use these values" in svg


def test_the_figures_of_a_run_are_exported(tmp_path: Path) -> None:
    run = synthetic.write(tmp_path / "run", Plan(sessions=4, turns=1))
    done = call("runs", "export", str(run), "--format", "svg")
    written = [*(run / "export").iterdir()]

    assert done.exit_code == 0
    assert len(written) == len(done.output.splitlines()) > 1
    assert all(path.read_bytes().startswith(b"<svg") for path in written)
    with pytest.raises(UsageError, match=r"exists already; overwrite it with --force"):
        export_figures(run, "svg")
