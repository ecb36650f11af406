"""Turn-taking in the report of a run and in comparisons: values, texts, and what is unknown."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.analysis.comparisons.measurements import measured
from reports.analysis.comparisons.turn_taking import ALL_PAUSES, ShareDifference
from reports.analysis.summary.summary import Summary
from reports.analysis.summary.turn_taking import PauseLadder, TurnTakingStep
from reports.analysis.targets.named import matched_to_the_first, parse_targets
from reports.metrics.metric_spec import POINTS, MetricSpec
from reports.metrics.statistic_types.rate import Rate
from reports.pages.comparisons.document import comparison_data
from reports.pages.run_report.document import summary_data
from reports.statistics.differences import Inference, Margin
from tests.helpers import MS
from tests.reports import synthetic
from tests.reports.comparisons.build import quick, run
from tests.reports.edited import Row, edit, edited
from tests.reports.forms import comparison_html, comparison_text, run_text
from tests.reports.pauses import ONE, PLAN, turn_taking


def plain(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def ladder(summary: Summary) -> PauseLadder:
    return summary.turn_taking.ladders[0]


def step(summary: Summary, label: str, target: str = "sim") -> TurnTakingStep:
    return next(one for one in summary.turn_taking.steps if (one.step, one.target) == (label, target))


@pytest.fixture
def one(tmp_path: Path) -> Callable[..., Summary]:
    """Return the summary of a run of one target in which `change` also changes the rows."""

    def make(change: Callable[[Row], dict[str, Any]] = lambda row: {}) -> Summary:
        synthetic.write(tmp_path, ONE)
        return edited(tmp_path, lambda index, row: (made := turn_taking(index, row)) | change(made))

    return make


def test_the_section_states_the_cut_off_pause_and_the_shares_of_each_step(tmp_path: Path) -> None:
    summary = edited(synthetic.write(tmp_path, PLAN), turn_taking)
    pauses = {found.target: found.cut_off_pause_ms for found in summary.turn_taking.ladders}
    text = plain(run_text(summary, 160))

    assert pauses == {"west": 720, "east": 880}
    assert "west: half of the turns are cut off in a pause of 720 ms (95 %: " in text
    assert "; 80 turns with 300 ms to 1.02 s)" in text
    assert step(summary, "opening_hours", "east").false_reply.share == 0.5
    assert step(summary, "order_status", "east").yielded.share == 0.5
    assert step(summary, "refund_policy", "east").no_answer.count == 40
    assert step(summary, "opening_hours", "west").false_reply.count == 0
    assert step(summary, "goodbye", "west").yielded.total == 0


def test_a_run_without_pauses_in_speech_has_no_turn_taking(tmp_path: Path) -> None:
    name = run(tmp_path, PLAN)
    comparison = quick(parse_targets([name]))

    assert comparison_data(comparison)["turn_taking"] == {"ladders": [], "shares": []}
    assert "Turn-taking" not in comparison_html(comparison)


def test_a_turn_whose_speech_never_ended_is_cut_off_if_the_service_ended_it_and_otherwise_unknown(
    one: Callable[..., Summary],
) -> None:
    def change(row: Row) -> dict[str, Any]:
        if row["turn"] != 1:
            return {}
        is_cut = row["speech_pause_ns"] > 700 * MS
        return {"cut_off": None, "outcome": "cancelled:turn_detected"} if is_cut else {"cut_off": None}

    found = ladder(one(change)).cut_off

    assert found.count == found.total > 0
    assert found.total < ONE.sessions


def test_turns_without_a_reported_end_of_the_turn_are_counted_without_its_delay(one: Callable[..., Summary]) -> None:
    summary = one(lambda row: {"speech_stopped_at_ns": None, "committed_at_ns": None})

    assert ladder(summary).cut_off.total == ONE.sessions
    assert all(math.isnan(rung.end_of_turn_delay_ms) for rung in ladder(summary).rungs)
    assert all(
        rung["end_of_turn_delay_ms"] is None for rung in summary_data(summary)["turn_taking"]["ladders"][0]["rungs"]
    )


def test_a_turn_that_the_end_of_the_run_interrupted_has_no_event(one: Callable[..., Summary]) -> None:
    summary = one(lambda row: {"outcome": "unfinished"} if row["turn"] == 1 else {})

    assert summary.turn_taking.ladders == ()
    assert step(summary, "greeting").no_answer.total == 0


def test_the_cut_off_pause_is_unknown_if_each_pause_or_none_is_cut_off(one: Callable[..., Summary]) -> None:
    summary = one(lambda row: {"cut_off": True} if row["turn"] == 1 else {})

    assert math.isnan(ladder(summary).cut_off_pause_ms)
    assert "more than half of the turns are cut off with each pause (40 turns with " in plain(run_text(summary))


def difference(rows: tuple[ShareDifference, ...], label: str, event: str, candidate: str = "east") -> ShareDifference:
    return next(row for row in rows if (row.step, row.event, row.candidate) == (label, event, candidate))


def test_a_comparison_has_the_shares_of_each_step_with_the_difference_that_a_rate_would_have(tmp_path: Path) -> None:
    folder = Path(run(tmp_path, PLAN))
    sides = parse_targets([edit(folder, "turns", turn_taking)])
    comparison = quick(sides)
    rows, method = comparison.turn_taking.shares, comparison.method
    how = Inference(method.level, rate_run_sd=method.rate_run_sd)

    for label, event, rate in (("opening_hours", "false_reply", "false_reply_rate"),
                               ("order_status", "yielded", "yield_rate")):  # fmt: skip
        row = difference(rows, label, event)
        spec = MetricSpec(rate, Rate(), Margin(points=POINTS), step=label)
        found = measured(*matched_to_the_first(sides)[0], [spec], how)[0].difference
        assert found is not None
        assert (row.difference, row.low, row.high) == (found.d, found.low, found.high)
        assert row.low < row.difference < row.high
    pooled = difference(rows, ALL_PAUSES, "cut_off")
    assert pooled.baseline_share.total == pooled.candidate_share.total == 80
    assert pooled.high < 0
    assert difference(rows, "refund_policy", "no_answer").difference == 0.5
    assert not any(row.event == "yielded" for row in rows if row.step == "goodbye")


def test_the_table_of_a_comparison_names_both_shares_their_difference_and_the_cut_off_pauses(tmp_path: Path) -> None:
    comparison = quick(parse_targets([edit(Path(run(tmp_path, PLAN)), "turns", turn_taking)]))
    text, document = plain(comparison_text(comparison, 140)), comparison_data(comparison)["turn_taking"]

    assert "east: half of the turns are cut off in a pause of 880 ms" in text
    assert "order_status stopped by an interruption 100 %" in text
    assert "−50.0 points" in text
    assert [row["cut_off_pause_ms"] for row in document["ladders"]] == [720, 880]
    assert document["shares"][0]["step"] is None
    assert json.dumps(document, allow_nan=False)
    assert "Which target cuts callers off?" in comparison_html(comparison)


def test_two_runs_are_compared_with_the_variation_between_runs(tmp_path: Path) -> None:
    paired = Path(run(tmp_path / "both", PLAN))
    of_pairs = quick(parse_targets([edit(paired, "turns", turn_taking)])).turn_taking.shares
    folders = [Path(run(tmp_path / name, replace(PLAN, seed=seed))) for name, seed in (("one", 7), ("other", 8))]
    one, other = (edit(folder, "turns", turn_taking) for folder in folders)
    rows = quick(parse_targets([f"{one}:west", f"{other}:east"])).turn_taking.shares
    row, alone = difference(rows, ALL_PAUSES, "cut_off"), difference(of_pairs, ALL_PAUSES, "cut_off")

    assert row.difference == pytest.approx(alone.difference)
    assert row.high - row.low > alone.high - alone.low


def test_fewer_than_ten_turns_of_a_target_are_counted_without_a_difference(tmp_path: Path) -> None:
    def change(index: int, row: Row) -> Row:
        made = turn_taking(index, row)
        is_rare = row["turn"] == 3 and row["target"] == "east" and index >= 90
        return made | ({"yielded": None} if is_rare else {})

    comparison = quick(parse_targets([edit(Path(run(tmp_path, PLAN)), "turns", change)]))
    row = difference(comparison.turn_taking.shares, "order_status", "yielded")

    assert 0 < row.candidate_share.total < 10
    assert math.isnan(row.difference)
    assert f"{row.candidate_share.count} of {row.candidate_share.total} n/a" in plain(comparison_text(comparison, 140))


def test_each_candidate_is_compared_with_the_first_target(tmp_path: Path) -> None:
    plan = replace(PLAN, sessions=90, targets=("west", "mid", "east"))
    folder = Path(run(tmp_path, plan))
    comparison = quick(parse_targets([edit(folder, "turns", turn_taking)]))
    rows = comparison.turn_taking.shares

    assert [found.target for found in comparison.turn_taking.ladders] == ["west", "mid", "east"]
    assert {row.candidate for row in rows} == {"mid", "east"}
    assert difference(rows, "order_status", "yielded", "mid").candidate_share.total == 30
