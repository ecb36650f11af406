"""Reports of runs in which services sent texts that could be mistaken for those of this tool."""

from __future__ import annotations

from pathlib import Path

import pytest

import rtbench
from bench.services.telephone import OF_SIP, ROWS
from reports.analysis.summary.summary import Summary
from reports.pages.run_report import report
from reports.pages.run_report.report import SECTION_MISSING, run_page
from reports.render.html import render_html
from reports.render.markdown import render_markdown
from reports.render.terminal import render_page
from tests.reports.edited import Row
from tests.reports.support.examples import built, outputs
from tests.reports.synthetic import Plan

HUNG_UP = "the peer hung up"
SERVICE_REPORTED = "the service reported: "

TEXTS = (
    "SIP ",
    "SIP \u00a0",
    "SIP \u3000",
    "SIP 486 Busy Here",
    HUNG_UP,
    SERVICE_REPORTED,
    f"{SERVICE_REPORTED}:",
    "%s %(x)s {0} {x}",
    "[bold]x[/bold] [/]",
    "::error::x ##vso[task.x]",
    "<b>&amp;",
    "`*_|",
    "\x1b[31m\u202e\ud7ff",
    "",
)
ENDINGS = (
    "closed:1000",
    "connect_failed:²",
    "connect_failed:404",
    "throttled:handshake",
    "failed:²",
    "timeout:upgrade",
    "failed:",
)
PLAN = Plan(sessions=40, turns=4, targets=("line", "socket"), paired=True, failed=0.3, seconds=60)


def hostile(folder: Path) -> Summary:
    """Return the summary of a run of a telephone and a WebSocket. A third of them failed, with
    TEXTS.
    """

    def change(index: int, row: Row) -> Row:
        ending = {"outcome": ENDINGS[index % len(ENDINGS)], "cause": TEXTS[index % len(TEXTS)]}
        return row if index % 3 else row | ending

    targets = [
        {"name": name, "dialect": dialect} for name, dialect in (("line", "sip"), ("socket", "ga"))
    ]
    return built(folder, PLAN, turns=change, sessions=change, targets=targets)


def test_no_text_of_a_peer_prevents_a_report(tmp_path: Path) -> None:
    summary = hostile(tmp_path)
    page = run_page(summary)

    for text in (render_html(page), render_markdown(page), render_page(page)):
        assert SECTION_MISSING not in text
    assert all(outputs(summary).values())


def test_only_the_telephones_of_a_run_have_remedies_of_telephones(tmp_path: Path) -> None:
    hostile(tmp_path)
    outcomes = rtbench.load(tmp_path).outcomes()

    of_telephones = {
        *OF_SIP.values(),
        *(text for row in ROWS.values() for text in (*row.causes.values(), row.remedy) if text),
    }
    has_remedy = outcomes[outcomes["remedy"].isin(of_telephones)]
    assert set(has_remedy["target"]) == {"line"}


def test_a_section_that_fails_is_named_and_the_other_sections_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outcomes(summary: Summary) -> None:
        raise IndexError(summary.scenario)

    monkeypatch.setattr(report, "SECTIONS", {**report.SECTIONS, "": [(outcomes, report.OPEN)]})
    page = run_page(hostile(tmp_path))

    for text in (render_html(page), render_markdown(page), render_page(page)):
        assert f"{SECTION_MISSING} (IndexError)." in " ".join(text.split())
        assert "At least half of the turns failed" in " ".join(text.split())
