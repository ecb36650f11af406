"""What a service said, in everything that is made of a run: on one line, steering nothing, escaped once."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reports
from bench.plain import printable
from bench.run.folder import read_document, write_document
from reports.page.poured import plain
from reports.summary.summary import summarise
from reports.text.document import write_report
from reports.text.terminal import report_text
from reports.wording.sentences import next_step
from tests.reports import synthetic
from tests.reports.edited import Row, edit
from tests.reports.synthetic import Plan

NASTY = "no\x1b[2J\x00 \n::set-output name=a::b\r\n##vso[task.complete result=Ok;]\u2028##[error]\u202e a_b <b> |\x85"
SAID = ("outcome", "detail", "close_reason", "model", "region", "request_id", "response_id", "service_session_id")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Everything that is written of a run whose service said nasty things wherever it can."""
    folder = synthetic.write(
        tmp_path_factory.mktemp("nasty") / "run",
        Plan(sessions=30, failed=0.2),
        incidents=[{"at_utc_ns": 1, "worker": 0, "kind": "token", "text": NASTY}],
        notices=[NASTY],
        stopped=NASTY,
    )
    for table in ("turns", "sessions"):
        edit(folder, table, said_by_the_service)
    summary = summarise(reports.load(folder))
    paths = write_report(summary)
    return {
        "terminal": report_text(summary),
        "narrow terminal": report_text(summary, 60),
        "report.md": paths.markdown.read_text(),
        "report.html": paths.html.read_text(),
        "summary.json": paths.json.read_text(),
    }


def said_by_the_service(_: int, row: Row) -> Row:
    said = {name: NASTY for name in SAID if name in row and name != "outcome"}
    bad = {} if str(row["outcome"]) in ("ok", "unfinished") else {"outcome": f"failed:{NASTY}"}
    return (
        row
        | said
        | bad
        | ({"effective_settings": f'{{"voice": "{"x::y"}\\u001b[2J"}}'} if "response_headers" in row else {})
    )


@pytest.mark.parametrize("name", ["terminal", "narrow terminal", "report.md", "report.html"])
def test_nothing_that_a_service_said_steers_whoever_reads_it(texts: dict[str, str], name: str) -> None:
    text = texts[name]

    assert r"no\x1b[2J" in text or r"no\\x1b" in text or name == "report.md"
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)
    assert not [line for line in text.splitlines() if re.match(r"\s*::[A-Za-z]", line)]
    assert "##vso[" not in text
    assert "##[" not in text


def test_what_a_service_said_is_escaped_once_in_markdown(texts: dict[str, str]) -> None:
    said = plain(printable(NASTY))

    quoted = json.loads(texts["summary.json"])["outcomes"]["sim"]["service_message"].values()
    assert f"“{said}”" in texts["report.md"]
    assert printable(NASTY) in quoted
    assert "&amp;lt;" not in texts["report.md"]
    assert r"a\\\_b" not in texts["report.md"]
    assert "a_b <b>" not in texts["report.md"]


@given(st.text() | st.text("ab_*[]()`|<>&;\\~\n"))
def test_markdown_shows_a_text_as_it_is(text: str) -> None:
    """Rendered as CommonMark has it: a backslash before punctuation goes, an entity becomes its character."""
    shown = html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", plain(text).replace("&amp;", "&amp;")))
    rows = re.split(r"(?<!\\)(?:\\\\)*\|", plain(text))

    assert shown == printable(text)
    assert len(rows) == 1, "it would end a cell of a table"


def test_a_folder_s_name_is_shown_harmless_in_the_next_step_and_in_every_text(tmp_path: Path) -> None:
    name = NASTY.replace("\x00", "")
    plan = Plan(sessions=60)
    folder = synthetic.write(tmp_path / f"runs{name}" / f"run{name}", plan)
    document = read_document(folder)
    write_document(folder, {key: value for key, value in document.items() if key not in ("run_id", "scenario")})
    summary = summarise(reports.load(folder))
    paths = write_report(summary)
    texts = report_text(summary), paths.markdown.read_text(), paths.html.read_text()

    assert next_step(summary) == printable(next_step(summary))
    assert printable(f"runs{name}/run{name}") in next_step(summary)
    for text in texts:
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]|##vso\\[", text)
    assert printable(name).strip() not in paths.html.read_text(), "a page escapes it"
