"""Several arms side by side: what each one was, how they were interleaved, how far apart they lie."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports.runs import load_for_report
from reports.summary.summary import Summary, summarise
from reports.text.document import summary_data
from reports.text.terminal import report_text
from reports.wording import remarks
from reports.wording.notices import notices
from reports.wording.sentences import next_step
from reports.wording.settings import arm_fact
from tests.reports import synthetic
from tests.reports.edited import edited
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

NBSP = "\u00a0"
TWO = Plan(sessions=240, turns=5, targets=("sweden", "eastus2"), seconds=300, paired=True)


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
