"""The pages of runs, comparisons and trends.

The tests check their escaping and their sentences, and that texts of a service are shown safely.
test_snapshots.py checks their structure.
"""

from __future__ import annotations

import html
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

import rtbench
from bench.catalogue.outcomes import STARVED
from bench.files.sanitize import escape_control
from bench.record.folder import read_document, write_document
from reports.analysis.summary.summary import summarise
from reports.analysis.targets.fairness import FairnessCheck
from reports.analysis.trends.trend import trend_of_points
from reports.analysis.trends.trend_point import TrendPoint
from reports.pages.run_report.document import write_report
from reports.pages.run_report.report import run_page
from reports.render.html import render_html
from reports.render.markdown import plain, render_markdown
from reports.results.value import Reason
from reports.text.sentences import next_commands, run_headline, run_second
from tests.reports import synthetic
from tests.reports.comparisons.invented import comparison, invented_targets
from tests.reports.edited import Row, edit
from tests.reports.forms import comparison_html, run_text, trend_html
from tests.reports.shared import page_of, summary_of
from tests.reports.synthetic import Plan
from tests.reports.trends.examples import entry

HERE = Path("/somewhere/runs")


EVIL = "<script>alert(1)</script>"


def compared(**changes: Any) -> str:
    return comparison_html(comparison(**changes))


def page_of_run(simulated: bool) -> str:
    return page_of(Plan(simulated=simulated))


def page_of_comparison(simulated: bool) -> str:
    return compared(targets=invented_targets("direct", "gateway", simulated=simulated))


def trend(entries: list[TrendPoint]) -> str:
    return trend_html(trend_of_points(entries), HERE)


def run_of(label: str) -> str:
    """Return the HTML and the Markdown of a run whose names contain the text `label`."""
    plan = Plan(sessions=4, turns=2, targets=(label, 'a"b\x07'))
    page_of_label = run_page(
        summary_of(plan, scenario=label, notices=[label], settings={label: label})
    )
    return render_html(page_of_label) + render_markdown(page_of_label)


def comparison_of(label: str) -> str:
    checks = (FairnessCheck(label, [label, label], "informational"),)
    return compared(
        targets=invented_targets(label, "gateway"),
        notices=(Reason("run_notice", {"notice": label}),),
        checks=checks,
    )


@pytest.mark.parametrize(
    "made",
    [
        run_of,
        comparison_of,
        lambda evil: trend([entry(n, target=evil, labels={evil: evil}) for n in range(3)]),
    ],
    ids=["run", "comparison", "trend"],
)
def test_labels_are_escaped(made: Callable[[str], str]) -> None:
    text = made(EVIL)

    assert text.count("<script>") == made("east").count("<script>")
    assert [ET.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.S)]


@pytest.mark.parametrize("made", [page_of_run, page_of_comparison])
def test_a_simulated_run_is_marked_in_title_and_page(made: Callable[[bool], str]) -> None:
    simulated = made(True)
    title = re.search(r"<title>(.*?)</title>", simulated)

    assert title is not None
    assert "SIMULATED" in title[1]
    assert simulated.count("SIMULATED") == 3
    assert "by rtbench simulate" in simulated
    assert "SIMULATED" not in made(False)


NBSP = "\u00a0"


def test_a_figure_s_size_does_not_grow_with_the_number_of_turns() -> None:
    """If a run has more than a certain number of turns and sessions, a figure does not plot them
    individually.
    """
    sizes = [len(page_of(Plan(sessions=n, turns=3, seconds=600))) for n in (2100, 2800)]

    assert sizes[1] == pytest.approx(sizes[0], rel=0.03)


def test_an_invalid_run_states_the_value_of_a_failed_check_once() -> None:
    check = {
        "name": "timestamp_uncertainty",
        "value": 446.0,
        "limit": 6.05,
        "unit": "ms",
        "result": "fail",
        "note": "transcript_first",
        "remedy": "",
    }
    summary = summary_of(Plan(), validity={"status": "invalid", "checks": [check]})

    assert run_text(summary).count("446 ms") == 1


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (Plan(kinds=("typed",)), "Callers wait 565 ms for audio (median)."),
        (
            Plan(sessions=8, turns=2, kinds=("vad", "typed")),
            "Callers waited 0.26 to 2.45 s for a reply in 8 turns; too few for a median.",
        ),
        (
            Plan(sessions=2, turns=6, kinds=("typed", "vad", "manual")),
            "Callers waited 478 to 859 ms for a reply in 6 turns; too few for a median.",
        ),
        (
            Plan(sessions=2, turns=6, kinds=("typed", "vad"), failed=0.7),
            "At least half of the turns failed: 9 of 12.",
        ),
        (
            Plan(sessions=8, turns=5, kinds=("typed", "typed", "typed", "typed", "vad")),
            "Callers wait 589 ms for audio (median).",
        ),
        (
            Plan(sessions=2, turns=6, kinds=("typed", "typed", "vad"), failed=0.3, seed=3),
            "Callers waited 569 to 766 ms for a reply in 2 turns; 3 of 12 turns failed.",
        ),
        (Plan(sessions=2, turns=4, failed=1.0, kinds=("typed", "vad")), "All 8 turns failed."),
        (
            Plan(sessions=4, turns=2, refused=2, kinds=("typed",)),
            "Callers waited 391 to 996 ms for audio in 8 turns; 4 of 12 turns failed.",
        ),
        (
            Plan(sessions=2, turns=4, abandoned=3, kinds=("typed",)),
            "Callers waited 352 to 957 ms for audio in 5 turns; too few for a median.",
        ),
    ],
)
def test_the_headline_is_a_sentence(plan: Plan, sentence: str) -> None:
    assert run_headline(summary_of(plan)).replace(NBSP, " ") == sentence


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        (
            STARVED,
            "2 were excluded, because the load generator was not running when a time limit expired",
        ),
        ("exhausted:memory", "2 turns were prevented by a limit of this machine and excluded."),
    ],
)
def test_turns_that_this_machine_prevented_are_not_counted_as_cut_by_the_run_s_end(
    outcome: str, sentence: str
) -> None:
    summary = summary_of(Plan(abandoned=2))
    turns = tuple(
        replace(e, outcome=outcome) if e.outcome == "unfinished" else e
        for e in summary.endings.turns
    )
    second = run_second(structs.replace(summary, endings=replace(summary.endings, turns=turns)))

    assert sentence in second.replace(NBSP, " ")
    assert "cut by the end" not in second


NASTY = (
    "no\x1b[2J\x00 \n::set-output name=a::b\r\n##vso[task.complete result=Ok;]\u2028##[error]\u202e"
    " a_b <b> |\x85"
)
SAID = (
    "outcome",
    "cause",
    "close_reason",
    "model",
    "region",
    "request_id",
    "response_id",
    "service_session_id",
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return all outputs for a run whose service sent a hostile text in every field that a
    service controls.
    """
    folder = synthetic.write(
        tmp_path_factory.mktemp("nasty") / "run",
        Plan(sessions=30, failed=0.2),
        incidents=[{"at_utc_ns": 1, "worker": 0, "kind": "token", "text": NASTY}],
        notices=[NASTY],
        stopped=NASTY,
    )
    for table in ("turns", "sessions"):
        edit(folder, table, with_hostile_text)
    summary = summarise(rtbench.load(folder))
    paths = write_report(summary)
    return {
        "terminal": run_text(summary),
        "narrow terminal": run_text(summary, 60),
        "report.md": paths.markdown.read_text(),
        "report.html": paths.html.read_text(),
        "summary.json": paths.json.read_text(),
    }


def with_hostile_text(_: int, row: Row) -> Row:
    changed = {name: NASTY for name in SAID if name in row and name != "outcome"}
    bad = {} if str(row["outcome"]) in ("ok", "unfinished") else {"outcome": f"failed:{NASTY}"}
    return (
        row
        | changed
        | bad
        | (
            {"effective_settings": f'{{"voice": "{"x::y"}\\u001b[2J"}}'}
            if "response_headers" in row
            else {}
        )
    )


@pytest.mark.parametrize("name", ["terminal", "narrow terminal", "report.md", "report.html"])
def test_text_of_a_service_contains_no_control_characters_or_ci_commands(
    texts: dict[str, str], name: str
) -> None:
    text = texts[name]

    assert r"no\x1b[2J" in text or r"no\\x1b" in text or name == "report.md"
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text
    )
    assert not [line for line in text.splitlines() if re.match(r"\s*::[A-Za-z]", line)]
    assert "##vso[" not in text
    assert "##[" not in text


def test_text_of_a_service_is_escaped_once_in_markdown(texts: dict[str, str]) -> None:
    escaped = plain(escape_control(NASTY))

    quoted = json.loads(texts["summary.json"])["outcomes"]["sim"]["service_message"].values()
    assert f"“{escaped}”" in texts["report.md"]
    assert escape_control(NASTY) in quoted
    assert "&amp;lt;" not in texts["report.md"]
    assert r"a\\\_b" not in texts["report.md"]
    assert "a_b <b>" not in texts["report.md"]


@given(st.text() | st.text("ab_*[]()`|<>&;\\~\n"))
def test_escaped_markdown_displays_the_original_text(text: str) -> None:
    """CommonMark removes a backslash before punctuation, and replaces an entity by the character
    that it names.
    """
    shown = html.unescape(
        re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", plain(text).replace("&amp;", "&amp;"))
    )
    rows = re.split(r"(?<!\\)(?:\\\\)*\|", plain(text))

    assert shown == escape_control(text)
    assert len(rows) == 1, "it would end a cell of a table"


def test_the_name_of_a_folder_is_escaped_in_all_outputs(tmp_path: Path) -> None:
    name = NASTY.replace("\x00", "")
    plan = Plan(sessions=60)
    folder = synthetic.write(tmp_path / f"runs{name}" / f"run{name}", plan)
    document = read_document(folder)
    write_document(
        folder, {key: value for key, value in document.items() if key not in ("run_id", "scenario")}
    )
    summary = summarise(rtbench.load(folder))
    paths = write_report(summary)
    texts = run_text(summary), paths.markdown.read_text(), paths.html.read_text()

    commands = "".join(text for _, text in next_commands(summary))
    assert commands == escape_control(commands)
    assert escape_control(f"runs{name}/run{name}") in commands
    for text in texts:
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]|##vso\\[", text
        )
    assert escape_control(name).strip() not in paths.html.read_text(), "a page escapes it"
