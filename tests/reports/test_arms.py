"""Several arms side by side: what each one was, how they were interleaved, how far apart they lie."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import reports
from reports.page import sections
from reports.page.svg import GLYPHS
from reports.runs import load_for_report
from reports.summary.summary import Summary, summarise
from reports.text.document import summary_data
from reports.text.terminal import report_text
from reports.wording import remarks
from reports.wording.notices import notices
from reports.wording.sentences import next_step, run_essentials
from reports.wording.settings import arm_fact
from tests.reports import synthetic
from tests.reports.edited import edited
from tests.reports.forms import run_forms, run_html, section_html
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

NBSP = "\u00a0"
TWO = Plan(sessions=240, turns=5, targets=("sweden", "eastus2"), seconds=300, paired=True)
SIX = Plan(
    sessions=240,
    turns=5,
    targets=("sweden", "eastus2", "sweden.quick_vad", "sweden.alloy", "westeurope", "japan.semantic"),
    failed=0.03,
    seconds=300,
    paired=True,
    usage=True,
    limited=True,
)


def write(folder: Path, plan: Plan, *, everywhere: dict[str, Any] | None = None) -> None:
    """A run that tells all of its arms; `everywhere` changes each target's entry."""
    synthetic.write(folder, plan, **synthetic.told(plan, **(everywhere or {})))


def summary_of_arms(plan: Plan, *, everywhere: dict[str, Any] | None = None, **changes: Any) -> Summary:
    """The summary of the same in a folder that no test changes; `changes` keys of run.json."""
    return summary_of(plan, **(synthetic.told(plan, **(everywhere or {})) | changes))


def test_interleaved_sessions_are_counted_by_pair_and_block() -> None:
    found = summary_of_arms(TWO).interleaving

    assert found is not None
    assert (found.pairs, found.incomplete, found.blocks) == (120, 0, 2)
    assert found.max_start_gap_ms == pytest.approx(3)
    assert remarks.interleaved(found).replace(NBSP, " ") == (
        "Interleaved: 120 pairs; sessions of a pair began within 3 ms of each other."
    )


@pytest.mark.parametrize("seconds", [51, 119, 121, 600])
def test_the_remark_on_pairs_names_no_time_that_the_run_did_not_take(seconds: int) -> None:
    """Blocks have a fixed length of two minutes, whatever part of it a run fills."""
    found = summary_of_arms(replace(TWO, seconds=seconds)).interleaving

    assert found is not None
    assert "minute" not in remarks.interleaved(found)


def test_a_session_in_which_a_call_goes_on_was_not_to_begin_with_its_pair(tmp_path: Path) -> None:
    write(tmp_path, TWO)
    table = pq.read_table(tmp_path / "sessions.parquet")
    first = table.slice(0, 1).to_pylist()[0]
    later = first | {"session_id": f"{first['session_id']}.2", "start_ns": first["start_ns"] + 3_600 * 10**9}
    pq.write_table(
        pa.concat_tables([table, pa.Table.from_pylist([later], schema=table.schema)]), tmp_path / "sessions.parquet"
    )

    assert summarise(load_for_report(tmp_path)).interleaving == summary_of_arms(TWO).interleaving


def test_pairs_that_are_not_whole_are_said(tmp_path: Path) -> None:
    write(tmp_path, TWO)
    summary = edited(tmp_path, lambda index, row: row | ({"pair": 999} if index == 0 else {}), "sessions")

    assert summary.interleaving is not None
    assert (summary.interleaving.pairs, summary.interleaving.incomplete) == (119, 2)
    assert "2 more were not whole" in remarks.interleaved(summary.interleaving)


def test_runs_of_one_arm_and_older_runs_are_not_interleaved() -> None:
    assert summary_of_arms(Plan(paired=True)).interleaving is None
    assert summary_of_arms(Plan(targets=("a", "b"))).interleaving is None


def test_differences_are_those_of_the_published_quantiles() -> None:
    summary = summary_of_arms(TWO)
    first = summary.differences[0]
    medians = [answer.figures.at(0.5).value for answer in summary.answers]

    assert (first.metric, first.p, first.targets) == ("ttfa", 0.5, TWO.targets)
    assert first.values_ms == tuple(medians)
    assert first.ratios[1] == medians[1] / medians[0]
    assert re.match(r"eastus2 against sweden: ttfa p50 \+\d+ %", remarks.against(summary)[0].replace(NBSP, " "))


def test_a_quantile_that_may_not_be_published_has_no_difference() -> None:
    few = summary_of_arms(Plan(sessions=24, turns=1, targets=("a", "b")))

    assert {one.p for one in few.differences} == {0.5}


def test_arms_of_two_origins_are_not_set_against_each_other() -> None:
    summary = summary_of_arms(Plan(sessions=80, kinds=("vad", "typed"), targets=("a", "b")))
    said = [one for one in summary.differences if one.metric == "ttfa"]

    assert {one.stratum.measured_from for one in said} == {"request_sent", "speech_end"}
    assert all(one.targets == ("a", "b") for one in said)
    assert "from request sent" in section_html(sections.spread(summary))


def test_differences_stand_in_every_form_and_nowhere_with_a_verdict() -> None:
    summary = summary_of_arms(TWO)
    text = report_text(summary)

    for said in run_forms(summary):
        assert "Interleaved: 120" in said
        assert "no test was made" in said
        assert remarks.against(summary)[0].replace(NBSP, " ") in said.replace(NBSP, " ").replace("\\_", "_")
    assert "eastus2 against sweden: ttfa p50 +" in text.replace("\n                ", " ")
    assert "no test was made" in " ".join(text.split())
    assert summary_data(summary)["differences"][0]["baseline"] == "sweden"


def test_an_invalid_run_tells_no_differences() -> None:
    summary = summary_of_arms(Plan(sessions=240, targets=("a", "b"), valid=False))

    assert summary.differences
    assert "against a" not in report_text(summary)
    assert not remarks.against(summary)
    assert "no test was made" not in next_step(summary)


def test_arms_that_fail_differently_or_are_throttled_are_no_fair_comparison(tmp_path: Path) -> None:
    write(tmp_path, TWO)
    throttled = {"outcome": "throttled:response"}
    unfair = edited(
        tmp_path, lambda _, row: row | (throttled if row["target"] == "eastus2" and row["pair"] < 6 else {})
    )

    assert not [notice for notice in notices(summary_of_arms(TWO)) if "arms" in notice]
    said = " ".join(notices(unfair)).replace(NBSP, " ")
    assert "Failure rates of the targets differ by more than 1 point (sweden 0 % to eastus2 5 %)" in said
    assert "More than 1 % was throttled (eastus2 5 %)" in said


def test_each_arm_says_what_it_was() -> None:
    facts = {arm.target: arm for arm in summary_of_arms(SIX, everywhere={"deflate": True}).arms}

    assert facts["sweden.alloy"].address.startswith("wss://sweden.example.openai.azure.com/")
    assert facts["sweden"].model == synthetic.MODEL
    assert facts["sweden"].region == "Sweden Central"
    assert facts["sweden"].sign_in == "entra"
    assert facts["sweden"].compression == "permessage-deflate"
    assert facts["sweden"].voice == "marin"
    assert facts["sweden"].turn_detection == "server_vad, silence_duration_ms 500"
    assert facts["sweden"].variant_settings == ""
    assert facts["sweden.alloy"].variant_settings == "voice alloy, turn_detection.silence_duration_ms 200"


def test_settings_of_the_preview_are_read_as_well(tmp_path: Path) -> None:
    write(tmp_path, TWO)
    preview = '{"voice": "ash", "turn_detection": null}'
    summary = edited(tmp_path, lambda _, row: row | {"effective_settings": preview}, "sessions")

    assert (summary.arms[0].voice, summary.arms[0].turn_detection) == ("ash", "none")


def test_compression_that_the_service_declined_is_said(tmp_path: Path) -> None:
    write(tmp_path, TWO, everywhere={"deflate": True})
    summary = edited(tmp_path, lambda index, row: row | ({"response_headers": None} if index < 200 else {}), "sessions")

    (sweden, *_), (told, *_) = summary.arms, summary_data(summary)["target_settings"]
    assert (sweden.compression, sweden.opened, sweden.compressed) == ("permessage-deflate", 120, 20)
    assert told["compression"] == arm_fact(sweden, "compression")
    assert told["compression"].replace(NBSP, " ").startswith("permessage-deflate in 20 of 120 sessions; else the serv")


def test_compression_is_told_by_bytes_on_the_wire() -> None:
    page = section_html(sections.flow(summary_of_arms(TWO, everywhere={"deflate": True})))

    assert re.search(r"sweden, permessage-deflate: [\d.]+ bytes on the wire for a byte of audio sent", page)
    assert "bytes on the wire" not in section_html(sections.flow(summary_of_arms(TWO)))


def test_a_run_that_tells_nothing_of_its_arms_has_a_report(tmp_path: Path) -> None:
    summary = summarise(
        reports.load(synthetic.write(tmp_path, Plan(targets=("a", "b")), targets=[]), all_columns=False)
    )

    assert summary.arms[0].address == ""
    assert run_html(summary)


def test_six_arms_have_six_marks() -> None:
    summary = summary_of_arms(SIX)
    page, lines = section_html(sections.spread(summary)), report_text(summary).splitlines()

    for glyph in GLYPHS[:6]:
        assert glyph in page
        assert sum(line.startswith(f"  {glyph} ") for line in lines) == 3, glyph


def test_curves_that_share_a_colour_are_broken_differently_and_marked() -> None:
    page, few = (section_html(sections.spread(summary_of_arms(plan))) for plan in (SIX, TWO))

    assert 'class="curve s0 again"' in page
    assert 'class="curve s2 again"' not in page
    assert ' again"' not in few


def test_the_terminal_keeps_its_width_with_six_arms() -> None:
    lines = report_text(summary_of_arms(SIX)).splitlines()

    assert max(map(len, lines)) <= 100


def test_the_last_line_has_the_run_in_short() -> None:
    one, two = summary_of_arms(Plan(sessions=60, usage=True)), summary_of_arms(TWO)
    six, invalid = summary_of_arms(SIX), summary_of_arms(Plan(valid=False))

    said = [run_essentials(summary).replace(NBSP, " ") for summary in (one, two, six, invalid)]
    assert re.fullmatch(r"✓ VALID · ◇ SIMULATED · voice_to_voice p50 \S+ s, p95 \S+ s · 240 turns, 0 failed", said[0])
    assert re.fullmatch(
        r".* · voice_to_voice p95 \S+ s on sweden and \S+ s on eastus2 · 1,200 turns, 0 failed", said[1]
    )
    assert " to " in said[2]
    assert "do not use these results" in said[3]
    assert all(len(line) <= 130 for line in said)
