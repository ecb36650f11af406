"""The notice on interruptions, sounds and expectations that did not take place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reports.analysis.check.check import check_of
from reports.analysis.summary.summary import summarise
from reports.analysis.targets.named import parse_targets
from reports.data.runs import load_for_report, load_frames
from reports.metrics.thresholds import parse
from reports.pages.run_report.document import write_report
from reports.text.check_sentences import notices
from tests.reports import synthetic
from tests.reports.comparisons.build import quick
from tests.reports.edited import Row, edit
from tests.reports.forms import comparison_notices, run_text
from tests.reports.synthetic import Plan


def cued(index: int, row: Row) -> Row:
    missed = int(row["target"] == "east")
    counts = {
        "interruptions_planned": 2,
        "interruptions_missed": missed,
        "sounds_planned": 1,
        "sounds_missed": 0,
    }
    return row | counts | {"expectations_planned": 0, "expectations_missed": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = synthetic.write(
        tmp_path_factory.mktemp("cues") / "run",
        Plan(sessions=8, turns=2, targets=("west", "east"), paired=True),
    )
    edit(folder, "sessions", cued)
    return folder


SENTENCE = "Of the planned interruptions, 0 of 8 on west and 4 of 8 on east did not take place"


def test_every_form_of_a_report_says_how_many_planned_events_did_not_take_place(
    folder: Path,
) -> None:
    paths = write_report(load_for_report(folder))
    summary = json.loads(paths.json.read_text())

    assert SENTENCE in " ".join(run_text(summarise(load_for_report(folder))).split())
    assert SENTENCE in paths.html.read_text()
    assert SENTENCE in paths.markdown.read_text()
    assert any(SENTENCE in notice for notice in summary["notices"])
    assert not any("planned sounds" in notice for notice in summary["notices"])
    assert {"target": "east", "event": "interruptions", "planned": 8, "missed": 4} in summary[
        "planned_events"
    ]


def test_a_check_and_a_comparison_say_it_too(folder: Path) -> None:
    check = check_of(load_frames(folder), (parse("ttfa", "p(50)<9s"),))
    comparison = quick(parse_targets([str(folder)]))

    assert any(SENTENCE in notice for notice in notices(check))
    assert any(SENTENCE in notice for notice in comparison_notices(comparison))
